"""A learned normal prior: its density, its closed divergence, and that it learns."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from lightning_vae import kl
from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.priors import DiagonalNormal, StandardNormal
from tests.references import probability as oracles


def trained(*shape):
    prior = DiagonalNormal(shape).double()
    for parameter in prior.parameters():
        nn.init.normal_(parameter)
    return prior


def posterior(*shape):
    loc, log_variance = torch.randn(2, 4, *shape, dtype=torch.float64)
    return DiagonalGaussian(loc, log_variance)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3)])
def test_the_density_is_scipys(shape):
    prior = trained(*shape)
    z = torch.randn(5, *shape, dtype=torch.float64)
    likeness = oracles.normal(prior.loc.detach(), prior.log_variance.detach())
    truth = likeness.logpdf(z).reshape(5, -1).sum(1)
    np.testing.assert_allclose(prior().log_prob(z).detach(), truth, rtol=1e-12)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3)])
def test_the_divergence_is_closed_and_one_for_every_latent(shape):
    prior, q = trained(*shape), posterior(*shape)
    truth = oracles.normal_kl(
        q.loc.numpy(),
        q.log_variance.numpy(),
        prior.loc.detach().numpy(),
        prior.log_variance.detach().numpy(),
    )
    for z in (q.rsample(), q.rsample((5,))):
        rate = kl(q, prior(), z).detach()
        np.testing.assert_allclose(rate, np.broadcast_to(truth, z.shape), rtol=1e-9)


def test_it_starts_as_the_standard_normal():
    q = posterior(3)
    z = q.rsample()
    rate = kl(q, DiagonalNormal(3).double()(), z)
    torch.testing.assert_close(rate, kl(q, StandardNormal(3).double()(), z))


def test_draws_pass_kolmogorov_smirnov():
    prior = trained(2)
    draws, likeness = prior().sample((4000,)), (prior.loc.detach(), prior.log_variance.detach())
    for column, loc, log_variance in zip(draws.T, *likeness, strict=True):
        assert stats.kstest(column, oracles.normal(loc, log_variance).cdf).pvalue > 1e-3


def test_it_learns_the_normal_that_its_data_are_drawn_from():
    truth = DiagonalGaussian(torch.tensor([2.0, -1.0]), torch.tensor([1.0, -3.0]))
    data, prior = truth.sample((4096,)), DiagonalNormal(2)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        (-prior().log_prob(data).mean()).backward()
        optimizer.step()
    assert prior.loc.tolist() == pytest.approx(data.mean(0).tolist(), abs=1e-3)
    assert prior.log_variance.tolist() == pytest.approx(data.var(0).log().tolist(), abs=1e-3)
    entropy = sum(0.5 * (math.log(2 * math.pi * math.e) + s) for s in (1.0, -3.0))
    assert -prior().log_prob(data).mean().item() == pytest.approx(entropy, abs=0.04)


def test_a_fixed_prior_first_seen_by_inference_can_be_trained_with():
    prior = StandardNormal(2)
    with torch.inference_mode():
        prior()
    q = torch.distributions.Normal(torch.zeros(3, 2, requires_grad=True), 1.0)
    kl(q, prior(), q.rsample()).sum().backward()
    assert q.loc.grad is not None
