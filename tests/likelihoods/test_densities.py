"""Every head's distortion is minus scipy's log-density of x at the head's features."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from lightning_vae import likelihoods
from lightning_vae.likelihoods import distortion

C, N = 2, 5


def softplus(x):
    return np.logaddexp(0, x)


def truncated(x, eta):
    """The continuous Bernoulli is an exponential cut off at one, from either side."""
    size, away = np.abs(eta), np.where(eta < 0, x, 1 - x)
    return stats.truncexpon(size, scale=1 / size).logpdf(away)


def negative_binomial(x, log_mean, log_theta):
    theta, mean = np.exp(log_theta), np.exp(log_mean)
    return stats.nbinom(theta, theta / (theta + mean)).logpmf(x)


def inflated(x, log_mean, log_theta, logit):
    kept = special.log_expit(-logit) + negative_binomial(x, log_mean, log_theta)
    return np.where(x == 0, np.logaddexp(special.log_expit(logit), kept), kept)


def tokens(x, *logits):
    scores = special.log_softmax(np.stack(logits, -1), -1)
    cost = np.take_along_axis(scores, x[..., None], -1)[..., 0]
    return np.where(x == 0, 0, cost)  # 0 is padding


def levels(x, *features):
    logits, loc, raw = (np.stack(each, -1) for each in (features[:3], features[3:6], features[6:]))
    floor = np.log(9e-4)
    logistic = stats.logistic(loc, np.exp(floor + softplus(raw - floor)))
    at, half = 2 * x[..., None] - 1, 1 / 255
    upper = np.where((x == 1)[..., None], 1, logistic.cdf(at + half))
    lower = np.where((x == 0)[..., None], 0, logistic.cdf(at - half))
    return special.logsumexp(special.log_softmax(logits, -1) + np.log(upper - lower), -1)


def above(raw, floor=0.0025):
    return np.exp(np.log(floor) + softplus(raw - np.log(floor)))


def best(x, loc):
    return stats.norm.logpdf(x, loc, np.sqrt(np.mean((x - loc) ** 2)))


TAPER = np.linspace(0, 2, C * N).reshape(C, N)
gray, real = torch.rand, torch.randn


def counts(*shape):
    return torch.poisson(3 * torch.rand(shape))


# The head, data for it, and the log-density of x given each of its features in turn.
ROWS = {
    "Bernoulli": (
        likelihoods.Bernoulli(),
        lambda *shape: torch.rand(shape).round(),
        lambda x, f: stats.bernoulli.logpmf(x, special.expit(f)),
    ),
    "Categorical": (
        likelihoods.Categorical(4, padding=0),
        lambda *shape: torch.randint(0, 4, shape),
        tokens,
    ),
    "ContinuousBernoulli": (likelihoods.ContinuousBernoulli(), gray, truncated),
    "DiscretisedLogisticMixture": (
        likelihoods.DiscretisedLogisticMixture(mixtures=3),
        lambda *shape: torch.randint(0, 256, shape) / 255,
        levels,
    ),
    "Gaussian": (
        likelihoods.Gaussian(0.3),
        real,
        lambda x, f: stats.norm.logpdf(x, f, 0.3),
    ),
    "HeteroscedasticGaussian": (
        likelihoods.HeteroscedasticGaussian(),
        real,
        lambda x, f, raw: stats.norm.logpdf(x, f, above(raw)),
    ),
    "Laplace": (likelihoods.Laplace(0.3), real, lambda x, f: stats.laplace.logpdf(x, f, 0.3)),
    "LearnedGaussian": (
        likelihoods.LearnedGaussian(),
        real,
        lambda x, f: stats.norm.logpdf(x, f, above(0.0)),
    ),
    "NegativeBinomial": (likelihoods.NegativeBinomial(), counts, negative_binomial),
    "OptimalGaussian": (likelihoods.OptimalGaussian(), real, best),
    "Poisson": (
        likelihoods.Poisson(),
        counts,
        lambda x, f: stats.poisson.logpmf(x, np.exp(f)),
    ),
    "Weighted": (
        likelihoods.Weighted(likelihoods.Gaussian(), torch.tensor(TAPER)),
        real,
        lambda x, f: TAPER * stats.norm.logpdf(x, f),
    ),
    "ZeroInflatedNegativeBinomial": (
        likelihoods.ZeroInflatedNegativeBinomial(),
        counts,
        inflated,
    ),
}


def test_every_head_has_a_row():
    heads = {n for n in likelihoods.__all__ if isinstance(getattr(likelihoods, n), type)}
    assert set(ROWS) == heads - {"Likelihood"}


@pytest.mark.parametrize("name", ROWS)
def test_the_distortion_is_minus_the_log_density_of_scipy(name):
    head, data, log_density = ROWS[name]
    head = head.double()
    x, features = data(64, C, N), torch.randn(64, head.features * C, N).double()
    x = x if x.dtype == torch.long else x.double()
    parts = [f.numpy() for f in features.chunk(head.features, 1)]
    truth = -log_density(x.numpy(), *parts).sum((1, 2))
    ours = distortion(x, head(features)).detach()
    np.testing.assert_allclose(ours, truth, rtol=1e-8)
