"""Mixtures: their density against scipy and quadrature, their draws, and that they learn."""

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from lightning_vae import kl
from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.distributions.mixture import Mixture
from lightning_vae.priors import DiagonalNormal, GaussianMixture
from tests.references import probability as oracles


def trained(*shape, components=4):
    prior = GaussianMixture(shape, components).double()
    for parameter in prior.parameters():
        nn.init.normal_(parameter)
    return prior


def log_density(prior, z):
    """By scipy, component by component."""
    loc, log_variance, logits = (p.detach().numpy() for p in prior.parameters())
    likeness = oracles.normal(loc, log_variance)
    components = likeness.logpdf(z[:, None]).reshape(len(z), len(loc), -1).sum(2)
    return special.logsumexp(components + special.log_softmax(logits), axis=1)


@pytest.mark.parametrize("components", [1, 4])
@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3)])
def test_the_density_is_scipys(shape, components):
    prior = trained(*shape, components=components)
    z = 3 * torch.randn(6, *shape, dtype=torch.float64)
    ours = prior().log_prob(z).detach()
    np.testing.assert_allclose(ours, log_density(prior, z.numpy()), rtol=1e-12)


def density(prior, *z):
    return prior().log_prob(torch.tensor(z, dtype=torch.float64)).exp().item()


def test_the_density_integrates_to_one():
    one, two = trained(1), trained(2, components=2)
    assert integrate.quad(lambda z: density(one, z), -25, 25, limit=200)[0] == pytest.approx(1)
    area = integrate.dblquad(lambda y, x: density(two, x, y), -15, 15, -15, 15, epsabs=1e-5)[0]
    assert area == pytest.approx(1, abs=1e-4)


def test_one_component_is_a_diagonal_normal():
    mixture, normal = trained(3, components=1), DiagonalNormal(3).double()
    normal.load_state_dict({name: getattr(mixture, name)[0] for name in ("loc", "log_variance")})
    z = torch.randn(7, 3, dtype=torch.float64)
    torch.testing.assert_close(mixture().log_prob(z), normal().log_prob(z))
    q = DiagonalGaussian(z, torch.zeros_like(z))
    draws = q.rsample((20_000,))
    rate = kl(q, mixture(), draws)
    closed = kl(q, normal(), draws[0]).sum(1, keepdim=True)
    assert ((rate.mean(0) - closed).abs() < 5 * rate.std(0) / 20_000**0.5).all()


def test_the_rate_is_monte_carlo_and_one_an_example():
    prior, q = trained(2, 3), DiagonalGaussian(*torch.randn(2, 5, 2, 3).double())
    for draws in ((), (4,)):
        z = q.rsample(draws)
        truth = q.log_prob(z).sum((-1, -2)) - prior().log_prob(z)
        torch.testing.assert_close(kl(q, prior(), z), truth.unsqueeze(-1))


def test_draws_pass_kolmogorov_smirnov():
    prior = trained(1)
    loc, log_variance, logits = (p.detach().numpy() for p in prior.parameters())

    def cdf(z):
        parts = oracles.normal(loc, log_variance).cdf(np.asarray(z)[None])
        return special.softmax(logits) @ parts

    assert stats.kstest(prior().sample((4000,))[:, 0], cdf).pvalue > 1e-3


def test_mean_and_variance_are_those_of_draws():
    p = trained(2)()
    draws = p.sample((50_000,))
    torch.testing.assert_close(draws.mean(0), p.mean.detach(), atol=0.05, rtol=0)
    torch.testing.assert_close(draws.var(0), p.variance.detach(), rtol=0.05, atol=0)


def test_points_far_from_every_component_have_a_finite_density_and_gradient():
    prior = GaussianMixture(2, components=3)
    z = torch.tensor([[1e4, -1e4]], requires_grad=True)
    p = prior().log_prob(z)
    (gradient,) = torch.autograd.grad(p, z)
    assert p.isfinite()
    assert gradient.isfinite().all()


def test_it_learns_the_mixture_that_its_data_are_drawn_from():
    truth = stats.norm(-3, 1), stats.norm(2, 0.5)
    rng = np.random.default_rng(0)
    draws = np.where(rng.random(8192) < 0.3, *(t.rvs(8192, random_state=rng) for t in truth))
    data = torch.as_tensor(draws)[:, None]
    prior = GaussianMixture(1, components=2).double()
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        (-prior().log_prob(data).mean()).backward()
        optimizer.step()

    def density(z):
        return 0.3 * truth[0].pdf(z) + 0.7 * truth[1].pdf(z)

    entropy = integrate.quad(lambda z: -density(z) * np.log(density(z)), -12, 8, limit=200)[0]
    error = np.log(density(draws)).std() / 8192**0.5
    assert -prior().log_prob(data).mean().item() == pytest.approx(entropy, abs=4 * error)
    order = prior.loc[:, 0].argsort()
    assert prior.loc[order, 0].tolist() == pytest.approx([-3, 2], abs=0.1)
    weights = prior.logits.softmax(0)[order]
    assert weights.tolist() == pytest.approx([0.3, 0.7], abs=0.03)


@pytest.mark.parametrize("components", [0, -1, 2.0, "3", True])
def test_a_count_that_is_not_whole_and_positive_is_refused(components):
    with pytest.raises(ValueError, match="components must be a whole number of at least 1, got"):
        GaussianMixture(2, components)


# --- the distribution


def parts(*batch):
    means = torch.randn(*batch, 4, 3).double()
    return Categorical(logits=torch.randn(*batch, 4).double()), Independent(Normal(means, 1.0), 1)


@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
def test_a_mixture_is_torchs(batch):
    weights, components = parts(*batch)
    ours, torchs = Mixture(weights, components), MixtureSameFamily(weights, components)
    z = torchs.sample((6,))
    torch.testing.assert_close(ours.log_prob(z), torchs.log_prob(z))
    assert (ours.batch_shape, ours.event_shape) == (batch, (3,))
    torch.testing.assert_close(ours.variance, torchs.variance)


def test_a_mixture_expands():
    p = Mixture(*parts())
    twin = p.expand((2, 5))
    z = twin.sample()
    assert type(twin) is Mixture
    assert z.shape == (2, 5, 3)
    assert torch.equal(twin.log_prob(z), p.log_prob(z))


def test_a_mixture_in_bfloat16_sums_over_latents_in_float32():
    loc = torch.randn(2, 400).bfloat16()
    components = Independent(DiagonalGaussian(loc, torch.zeros_like(loc)), 1)
    exact = Independent(DiagonalGaussian(loc.double(), torch.zeros_like(loc).double()), 1)
    weights, z = Categorical(torch.ones(2)), torch.randn(20, 400).bfloat16()
    truth = MixtureSameFamily(weights, exact).log_prob(z.double())
    torchs = MixtureSameFamily(weights, components).log_prob(z)
    ours = Mixture(weights, components).log_prob(z)
    assert ours.dtype == torch.float32
    assert (ours - truth).abs().max() < 1e-3
    assert (torchs - truth).abs().max() > 0.5


def test_a_mixture_needs_a_logit_for_every_component():
    with pytest.raises(ValueError, match="mixture_distribution"):
        Mixture(Categorical(torch.ones(3)), parts()[1])


def test_a_mixture_validates_where_asked():
    p = Mixture(*parts(), validate_args=True)
    with pytest.raises(ValueError, match="within the support"):
        p.log_prob(torch.full((3,), torch.nan).double())
