"""The affine coupling flow: a bijection, its determinant, its density, and that it learns."""

import math

import pytest
import torch
from scipy import stats
from torch import nn
from torch.autograd.functional import jacobian

from lightning_vae import kl
from lightning_vae.distributions import DiagonalGaussian, StandardGaussian
from lightning_vae.distributions.invertible import InvertibleFlow
from lightning_vae.priors import DiagonalNormal, RealNVP, StandardNormal
from lightning_vae.priors.coupling import AffineCoupling


def stirred(module):
    """In float64 and far from the identity that it starts as."""
    module.double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def coupling(size, last):
    return stirred(AffineCoupling(size, hidden=(8,), last=last))


sizes = pytest.mark.parametrize("size", [2, 3, 6])
halves = pytest.mark.parametrize("last", [False, True])


@sizes
@halves
def test_a_coupling_is_a_bijection(size, last):
    layer, x = coupling(size, last), torch.randn(7, size).double()
    y, log_determinant = layer(x)
    back, log_inverse = layer.inverse(y)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(log_inverse, -log_determinant)
    assert log_determinant.shape == (7,)
    assert not y.isclose(x).all()


@sizes
@halves
def test_the_determinant_is_that_of_the_jacobian(size, last):
    layer, x = coupling(size, last), torch.randn(size).double()
    y, log_determinant = layer(x)
    for f, at, ours in ((layer, x, log_determinant), (layer.inverse, y, -log_determinant)):
        truth = jacobian(lambda v, f=f: f(v)[0], at.detach()).slogdet().logabsdet
        torch.testing.assert_close(ours, truth)


@halves
def test_a_coupling_keeps_one_half(last):
    layer, x = coupling(5, last), torch.randn(4, 5).double()
    y, _ = layer(x)
    kept = slice(2, None) if last else slice(2)
    assert torch.equal(y[:, kept], x[:, kept])
    moved = slice(2) if last else slice(2, None)
    assert (y[:, moved] != x[:, moved]).all()


def test_one_latent_has_no_half():
    for make in (AffineCoupling, RealNVP):
        with pytest.raises(ValueError, match=r"size must be at least 2, .* got 1; .* GaussianMix"):
            make(1)


def test_whole_layers_and_widths_alone_are_taken():
    with pytest.raises(ValueError, match="layers must be a positive whole number, got 0"):
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

    def flow(x):
        for layer in p.layers:
            x = layer(x)[0]
        return x

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
    first, both = p.layers[0](x)[0], p.layers[1](p.layers[0](x)[0])[0]
    assert (first == x).tolist() == [True, True, False, False, False]
    assert (both == first).tolist() == [False, False, True, True, True]


def test_noise_found_back_from_draws_is_normal():
    p = stirred(RealNVP(3))()
    x = p.sample((4000,))
    for layer in reversed(p.layers):
        x = layer.inverse(x)[0]
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


# --- the distribution


def flow(**kwargs):
    layers = [coupling(6, last) for last in (False, True)]
    return InvertibleFlow(StandardGaussian((6,), like=torch.zeros(()).double()), layers, **kwargs)


def test_a_flow_gives_vectors_an_event_shape():
    p = flow(event_shape=(2, 3))
    assert (p.batch_shape, p.event_shape) == ((), (2, 3))
    assert p.sample((5, 4)).shape == (5, 4, 2, 3)
    with pytest.raises(ValueError, match=r"event_shape \(2, 2\) has 4 elements but base has 6"):
        flow(event_shape=(2, 2))


def test_a_flow_expands():
    p = flow(event_shape=(2, 3))
    twin = p.expand((4,))
    z = twin.sample((5,))
    assert z.shape == (5, 4, 2, 3)
    torch.testing.assert_close(twin.log_prob(z), p.log_prob(z))


def test_a_flow_validates_where_asked():
    with pytest.raises(ValueError, match="within the support"):
        flow(validate_args=True).log_prob(torch.full((6,), torch.nan).double())


def test_a_flow_in_bfloat16_sums_in_float32():
    p = RealNVP(400, layers=2).bfloat16()()
    z = p.sample((20,))
    truth = stats.norm.logpdf(z.double()).sum(1)
    assert p.log_prob(z).dtype == torch.float32
    assert (p.log_prob(z).double() - torch.as_tensor(truth)).abs().max() < 1e-3
