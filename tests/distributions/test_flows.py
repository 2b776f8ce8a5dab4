"""Planar and affine coupling flows: densities that integrate to one, Jacobians, inverses."""

import copy
import itertools
import math
import pickle
from decimal import Decimal, localcontext

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.distributions import Independent, TransformedDistribution

from lightning_vae.distributions import AffineCoupling, DiagonalGaussian, PlanarFlow, Pushforward
from lightning_vae.divergences import kl
from lightning_vae.priors import RealNVP, StandardNormal

B, D = 4, 3


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


class Conditioner(nn.Module):
    def __init__(self, fixed, moved):
        super().__init__()
        self.log_scale, self.shift = nn.Linear(fixed, moved), nn.Linear(fixed, moved)
        self.double()

    def forward(self, z):
        return self.log_scale(z).tanh(), self.shift(z)


def flows(dim=D, batch=(B,)):
    half = dim // 2
    return {
        "planar": [PlanarFlow(double(*batch, dim), double(*batch, dim), double(*batch))],
        "planars": [
            PlanarFlow(2 * double(*batch, dim), double(*batch, dim), double(*batch)) for _ in "123"
        ],
        "coupling": [AffineCoupling(Conditioner(half, dim - half))],
        "couplings": [
            AffineCoupling(Conditioner(half, dim - half)),
            AffineCoupling(Conditioner(dim - half, half), flip=True),
        ],
    }


def posterior(name, dim=D, batch=(B,)):
    base = Independent(DiagonalGaussian(double(*batch, dim), double(*batch, dim)), 1)
    return Pushforward(base, flows(dim, batch)[name])


every = pytest.mark.parametrize("name", flows())


@every
@pytest.mark.parametrize("draws", [(), (5,)])
def test_log_prob_at_its_own_draws_is_the_change_of_variables(name, draws):
    q = posterior(name)
    z = q.rsample(draws)
    ours = q.log_prob(z)
    x = z
    for flow in reversed(q.transforms):
        x = flow.inv(x)
    truth = q.base_dist.log_prob(x)
    for flow in q.transforms:
        truth, x = truth - flow.log_abs_det_jacobian(x, y := flow(x)), y
    torch.testing.assert_close(ours, truth)
    torch.testing.assert_close(q.log_prob(z.clone()), ours)


@every
def test_the_determinant_is_that_of_the_jacobian(name):
    x = double(1, D)
    for flow in flows(batch=(1,))[name]:
        jacobian = torch.autograd.functional.jacobian(flow._call, x)[0, :, 0]
        truth = torch.linalg.slogdet(jacobian)
        assert truth.sign == 1
        torch.testing.assert_close(flow.log_abs_det_jacobian(x, flow._call(x))[0], truth.logabsdet)


@every
def test_the_density_integrates_to_one(name):
    q = posterior(name, dim=2, batch=(1,))
    draws = q.sample((2000,)).reshape(-1, 2)
    centre, spread = draws.median(0).values, (draws - draws.median(0).values).abs().max()
    axis = torch.linspace(-3, 3, 301, dtype=torch.float64) * spread
    grid = torch.cartesian_prod(axis, axis) + centre
    mass = q.log_prob(grid[:, None]).exp().sum() * (axis[1] - axis[0]) ** 2
    assert mass.item() == pytest.approx(1, abs=5e-3)


@every
def test_the_inverse_undoes_it_and_has_its_gradient(name):
    for flow in flows()[name]:
        x = double(B, D)
        y = flow._call(x)
        torch.testing.assert_close(flow._inverse(y), x, rtol=1e-10, atol=1e-10)
        assert gradcheck(flow._inverse, y.detach().requires_grad_())


def test_the_inverse_has_gradients_to_the_flow():
    u, w, b, y = (double(*s).requires_grad_() for s in ((B, D), (B, D), (B,), (B, D)))
    assert gradcheck(lambda u, w, b, y: PlanarFlow(u, w, b)._inverse(y), [u, w, b, y])


@every
def test_the_rate_is_monte_carlo_and_not_negative_on_average(name):
    q = posterior(name)
    z = q.rsample((2000,))
    prior = StandardNormal(D).double()()
    rate = kl(q, prior, z)
    assert rate.shape == (2000, B, 1)
    torch.testing.assert_close(rate[..., 0], q.log_prob(z) - prior.log_prob(z))
    error = rate.std(0) / 2000**0.5
    assert (rate.mean(0) > -4 * error).all()


def test_a_flow_that_does_nothing_costs_what_its_base_does():
    q = posterior("planar")
    still = PlanarFlow(torch.zeros(D).double(), torch.ones(D).double(), torch.zeros(()).double())
    moved, prior = TransformedDistribution(q.base_dist, [still]), StandardNormal(D).double()()
    rate = kl(moved, prior, moved.sample((20_000,)))
    truth = kl(q.base_dist, prior, q.sample()).sum(1, keepdim=True)
    assert ((rate.mean(0) - truth).abs() < 5 * rate.std(0) / 20_000**0.5).all()


def test_gradients_reach_base_and_flow():
    parameters = [double(B, D).requires_grad_() for _ in range(4)] + [double(B).requires_grad_()]
    loc, s, u, w, b = parameters
    q = TransformedDistribution(Independent(DiagonalGaussian(loc, s), 1), [PlanarFlow(u, w, b)])
    rate = kl(q, StandardNormal(D).double()(), q.rsample())
    assert all(g.isfinite().all() and g.any() for g in torch.autograd.grad(rate.sum(), parameters))


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-8, 30.0])
def test_every_u_and_w_is_invertible_in_float32(scale):
    for sign in (-1, 1):
        w = scale * torch.randn(B, D)
        flow = PlanarFlow(sign * w, w, torch.zeros(B))
        x = torch.randn(B, D).requires_grad_()
        y = flow(x)
        assert flow.log_abs_det_jacobian(x, y).isfinite().all()
        torch.testing.assert_close(flow._inverse(y.detach()), x.detach(), rtol=1e-3, atol=1e-3)


def exact(u, w):
    """û from its definition, in 80 digits."""
    with localcontext() as context:
        context.prec = 80
        us, ws = ([Decimal(x) for x in vector.tolist()] for vector in (u, w))
        along = sum(a * b for a, b in zip(us, ws, strict=True))
        m = -1 + (1 + (Decimal(1).exp() - 1) * along.exp()).ln()
        gap = (m - along) / sum(b * b for b in ws)
        return torch.tensor([float(a + gap * b) for a, b in zip(us, ws, strict=True)])


@pytest.mark.parametrize(
    "scale", [1e-30, 1e-12, 1e-8, 1e-4, 0.03, 1.0, 10.0, 100.0], ids=lambda scale: f"{scale:g}"
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_u_is_what_its_definition_says_however_small_w_is(scale, dtype):
    w, u = scale * torch.randn(20, D, dtype=dtype), torch.randn(20, D, dtype=dtype)
    ours = PlanarFlow(u, w, torch.zeros(20, dtype=dtype)).u
    truth = torch.stack([exact(*pair) for pair in zip(u, w, strict=True)])
    torch.testing.assert_close(ours.float(), truth, rtol=1e-5, atol=2e-6)


def test_u_has_its_gradient_however_small_w_is():
    """At w = ε v the flow's û is that at v, with m linear: the gradient to w grows as 1 / ε."""
    u, v = double(B, D), double(B, D)
    gradients = {}
    for scale in (1e-6, 1e-9):
        w = (scale * v).requires_grad_()
        (gradient,) = torch.autograd.grad(PlanarFlow(u, w, double(B)).u[:, 0].sum(), w)
        gradients[scale] = scale * gradient
    torch.testing.assert_close(gradients[1e-6], gradients[1e-9], rtol=1e-4, atol=1e-4)
    zero = torch.zeros(B, D).requires_grad_()
    (gradient,) = torch.autograd.grad(PlanarFlow(u.float(), zero, torch.zeros(B)).u.sum(), zero)
    assert gradient.isfinite().all()


def test_a_flow_that_is_told_to_do_nothing_does_nothing():
    flow = PlanarFlow(torch.zeros(D), torch.zeros(D), torch.zeros(()))
    x = torch.randn(B, D)
    assert torch.equal(flow(x), x)
    assert (flow.log_abs_det_jacobian(x, x) == 0).all()


@every
def test_it_is_copied_and_sent_even_after_a_draw(name):
    q = posterior(name, dim=2)
    loc = q.base_dist.base_dist.loc.requires_grad_()
    z = q.rsample()
    assert z.requires_grad
    assert loc.is_leaf
    for remake in (copy.deepcopy, lambda q: pickle.loads(pickle.dumps(q))):
        torch.testing.assert_close(remake(q).log_prob(z.detach()), q.log_prob(z.detach()))


@every
def test_a_draw_without_gradients_hides_no_gradient_from_its_density(name):
    q = posterior(name)
    parameter = q.transforms[0].u if "planar" in name else q.transforms[0].conditioner.shift.weight
    parameter.requires_grad_()
    z = q.sample()
    ours, truth = (torch.autograd.grad(q.log_prob(at).sum(), parameter)[0] for at in (z, z.clone()))
    assert ours.any()
    torch.testing.assert_close(ours, truth)


@every
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_density(name, value):
    q, p = posterior(name), RealNVP((D, 1)).double()()
    z = double(B, D)
    for place in range(D):
        bad = z.clone()
        bad[1, place] = value
        for d, at in ((q, bad), (p, bad.unsqueeze(-1)), (q.expand((B,)), bad)):
            found = d.log_prob(at)
            assert found[1] == -math.inf
            assert found[[0, 2, 3]].isfinite().all()
        theirs = TransformedDistribution(q.base_dist, q.transforms, validate_args=False)
        assert not (theirs.log_prob(bad)[1] > -math.inf)


def test_one_latent_cannot_be_coupled():
    with pytest.raises(ValueError, match="a coupling needs two latents or more"):
        AffineCoupling(Conditioner(1, 1))(double(B, 1))


def test_a_conditioner_of_the_wrong_shape_is_refused():
    for bad in itertools.permutations([double(B, 1), double(B, 2)]):
        with pytest.raises(ValueError, match=r"conditioner gave a .* it must have theirs"):
            AffineCoupling(lambda z, bad=bad: bad)(double(B, D))


def test_u_and_w_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="u and w must be vectors of one length"):
        PlanarFlow(double(B, 2), double(B, 1), double(B))


def test_a_wide_planar_flow_saturates_quietly():
    flow = PlanarFlow(torch.ones(D), torch.ones(D), torch.zeros(()))
    x = torch.full((1, D), 1e4)
    assert flow.log_abs_det_jacobian(x, x) == 0
    assert math.isfinite(flow._inverse(flow(x)).sum())
