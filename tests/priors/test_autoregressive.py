"""The stationary normal sequence as a prior: torch's dense normal is the truth of all of it."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence
from torch.utils.data import DataLoader

from lightning_vae import VAEModule, distributions
from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.divergences import kl
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.priors import AutoregressiveNormal, StandardNormal

ALPHAS = (0.9, -0.4)


def covariance(alpha: float, steps: int) -> torch.Tensor:
    place = torch.arange(steps, dtype=torch.float64)
    return alpha ** (place - place[:, None]).abs()


def dense(alpha: float, steps: int) -> MultivariateNormal:
    return MultivariateNormal(torch.zeros(steps).double(), covariance(alpha, steps))


def test_the_density_of_channels_is_that_of_dense_normals():
    z = torch.randn(7, 5, 2, dtype=torch.float64)
    found = AutoregressiveNormal((5, 2), ALPHAS).double()().log_prob(z)
    truth = sum(dense(alpha, 5).log_prob(z[..., k]) for k, alpha in enumerate(ALPHAS))
    torch.testing.assert_close(found, truth)


def test_draws_are_correlated_as_said():
    torch.manual_seed(0)
    z = AutoregressiveNormal((4, 2), ALPHAS)().rsample((200_000,))
    for k, alpha in enumerate(ALPHAS):
        torch.testing.assert_close(
            z[..., k].T.cov(), covariance(alpha, 4).float(), atol=0.015, rtol=0
        )


def test_moments_and_entropy_are_the_dense_normals():
    p, truth = AutoregressiveNormal(6, 0.9).double()(), dense(0.9, 6)
    torch.testing.assert_close(p.entropy(), truth.entropy())
    torch.testing.assert_close(p.mean, truth.mean)
    torch.testing.assert_close(p.variance, truth.variance)


@pytest.mark.parametrize("make", [DiagonalGaussian, lambda m, s: Normal(m, (0.5 * s).exp())])
def test_the_rate_splits_and_sums_to_the_dense_normals(make):
    loc, log_variance = torch.randn(2, 7, 5, dtype=torch.float64)
    p, q = AutoregressiveNormal(5, 0.9).double()(), make(loc, log_variance)
    rate = kl(Independent(q, 1), p, q.rsample())
    full = MultivariateNormal(loc, torch.diag_embed(log_variance.exp()))
    assert rate.shape == (7, 5)
    torch.testing.assert_close(rate.sum(1), kl_divergence(full, dense(0.9, 5)))


def test_the_rate_has_a_true_gradient():
    p = distributions.AutoregressiveNormal(torch.tensor([0.9, -0.4]).double(), 4)
    inputs = torch.randn(2, 3, 4, 2, dtype=torch.float64, requires_grad=True).unbind()
    assert gradcheck(lambda m, s: kl_divergence(DiagonalGaussian(m, s), p), inputs)


def test_no_posterior_of_independent_latents_has_less_than_the_floor():
    prior = AutoregressiveNormal((6, 2), ALPHAS).double()
    loc = torch.zeros(1, 6, 2, dtype=torch.float64, requires_grad=True)
    log_variance = torch.zeros(1, 6, 2, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([loc, log_variance], max_iter=200, line_search_fn="strong_wolfe")

    def rate() -> torch.Tensor:
        search.zero_grad()
        found = kl(DiagonalGaussian(loc, log_variance), prior(), loc).sum()
        found.backward()
        return found

    search.step(rate)
    assert rate().item() == pytest.approx(prior.floor, rel=1e-6)
    terms = ((6 - 2) * math.log1p(a * a) - math.log1p(-a * a) for a in ALPHAS)
    assert prior.floor == pytest.approx(0.5 * sum(terms))


def test_without_correlation_it_is_the_standard_normal():
    z = torch.randn(7, 5)
    prior = AutoregressiveNormal(5, 0.0)
    torch.testing.assert_close(prior().log_prob(z), StandardNormal(5)().log_prob(z))
    assert prior.floor == AutoregressiveNormal(1, 0.9).floor == 0


def test_it_trains_at_no_less_than_its_floor(fit_with):
    prior = AutoregressiveNormal(4, 0.9)
    vae = VAEModule(MLPEncoder((6,), 4, hidden=(8,)), MLPDecoder((6,), 4, hidden=(8,)), prior)
    fit_with(max_epochs=3).fit(vae, DataLoader(torch.rand(64, 6), 16))
    rate = vae(torch.rand(64, 6)).rate
    assert (rate >= prior.floor - 1e-5).all()
    assert vae.sample(3).shape == (3, 6)


def test_mistakes_are_refused_by_name():
    with pytest.raises(ValueError, match=r"correlation must be in \(-1, 1\), got 1.0; write 0.9"):
        AutoregressiveNormal(4, 1.0)
    with pytest.raises(ValueError, match=r"for channels of shape \(3,\); write one number"):
        AutoregressiveNormal((4, 3), (0.1, 0.2))
    with pytest.raises(ValueError, match="correlation must be in"):
        distributions.AutoregressiveNormal(torch.tensor(-1.0), 3, validate_args=True)
    with pytest.raises(ValueError, match="parameter correlation"):
        distributions.AutoregressiveNormal(torch.tensor(-1.5), 3, validate_args=True)
    with pytest.raises(NotImplementedError, match="has no batch shape"):
        AutoregressiveNormal(4)().expand((3,))
