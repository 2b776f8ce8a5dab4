"""The continuous Bernoulli against fifty digits, quadrature and its own inverse."""

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import ContinuousBernoulli as TorchContinuousBernoulli

from lightning_vae.distributions.continuous_bernoulli import ContinuousBernoulli

LOGITS = [0.0, 1e-8, 1e-3, 4.1e-3, 0.19, 0.21, 1.0, 10.0, 30.0, 87.0, 500.0, 1e4]
LOGITS = [sign * logit for logit in LOGITS for sign in (1, -1)]


def exact(logit, x):
    """log-density and its slope in the logit, mean and variance, with fifty digits."""
    with mpmath.workdps(50):
        eta, x = mpmath.mpf(logit), mpmath.mpf(x)
        if eta == 0:
            return 0.0, float(x - 0.5), 0.5, 1 / 12
        mean = 1 / (1 - mpmath.exp(-eta)) - 1 / eta
        variance = 1 / eta**2 - 1 / (2 - 2 * mpmath.cosh(eta)) * -1
        value = eta * x - mpmath.log(mpmath.expm1(eta) / eta)
        return float(value), float(x - mean), float(mean), float(variance)


@pytest.mark.parametrize("x", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("logit", LOGITS)
@pytest.mark.parametrize(
    ("dtype", "digits"), [(torch.float64, 1e-11), (torch.float32, 3e-6)], ids=["64", "32"]
)
def test_density_gradient_and_moments_at_every_logit(logit, x, dtype, digits):
    logits = torch.tensor(logit, dtype=dtype, requires_grad=True)
    p = ContinuousBernoulli(logits)
    density = p.log_prob(torch.tensor(x, dtype=dtype))
    slope = torch.autograd.grad(density, logits)[0]
    value, truth, mean, variance = exact(logits.item(), x)
    assert density.item() == pytest.approx(value, rel=digits, abs=digits)
    assert slope.item() == pytest.approx(truth, rel=digits, abs=digits)
    assert p.mean.item() == pytest.approx(mean, rel=digits, abs=digits)
    assert p.variance.item() == pytest.approx(variance, rel=10 * digits, abs=10 * digits)


@pytest.mark.parametrize("logit", [0.0, 0.1, -3.0, 40.0])
def test_it_integrates_to_one_and_its_cdf_is_the_integral(logit):
    p = ContinuousBernoulli(torch.tensor(logit, dtype=torch.float64))

    def density(x):
        return p.log_prob(torch.tensor(x, dtype=torch.float64)).exp().item()

    for end in (1.0, 0.3, 0.97):
        area, _ = integrate.quad(density, 0, end, epsabs=1e-11)
        cdf = p.cdf(torch.tensor(end, dtype=torch.float64))
        assert area == pytest.approx(cdf.item(), abs=1e-9)
    assert p.cdf(torch.tensor(1.0, dtype=torch.float64)) == 1
    entropy, _ = integrate.quad(lambda x: -density(x) * np.log(density(x)), 0, 1, epsabs=1e-11)
    assert p.entropy().item() == pytest.approx(entropy, abs=1e-8)


@pytest.mark.parametrize("logit", [logit for logit in LOGITS if abs(logit) < 50])
def test_icdf_undoes_cdf(logit):
    p, x = ContinuousBernoulli(torch.tensor(logit).double()), torch.linspace(0, 1, 11).double()
    u = p.cdf(x)
    torch.testing.assert_close(p.cdf(p.icdf(u)), u, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("logit", [-20.0, 0.0, 0.01, 5.0])
def test_draws_follow_the_cdf(logit):
    p = ContinuousBernoulli(torch.tensor(logit).double())
    draws = p.rsample((20_000,))
    assert stats.kstest(draws.numpy(), lambda x: p.cdf(torch.tensor(x)).numpy()).pvalue > 1e-3


def test_draws_carry_the_gradient_of_the_mean():
    logits = torch.tensor(2.0).double().requires_grad_()
    p = ContinuousBernoulli(logits)
    (slope,) = torch.autograd.grad(p.rsample((40_000,)).mean(), logits)
    assert slope.item() == pytest.approx(p.variance.item(), rel=0.02)


def test_torchs_own_loses_its_normaliser_where_this_does_not():
    logits, x = torch.tensor(30.0, requires_grad=True), torch.tensor(1.0)
    theirs = TorchContinuousBernoulli(logits=logits).log_prob(x)
    truth, slope, _, _ = exact(30.0, 1.0)
    assert abs(theirs.item() - truth) > 0.5
    assert abs(torch.autograd.grad(theirs, logits)[0].item() - slope) > 0.03
