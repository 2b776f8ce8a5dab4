"""Independent oracles for the probabilistic core: numpy and scipy, never the package."""

import numpy as np
from scipy import integrate, stats


def normal(loc, log_variance):
    """scipy's normal by mean and log-variance."""
    return stats.norm(np.asarray(loc), np.exp(0.5 * np.asarray(log_variance)))


def quadrature_kl(q, p) -> float:
    """The divergence of one scipy distribution from another by numerical integration."""
    reach = 12 * q.std()
    value, _ = integrate.quad(
        lambda x: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)),
        q.mean() - reach,
        q.mean() + reach,
        points=[float(q.mean()), float(p.mean())],
        epsabs=1e-11,
        epsrel=1e-11,
        limit=500,
    )
    return value


def normal_kl(q_loc, q_log_variance, p_loc=0.0, p_log_variance=0.0):
    """Elementwise in float64, infinite only where float64 cannot hold it."""
    ratio, square = _ratio_and_square(q_loc, q_log_variance, p_loc, p_log_variance)
    with np.errstate(over="ignore", invalid="ignore"):
        excess = np.where(np.isinf(ratio), np.inf, np.expm1(ratio) - ratio)
    return 0.5 * (excess + square)


def normal_kl_gradients(q_loc, q_log_variance, p_loc=0.0, p_log_variance=0.0):
    """With respect to the mean and log-variance of q, then of p."""
    ratio, square = _ratio_and_square(q_loc, q_log_variance, p_loc, p_log_variance)
    deviation = np.float64(q_loc) - p_loc
    with np.errstate(over="ignore", divide="ignore"):
        of_ratio = 0.5 * np.expm1(ratio)
        of_mean = np.sign(deviation) * np.exp(np.log(np.abs(deviation)) - p_log_variance)
    return of_mean, of_ratio, -of_mean, -of_ratio - 0.5 * square


def _ratio_and_square(q_loc, q_log_variance, p_loc, p_log_variance):
    ratio = np.float64(q_log_variance) - p_log_variance
    with np.errstate(over="ignore", divide="ignore"):
        distance = np.log(np.abs(np.float64(q_loc) - p_loc))
        return ratio, np.exp(2 * distance - p_log_variance)


def cross_entropy(logits, x):
    """Of the Bernoulli with these logits, in nats, for any x in [0, 1]."""
    return np.logaddexp(0, np.float64(logits)) - np.float64(x) * logits


def per_example(elementwise):
    """[B, ...] summed to [B]."""
    return np.asarray(elementwise).reshape(len(elementwise), -1).sum(1)
