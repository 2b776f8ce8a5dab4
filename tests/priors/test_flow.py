"""The prior that is a flow of couplings: its density, its draws, and that it learns."""

import math

import pytest
import torch
from scipy import stats
from torch import nn
from torch.autograd.functional import jacobian
from torch.distributions import ComposeTransform

from lightning_vae import kl
from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.priors import DiagonalNormal, RealNVP, StandardNormal


def stirred(module):
    """In float64 and far from the identity that it starts as."""
    module.double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def layers(p):
    """The couplings, without the shape that they are given at the end."""
    return ComposeTransform(p.transforms[:-1])


@pytest.mark.parametrize("shape", [1, (1, 1)])
def test_one_latent_has_no_half(shape):
    with pytest.raises(ValueError, match=r"shape must have two latents at least, .* GaussianMix"):
        RealNVP(shape)


def test_whole_layers_and_widths_alone_are_taken():
    with pytest.raises(ValueError, match="layers must be a whole number of at least 1, got 0"):
        RealNVP(2, layers=0)
    with pytest.raises(ValueError, match=r"hidden must be positive whole numbers, got \(0,\)"):
        RealNVP(2, hidden=(0,))


# --- the prior


@pytest.mark.parametrize("shape", [(3,), (2, 4)])
def test_it_starts_as_the_standard_normal(shape):
    z = torch.randn(5, *shape)
    torch.testing.assert_close(RealNVP(shape)().log_prob(z), StandardNormal(shape)().log_prob(z))


@pytest.mark.parametrize("shape", [(2,), (3,), (2, 3)])
def test_the_density_of_a_draw_is_that_of_its_noise_over_the_stretch(shape):
    p = stirred(RealNVP(shape, layers=3))()
    size = math.prod(shape)
    noise = torch.randn(size).double()

    flow = layers(p)
    stretch = jacobian(flow, noise).slogdet().logabsdet
    truth = stats.norm.logpdf(noise).sum() - stretch
    assert p.log_prob(flow(noise).view(shape)).item() == pytest.approx(truth.item(), rel=1e-9)


def test_the_density_integrates_to_one():
    p = stirred(RealNVP(2, layers=4, hidden=(8,)))()
    axis = torch.linspace(-25, 25, 1001).double()
    grid = torch.cartesian_prod(axis, axis).split(200_000)
    with torch.no_grad():
        mass = sum(p.log_prob(z).exp().sum() for z in grid) * (axis[1] - axis[0]) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-3)


def test_layers_move_both_halves_by_turns():
    p, x = stirred(RealNVP(5, layers=2))(), torch.randn(5).double()
    first = p.transforms[0](x)
    both = p.transforms[1](first)
    assert (first == x).tolist() == [True, True, False, False, False]
    assert (both == first).tolist() == [False, False, True, True, True]


def test_noise_found_back_from_draws_is_normal():
    p = stirred(RealNVP(3))()
    x = layers(p).inv(p.sample((4000,)).clone())
    assert all(stats.kstest(column, "norm").pvalue > 1e-3 for column in x.detach().T)


def test_draws_carry_gradients():
    prior = stirred(RealNVP(3))
    gradients = torch.autograd.grad(prior().rsample((8,)).sum(), list(prior.parameters()))
    assert all(g.any() for g in gradients)


def test_the_gradient_of_the_density_is_that_of_finite_differences():
    p = stirred(RealNVP(3, hidden=()))()
    z = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(p.log_prob, z)


def test_the_rate_is_monte_carlo_and_one_an_example():
    prior, q = stirred(RealNVP((2, 3))), DiagonalGaussian(*torch.randn(2, 5, 2, 3).double())
    for draws in ((), (4,)):
        z = q.rsample(draws)
        truth = q.log_prob(z).sum((-1, -2)) - prior().log_prob(z)
        torch.testing.assert_close(kl(q, prior(), z), truth.unsqueeze(-1))


def learned(prior, data, steps):
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = -prior().log_prob(data).mean()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_it_learns_a_bent_density_that_no_diagonal_normal_does():
    # z1 ~ N(0, 1), z2 | z1 ~ N(z1², 0.25): the entropy is that of the two normals.
    first = torch.randn(2048)
    data = torch.stack([first, first**2 + 0.25**0.5 * torch.randn(2048)], 1)
    entropy = math.log(2 * math.pi * math.e) + 0.5 * math.log(0.25)
    flow = learned(RealNVP(2, layers=4, hidden=(32,)), data, 300)
    assert flow == pytest.approx(entropy, abs=0.1)
    assert learned(DiagonalNormal(2), data, 300) > entropy + 0.7


def test_draws_have_the_latent_shape_and_an_expansion_its_batch():
    p = stirred(RealNVP((2, 3)))()
    assert (p.batch_shape, p.event_shape) == ((), (2, 3))
    twin = p.expand((4,))
    z = twin.sample((5,))
    assert z.shape == (5, 4, 2, 3)
    torch.testing.assert_close(twin.log_prob(z), p.log_prob(z))


def test_a_network_runs_once_for_the_value_and_the_determinant():
    prior = stirred(RealNVP(4, layers=3))
    runs = []
    for network in prior.conditioners:
        network.register_forward_hook(lambda *_: runs.append(1))
    prior().log_prob(torch.randn(5, 4).double())
    assert len(runs) == 3


def test_a_flow_in_bfloat16_sums_in_float32():
    p = RealNVP(400, layers=2).bfloat16()()
    z = p.sample((20,))
    truth = stats.norm.logpdf(z.double()).sum(1)
    assert p.log_prob(z).dtype == torch.float32
    assert (p.log_prob(z).double() - torch.as_tensor(truth)).abs().max() < 1e-3
