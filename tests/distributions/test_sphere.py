"""Directions: the Bessel functions, von Mises-Fisher and the uniform against scipy and mpmath."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from torch.autograd import gradcheck
from torch.distributions import kl_divergence
from torch.nn.functional import normalize

from lightning_vae.distributions import HypersphericalUniform, VonMisesFisher
from lightning_vae.distributions.bessel import bessel
from lightning_vae.divergences import kl

DIMS = [2, 3, 4, 10, 32]
KAPPAS = [0.0, 0.1, 1.0, 13.0, 200.0]


def close(ours, truth, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(ours.detach(), np.asarray(truth, dtype=float), rtol, atol)


def directions(*shape, dtype=torch.float64):
    return normalize(torch.randn(*shape, dtype=dtype), dim=-1)


def fisher(dim, kappa, dtype=torch.float64):
    return VonMisesFisher(directions(dim, dtype=dtype), torch.tensor(kappa, dtype=dtype))


# --- Bessel functions


def exact_bessel(order, x):
    """Of 60 digits, by the hypergeometric series; by Hankel's expansion where that is too long."""
    with mpmath.workdps(60):
        nu, x = mpmath.mpf(order), mpmath.mpf(x)

        def log_scaled(v):
            if x < 3000:
                series = mpmath.log(mpmath.hyp0f1(v + 1, x**2 / 4)) - x
                return series + v * mpmath.log(x / 2) - mpmath.loggamma(v + 1) if x else series
            terms = (mpmath.rf(0.5 - v, k) * mpmath.rf(0.5 + v, k) for k in range(25))
            tail = sum(t / mpmath.factorial(k) / (2 * x) ** k for k, t in enumerate(terms))
            return mpmath.log(tail) - mpmath.log(2 * mpmath.pi * x) / 2

        if not x:
            return 0.0, 1 / (2 * order + 2), 1.0
        log_series = log_scaled(nu) + mpmath.loggamma(nu + 1) - nu * mpmath.log(x / 2)
        ratio = mpmath.exp(log_scaled(nu + 1) - log_scaled(nu))
        return float(log_series), float(ratio / x), float(1 - ratio)


@pytest.mark.parametrize("order", [0, 0.5, 1, 4, 15, 15.5, 16, 49, 249])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 3e-5)])
def test_bessel_has_the_digits_of_its_type(order, dtype, rtol):
    x = torch.tensor([0, 1e-8, 1e-3, 0.1, 1, 3, 13, 50, 200, 1e3, 1e6, 1e9], dtype=dtype)
    if order > 50:
        x = x[x <= 1e3]
    x.requires_grad_()
    ours = bessel(order, x)
    truth = np.transpose([exact_bessel(order, each) for each in x.tolist()])
    for value, exact in zip(ours, truth, strict=True):
        close(value, exact, rtol=rtol, atol=1e-30)
    # The derivative of log I is the ratio, so that of the scaled series is the shortfall's.
    close(torch.autograd.grad(ours.log_series.sum(), x)[0], -truth[2], rtol=20 * rtol)


def test_bessel_is_scipys():
    x = np.linspace(0.1, 300, 50)
    ours = bessel(2.5, torch.tensor(x))
    close(torch.tensor(x) * ours.slope, special.ive(3.5, x) / special.ive(2.5, x))
    log_series = np.log(special.ive(2.5, x)) + special.gammaln(3.5) - 2.5 * np.log(x / 2)
    close(ours.log_series, log_series, rtol=1e-11)


@pytest.mark.parametrize("order", [0, 15, 249])
def test_bessel_over_all_of_float32(order):
    x = torch.logspace(-44, 38, 200, requires_grad=True)
    ours = bessel(order, x)
    gradients = torch.autograd.grad(sum(value.sum() for value in ours), x)[0]
    assert all(value.isfinite().all() for value in (*ours, gradients))


def test_bessel_gradients():
    x = torch.tensor([0.0, 0.3, 5.0, 80.0], dtype=torch.float64, requires_grad=True)
    for order in (0, 0.5, 20):
        assert gradcheck(lambda x, order=order: tuple(bessel(order, x)), x)


# --- density


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kappa", KAPPAS[1:])
def test_density_and_entropy_are_scipys(dim, kappa):
    d = fisher(dim, kappa)
    z = directions(20, dim)
    truth = stats.vonmises_fisher(d.loc.numpy(), kappa)
    close(d.log_prob(z), truth.logpdf(z.numpy()), rtol=1e-8)
    close(d.entropy(), truth.entropy(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dim", DIMS)
def test_uniform_is_the_surface(dim):
    p = HypersphericalUniform(dim, like=torch.zeros((), dtype=torch.float64))
    area = 2 * math.pi ** (dim / 2) / math.gamma(dim / 2)
    close(p.log_prob(directions(5, dim)), np.full(5, -math.log(area)))
    close(p.entropy(), math.log(area))
    close(fisher(dim, 0.0).log_prob(directions(5, dim)), np.full(5, -math.log(area)))


def angles(dim, kappa):
    """The angle from the mean on a fine grid, and its density, normalised by quadrature."""
    theta = np.linspace(0, math.pi, 200_001)
    sine = np.sin(theta).clip(min=0)
    log_density = kappa * (np.cos(theta) - 1) + special.xlogy(dim - 2, sine)
    density = np.exp(log_density - log_density.max())
    return theta, density / integrate.simpson(density, x=theta)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kappa", KAPPAS)
def test_moments_are_integrals_and_those_of_draws(dim, kappa):
    d = fisher(dim, kappa)
    theta, density = angles(dim, kappa)
    cosine = integrate.simpson(np.cos(theta) * density, x=theta)
    square = integrate.simpson(np.cos(theta) ** 2 * density, x=theta)
    close(d.mean, cosine * d.loc.numpy(), rtol=1e-8, atol=1e-10)
    across = (1 - square) / (dim - 1)
    along = d.loc.numpy() ** 2
    truth = (square - cosine**2) * along + across * (1 - along)
    close(d.variance, truth, rtol=1e-8, atol=1e-10)
    z = d.sample((5_000,))
    error = 5 * (d.variance / 5_000).sqrt()
    assert ((z.mean(0) - d.mean).abs() < error).all()
    close(z.var(0), truth, rtol=0.2, atol=1e-4)


# --- draws


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kappa", KAPPAS)
def test_draws_pass_kolmogorov_smirnov(dim, kappa):
    d = fisher(dim, kappa)
    z = d.rsample((4000,))
    close(z.norm(dim=-1), np.ones(4000))
    theta, density = angles(dim, kappa)
    cumulative = integrate.cumulative_simpson(density, x=theta, initial=0)
    levels = np.interp(torch.acos((z @ d.loc).clamp(-1, 1)), theta, cumulative)
    assert stats.kstest(levels, "uniform").pvalue > 1e-3
    # Around the mean direction the draws have none.
    around = (z - (z @ d.loc)[:, None] * d.loc) @ directions(dim)
    assert abs(around.mean()) < 5 * around.std() / 4000**0.5


@pytest.mark.parametrize("dim", DIMS)
def test_uniform_draws_pass_kolmogorov_smirnov(dim):
    z = HypersphericalUniform(dim, (4000,)).rsample()
    assert z.shape == (4000, dim)
    square = stats.beta(0.5, (dim - 1) / 2).cdf(z[:, 0].square())
    assert stats.kstest(square, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("dim", [2, 3, 10])
def test_draws_carry_the_gradient_to_the_mean_direction(dim):
    loc = directions(dim).requires_grad_()
    weight = torch.randn(dim, dtype=torch.float64)
    d = VonMisesFisher(loc.expand(10_000, dim), 5.0, validate_args=False)
    value = (d.rsample() @ weight).sin()
    ours = torch.autograd.grad(value.mean(), loc)[0]
    # The score function's gradient along the sphere has the same expectation.
    z, mean = d.sample(), loc.detach()
    off_mean = z - (z @ mean)[:, None] * mean
    score = 5.0 * (z @ weight).sin()[:, None] * off_mean
    tangent = ours - (ours @ mean) * mean
    error = score.std(0) / 10_000**0.5
    assert ((score.mean(0) - tangent).abs() < 6 * error).all()


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kappa", [0.3, 5.0, 80.0])
def test_draws_carry_the_gradient_to_the_concentration(dim, kappa):
    parameter = torch.tensor(kappa, dtype=torch.float64, requires_grad=True)
    d = VonMisesFisher(directions(dim), parameter)
    cosine = d.rsample((5_000,)) @ d.loc
    slopes = torch.autograd.grad(cosine.mean(), parameter)[0]
    # Known: the mean cosine is the ratio of Bessel functions.
    higher, lower = (
        special.ive(dim / 2, k) / special.ive(dim / 2 - 1, k) for k in (kappa + 1e-4, kappa - 1e-4)
    )
    truth = (higher - lower) / 2e-4
    assert slopes.item() == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize(("dim", "kappa"), [(2, 1.0), (2, 40.0), (5, 0.2), (5, 9.0), (32, 60.0)])
def test_the_gradient_to_the_concentration_holds_the_quantile(dim, kappa):
    parameter = torch.tensor(kappa, dtype=torch.float64, requires_grad=True)
    d = VonMisesFisher(directions(dim), parameter)
    theta, density = angles(dim, kappa)
    h = 1e-4 * kappa
    higher, lower = (
        integrate.cumulative_simpson(angles(dim, k)[1], x=theta, initial=0)
        for k in (kappa + h, kappa - h)
    )
    for _ in range(5):
        angle = torch.acos(d.rsample() @ d.loc)
        ours = torch.autograd.grad(angle, parameter)[0].item()
        at = angle.item()
        by_kappa = (np.interp(at, theta, higher) - np.interp(at, theta, lower)) / (2 * h)
        truth = -by_kappa / np.interp(at, theta, density)
        assert ours == pytest.approx(truth, rel=1e-3, abs=1e-6)


# --- divergences


def test_published_divergences_from_the_uniform():
    kappa = torch.tensor([13.0, 25, 50, 100, 200])
    q = VonMisesFisher(directions(5, 32, dtype=torch.float32), kappa)
    rate = kl(q, HypersphericalUniform(32), q.rsample())
    close(rate, [[2.1726], [5.7554], [12.2534], [20.7585], [30.3733]], rtol=0, atol=6e-5)


def sphere_kl(dim, kappa, log_ratio):
    """E_q[log q - log p] for densities of the angle alone, by quadrature."""
    theta, density = angles(dim, kappa)
    return integrate.simpson(density * log_ratio(np.cos(theta)), x=theta)


def log_constant(dim, kappa):
    if kappa == 0:
        return (
            -HypersphericalUniform(dim, like=torch.zeros((), dtype=torch.float64)).entropy().item()
        )
    return (
        (dim / 2 - 1) * math.log(kappa)
        - dim / 2 * math.log(2 * math.pi)
        - math.log(special.ive(dim / 2 - 1, kappa))
        - kappa
    )


@pytest.mark.parametrize("dim", [2, 3, 10, 32])
@pytest.mark.parametrize("kappa", [0.1, 3.0, 60.0])
def test_kl_is_the_integral(dim, kappa):
    q, p = fisher(dim, kappa), HypersphericalUniform(dim)
    mine, uniform = log_constant(dim, kappa), log_constant(dim, 0)
    truth = sphere_kl(dim, kappa, lambda cos: kappa * cos + mine - uniform)
    close(kl_divergence(q, p), truth, rtol=1e-6, atol=1e-8)
    back = sphere_kl(dim, 0, lambda cos: uniform - kappa * cos - mine)
    close(kl_divergence(p, q), back, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dim", [2, 10])
def test_kl_between_two_of_them_is_its_mean_over_draws(dim):
    q, p = fisher(dim, 6.0), fisher(dim, 20.0)
    z = q.sample((20_000,))
    terms = q.log_prob(z) - p.log_prob(z)
    error = terms.std() / 20_000**0.5
    assert abs(kl_divergence(q, p) - terms.mean()) < 4 * error


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kl_from_itself_is_zero(dtype):
    for dim in DIMS:
        uniform = HypersphericalUniform(dim, like=torch.zeros((), dtype=dtype))
        assert kl_divergence(uniform, uniform) == 0
        assert kl_divergence(fisher(dim, 0.0, dtype), uniform).abs() < 1e-12
        for kappa in KAPPAS:
            q = fisher(dim, kappa, dtype)
            assert kl_divergence(q, q) == 0


def test_kl_gradients():
    loc, other = directions(3, 5), directions(3, 5)
    kappas = [torch.tensor([0.5, 5.0, 50.0], dtype=torch.float64).requires_grad_() for _ in "qp"]

    def both(m, k, n, c):
        q = VonMisesFisher(m, k, validate_args=False)
        p = VonMisesFisher(n, 2 * c, validate_args=False)
        uniform = HypersphericalUniform(5)
        return kl_divergence(q, p), kl_divergence(q, uniform), kl_divergence(uniform, p)

    loc.requires_grad_(), other.requires_grad_()
    assert gradcheck(both, [loc, kappas[0], other, kappas[1]])


@pytest.mark.parametrize("kappa", [0.0, 1e-30, 1e-3, 1.0, 1e4, 1e10, 1e30])
@pytest.mark.parametrize("dim", [2, 32, 500])
def test_everything_is_finite_over_all_of_float32(dim, kappa):
    parameter = torch.tensor(kappa, requires_grad=True)
    d = VonMisesFisher(directions(dim, dtype=torch.float32), parameter)
    z = d.rsample((50,))
    values = [z, d.mean, d.variance, d.entropy(), kl_divergence(d, HypersphericalUniform(dim))]
    assert all(value.isfinite().all() for value in values)
    assert torch.autograd.grad(sum(v.sum() for v in values), parameter)[0].isfinite()
    exact = VonMisesFisher(d.loc.double(), float(np.float32(kappa)), validate_args=False)
    close(d.entropy(), exact.entropy().item(), rtol=1e-4, atol=1e-4)


# --- shapes, types and refusals


def test_shapes():
    d = VonMisesFisher(directions(4, 1, 3), torch.ones(5, dtype=torch.float64))
    assert (d.batch_shape, d.event_shape) == ((4, 5), (3,))
    assert d.rsample((2,)).shape == (2, 4, 5, 3)
    assert d.expand((6, 4, 5)).log_prob(d.sample()).shape == (6, 4, 5)
    p = HypersphericalUniform(3, (5,)).expand((4, 5))
    assert p.rsample((2,)).shape == (2, 4, 5, 3)
    assert p.mean.shape == p.variance.shape == (4, 5, 3)
    assert p.entropy().shape == kl_divergence(d, p).shape == (4, 5)
    with pytest.raises(RuntimeError):
        p.expand((4, 6))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_draws_of_every_type_lie_on_the_sphere(dtype):
    d = VonMisesFisher(directions(2, 8, dtype=torch.float32).to(dtype), 10.0)
    z = d.rsample((20,))
    assert z.dtype == dtype
    assert d.log_prob(z).isfinite().all()
    assert HypersphericalUniform(8, like=z).log_prob(z).isfinite().all()


@pytest.mark.parametrize("make", [lambda **k: fisher(3, 2.0), lambda **k: HypersphericalUniform(3)])
def test_log_prob_is_minus_infinity_off_the_sphere(make):
    z = torch.tensor([[0.0, 0.0, 1.01], [0, 0, 0], [math.inf, 0, 0]], dtype=torch.float64)
    assert make().log_prob(z).tolist() == [-math.inf] * 3


def test_asked_to_validate_it_refuses_what_is_off_the_sphere():
    d = VonMisesFisher(directions(3), 1.0, validate_args=True)
    for each in (d, d.expand((2,)), HypersphericalUniform(3, validate_args=True)):
        with pytest.raises(ValueError, match="within the support"):
            each.log_prob(2 * directions(3))


def test_a_direction_of_another_length_is_refused():
    for d in (fisher(3, 1.0), HypersphericalUniform(3)):
        for dim in (1, 2, 4):
            with pytest.raises(ValueError, match="is over events of shape"):
                d.log_prob(torch.ones(dim, dtype=torch.float64))


@pytest.mark.parametrize("dim", [0, 1])
def test_one_dimension_has_no_directions(dim):
    with pytest.raises(ValueError, match="must be 2 or more"):
        HypersphericalUniform(dim)
    with pytest.raises(ValueError, match="must be 2 or more"):
        VonMisesFisher(torch.ones(3, dim), 1.0)


@pytest.mark.parametrize(("scale", "kappa"), [(1.1, 1.0), (0.0, 1.0), (1.0, -1.0), (math.nan, 1.0)])
def test_bad_parameters_are_refused(scale, kappa):
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        VonMisesFisher(scale * directions(3), kappa)


def test_the_remedy_for_a_mean_that_is_no_direction():
    with pytest.raises(ValueError, match=r"normalize\(loc, dim=-1\)"):
        VonMisesFisher(torch.ones(3), 1.0)
