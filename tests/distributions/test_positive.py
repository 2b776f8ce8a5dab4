"""Exponential, Weibull and Uniform: recorded numbers, divergences, edges and extremes."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import distributions as torchs
from torch.autograd import gradcheck
from torch.distributions import kl_divergence

from lightning_vae.distributions import (
    DiagonalGaussian,
    Exponential,
    StandardGaussian,
    Uniform,
    Weibull,
)
from tests.references import recorded


def vector(*numbers, dtype=torch.float64):
    return torch.tensor(numbers, dtype=dtype)


def numbers(given):
    return torch.tensor(np.asarray(given, dtype=np.float64))


def close(ours, truth, rtol=1e-6, atol=1e-12):
    np.testing.assert_allclose(ours.detach(), np.asarray(truth, dtype=float), rtol, atol)


# --- recorded numbers


def with_noise(monkeypatch, noise, make):
    """A draw from given noise instead of the generator's."""
    monkeypatch.setattr(torch, "rand", lambda *_, **__: noise)
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda _: noise)
    return make()


def test_recorded_exponential_density():
    case = recorded("variational")["exponential-log_prob"]
    log_rate = numbers(case["inputs"]["lograte"]).requires_grad_()
    log_prob = Exponential(log_rate).log_prob(numbers(case["inputs"]["value"]))
    close(log_prob, case["outputs"]["log_prob"])
    close(torch.autograd.grad(log_prob.sum(), log_rate)[0], case["outputs"]["grad_lograte"])


def test_recorded_exponential_outside_its_support():
    case = recorded("variational")["exponential-log_prob-negative"]
    d = Exponential(numbers(case["inputs"]["lograte"]))
    log_prob = d.log_prob(numbers(case["inputs"]["value"]))
    assert log_prob.tolist() == [float(x) for x in case["correct"]["log_prob"]]


def test_recorded_uniform_density():
    case = recorded("variational")["uniform-log_prob"]
    low, high, value = (numbers(case["inputs"][key]) for key in ("low", "high", "value"))
    truth = [float(x) for x in case["outputs"]["log_prob"]]
    close(Uniform(low, high).log_prob(value), truth)


def test_recorded_weibull_density():
    case = recorded("variational")["weibull-log_prob"]
    scale, k = (numbers(case["inputs"][key]).requires_grad_() for key in ("l_scale", "k_shape"))
    log_prob = Weibull(scale.log(), k.log()).log_prob(numbers(case["inputs"]["value"]))
    close(log_prob, case["correct"]["log_prob"], rtol=1e-12)
    slopes = torch.autograd.grad(log_prob.sum(), [scale, k])
    close(slopes[0], case["outputs"]["grad_l"], atol=1e-7)
    close(slopes[1], case["outputs"]["grad_k"], atol=1e-7)


@pytest.mark.parametrize("kind", ["exponential", "uniform"])
def test_recorded_draws(kind, monkeypatch):
    case = recorded("variational")[f"{kind}-rsample"]
    given = {key: numbers(value) for key, value in case["inputs"].items() if key != "sample_shape"}
    if kind == "exponential":
        d, noise = Exponential(given["lograte"]), given["e"]
    else:
        d, noise = Uniform(given["low"], given["high"]), given["u"]
    draws = with_noise(monkeypatch, noise, lambda: d.rsample(case["inputs"]["sample_shape"]))
    close(draws, case["outputs"]["sample"])


def test_recorded_exponential_divergence():
    case = recorded("variational")["kl-exponential"]
    rates = [numbers(case["inputs"][f"lograte_{i}"]).requires_grad_() for i in (1, 2)]
    kl = kl_divergence(*map(Exponential, rates))
    close(kl, case["outputs"]["kl"])
    for gradient, i in zip(torch.autograd.grad(kl.sum(), rates), (1, 2), strict=True):
        close(gradient, case["outputs"][f"grad_{i}"])


def test_recorded_weibull_divergence_which_is_not_averaged():
    case = recorded("variational")["kl-weibull-their-test"]
    l1, k1, l2, k2 = (numbers(case["inputs"][key]).log() for key in ("l_1", "k_1", "l_2", "k_2"))
    kl = kl_divergence(Weibull(l1, k1), Weibull(l2, k2))
    assert kl.shape == (2, 2)
    # Recorded in float32 and with Euler's constant cut to four digits.
    close(kl, np.full((2, 2), case["outputs"]["kl"]))


# --- divergences


def quantile_kl(q, p):
    """By quadrature over the quantiles of q, whose weight e^-t is never singular."""

    def integrand(t):
        z = q.isf(math.exp(-t)) if t > 1 else q.ppf(-math.expm1(-t))
        return math.exp(-t) * (q.logpdf(z) - p.logpdf(z))

    edges = [0, 1e-6, 1e-3, 0.1, 1, 10, 60]
    pieces = (integrate.quad(integrand, a, b, limit=500) for a, b in itertools.pairwise(edges))
    return sum(value for value, _ in pieces)


def weibull(scale, k):
    return Weibull(vector(scale).log(), vector(k).log()), stats.weibull_min(k, scale=scale)


def exponential(rate):
    return Exponential(vector(rate).log()), stats.expon(0, 1 / rate)


def torch_exponential(rate):
    return torchs.Exponential(vector(rate)), stats.expon(0, 1 / rate)


def gamma(shape, rate):
    return torchs.Gamma(vector(shape), vector(rate)), stats.gamma(shape, scale=1 / rate)


def uniform(low, high):
    return Uniform(vector(low), vector(high)), stats.uniform(low, high - low)


def torch_uniform(low, high):
    return torchs.Uniform(vector(low), vector(high)), stats.uniform(low, high - low)


def gaussian(loc, log_variance):
    q = DiagonalGaussian(vector(loc), vector(log_variance))
    return q, stats.norm(loc, math.exp(log_variance / 2))


def torch_normal(loc, scale):
    return torchs.Normal(vector(loc), vector(scale)), stats.norm(loc, scale)


def standard():
    return StandardGaussian((1,), like=vector(0.0)), stats.norm()


def laplace(loc, scale):
    return torchs.Laplace(vector(loc), vector(scale)), stats.laplace(loc, scale)


EXPONENTIALS = [exponential(0.3), exponential(4.0), torch_exponential(1.7)]
WEIBULLS = [weibull(0.7, 1.5), weibull(1.3, 2), weibull(2, 0.8), weibull(0.1, 6)]
UNIFORMS = [uniform(-1, 2), uniform(0.5, 0.6)]
NORMALS = [gaussian(0.5, -1.0), gaussian(-2, 1.5), torch_normal(0.1, 0.7), standard()]
PAIRS = [
    *itertools.product(EXPONENTIALS, EXPONENTIALS + WEIBULLS),
    *itertools.product(WEIBULLS, WEIBULLS + EXPONENTIALS),
    *itertools.product(WEIBULLS + EXPONENTIALS, [gamma(0.5, 2), gamma(3, 0.4), gamma(1, 1)]),
    *itertools.product(UNIFORMS, [*NORMALS, uniform(-1, 2), torch_uniform(-3, 4)]),
    *itertools.product([laplace(0, 1), laplace(-1, 0.3)], [laplace(0.5, 2), laplace(-1, 0.3)]),
]


@pytest.mark.parametrize(("q", "p"), PAIRS)
def test_kl_is_the_integral(q, p):
    ours = kl_divergence(q[0], p[0])
    assert ours.shape == (1,)
    close(ours, [quantile_kl(q[1], p[1])], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("k", "l", "p", "truth"),
    [
        (1.5, 0.7, weibull(1, 1)[0], 0.2016565),
        (1.5, 0.7, exponential(1)[0], 0.2016565),
        (2, 1.3, weibull(2, 1.5)[0], 0.2711843),
        (2, 1.3, gamma(0.5, 2)[0], 1.6590346),
    ],
)
def test_published_weibull_divergences(k, l, p, truth):
    assert kl_divergence(weibull(l, k)[0], p).item() == pytest.approx(truth, abs=1e-7)


def test_a_uniform_that_reaches_beyond_another_is_infinitely_far():
    assert kl_divergence(uniform(0, 2)[0], uniform(0, 1)[0]) == torch.inf
    assert kl_divergence(uniform(0, 2)[0], torch_uniform(0.5, 3)[0]) == torch.inf


PARAMETERS = [vector(-0.7, 0.3, 1.2), vector(0.4, -0.2, 0.9)]
OTHERS = [vector(0.5, -0.6, 0.2), vector(1.5, 0.8, 1.1)]
KINDS = {
    "exponential": lambda a, b: Exponential(a),
    "weibull": Weibull,
    "uniform": lambda a, b: Uniform(a, a + b.exp()),
    "gamma": lambda a, b: torchs.Gamma(a.exp(), b.exp()),
    "gaussian": DiagonalGaussian,
    "wide": lambda a, b: Uniform(a - 5, a + b.exp() + 5),
}
KIND_PAIRS = [
    *itertools.product(["exponential", "weibull"], ["exponential", "weibull", "gamma"]),
    *itertools.product(["uniform"], ["gaussian", "wide"]),
]


@pytest.mark.parametrize(("q", "p"), KIND_PAIRS)
def test_kl_gradients(q, p):
    parameters = [t.clone().requires_grad_() for t in (*PARAMETERS, *OTHERS)]
    assert gradcheck(lambda a, b, c, d: kl_divergence(KINDS[q](a, b), KINDS[p](c, d)), parameters)


@pytest.mark.parametrize("kind", ["exponential", "weibull", "uniform"])
def test_density_and_draw_gradients(kind):
    parameters = [t.clone().requires_grad_() for t in PARAMETERS]
    z = KINDS[kind](*PARAMETERS).sample().requires_grad_()
    assert gradcheck(lambda a, b, z: KINDS[kind](a, b).log_prob(z), [*parameters, z])
    levels = vector(0.1, 0.5, 0.9)
    assert gradcheck(lambda a, b: KINDS[kind](a, b).icdf(levels), parameters)
    # A draw is the quantile of its level, so that its gradient is implicit in the cdf's.
    torch.manual_seed(0)
    d = KINDS[kind](*parameters)
    draw = d.rsample()
    level = KINDS[kind](*PARAMETERS).cdf(draw.detach())
    ours, truth = (torch.autograd.grad(x.sum(), parameters[0])[0] for x in (draw, d.icdf(level)))
    close(ours, truth)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("a", [-80.0, -3.0, 0.0, 0.7, 80.0])
def test_kl_of_a_distribution_from_itself_is_zero(a, dtype):
    a, b = vector(a, a, dtype=dtype), vector(-3.0, 4.0, dtype=dtype)
    for kind in ("exponential", "weibull"):
        assert kl_divergence(KINDS[kind](a, b), KINDS[kind](a, b)).tolist() == [0, 0]
    assert kl_divergence(Uniform(b, b + 1), Uniform(b, b + 1)).tolist() == [0, 0]
    assert kl_divergence(Weibull(a, 0.0), Exponential(-a)).tolist() == [0, 0]


# --- the edge of the support

OUTSIDE = [
    (Exponential(vector(0.5)), [-1e-9, -3.0, -math.inf]),
    (Weibull(vector(0.5), vector(0.3)), [-1e-9, -3.0, -math.inf, math.inf]),
    (Uniform(vector(0.0), vector(1.0)), [-1e-9, 1.0, 1e9, math.inf, -math.inf]),
]


@pytest.mark.parametrize(("d", "values"), OUTSIDE)
def test_log_prob_is_minus_infinity_outside_the_support(d, values):
    z = vector(*values).requires_grad_()
    log_prob = d.log_prob(z)
    assert (log_prob == -math.inf).all()
    assert (d.expand((len(values),)).log_prob(z) == -math.inf).all()
    if log_prob.requires_grad:
        assert not torch.autograd.grad(log_prob.sum(), z)[0].isnan().any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Exponential(vector(0.5), validate_args=True),
        lambda: Weibull(vector(0.5), vector(0.5), validate_args=True),
        lambda: Uniform(vector(0.0), vector(1.0), validate_args=True),
    ],
)
@pytest.mark.parametrize("z", [-1.0, math.nan])
def test_asked_to_validate_it_refuses_what_is_outside(make, z):
    for d in (make(), make().expand((3,))):
        with pytest.raises(ValueError, match="within the support"):
            d.log_prob(vector(z))


@pytest.mark.parametrize(
    "make",
    [
        lambda nan: Exponential(nan),
        lambda nan: Weibull(nan, 0.0),
        lambda nan: Weibull(0.0, nan),
        lambda nan: Uniform(nan, 1.0),
        lambda nan: Uniform(-1.0, nan),
    ],
)
def test_nan_parameters_are_refused(make):
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        make(vector(0.0, math.nan))


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0)])
def test_uniform_refuses_bounds_in_the_wrong_order(low, high):
    with pytest.raises(ValueError, match="low must be below high"):
        Uniform(vector(low), vector(high))


@pytest.mark.parametrize("log_k", [-1.0, 0.0, 1.0])
def test_weibull_at_zero_is_its_limit_and_has_gradients(log_k):
    parameters = [vector(0.5).requires_grad_(), vector(log_k).requires_grad_()]
    log_prob = Weibull(*parameters).log_prob(vector(0.0))
    close(log_prob, stats.weibull_min.logpdf([0.0], math.exp(log_k), scale=math.exp(0.5)))
    gradients = torch.autograd.grad(log_prob, parameters, allow_unused=True)
    assert not any(g.isnan().any() for g in gradients if g is not None)


def test_a_uniform_never_draws_its_upper_bound(monkeypatch):
    d = Uniform(*(vector(x, dtype=torch.float32).requires_grad_() for x in (2.0, 5.0)))
    highest = torch.tensor([1 - 2.0**-24])
    draw = with_noise(monkeypatch, highest, d.rsample)
    assert torchs.Uniform(2.0, 5.0).icdf(highest) == 5
    assert draw < 5
    assert d.log_prob(draw).isfinite().all()
    assert torch.autograd.grad(draw, [d.low, d.high])[1] == highest


# --- extremes of float32


@pytest.mark.parametrize("log_rate", [-100.0, -88.0, -1.0, 0.0, 88.0, 100.0, 200.0])
def test_exponential_over_all_of_float32(log_rate):
    parameter = torch.tensor(log_rate, requires_grad=True)
    d, size = Exponential(parameter), math.exp(-log_rate)
    for z in (0.0, min(size, 1e38)):
        log_prob = d.log_prob(torch.tensor(z))
        # z itself has no more digits than a subnormal number has.
        truth = stats.expon.logpdf(float(np.float32(z)), scale=size)
        assert log_prob.item() == pytest.approx(truth, rel=1e-4)
        assert torch.autograd.grad(log_prob, parameter)[0].isfinite()
    assert d.entropy() == 1 - log_rate
    assert not d.rsample((100,)).isnan().any()


@pytest.mark.parametrize("log_k", [-2.0, -1.0, 0.0, 3.0, 8.0, 15.0, 100.0])
@pytest.mark.parametrize("log_scale", [-80.0, 0.0, 80.0])
def test_weibull_over_all_of_float32(log_scale, log_k):
    a, b = (torch.tensor(x, requires_grad=True) for x in (log_scale, log_k))
    d = Weibull(a, b)
    exact = Weibull(vector(log_scale), vector(log_k))
    for name in ("mean", "variance"):
        ours, truth = getattr(d, name).item(), getattr(exact, name).item()
        if 1e-37 < truth < 1e38:
            assert ours == pytest.approx(truth, rel=1e-4), name
    assert d.entropy().item() == pytest.approx(exact.entropy().item(), rel=1e-6)
    log_prob = d.log_prob(d.mean.detach())
    assert not log_prob.isnan()
    assert not any(g.isnan() for g in torch.autograd.grad(log_prob, [a, b]))


@pytest.mark.parametrize("k", [1.0, 30.0, 3e3, 1e6])
def test_weibull_variance_does_not_cancel(k):
    variance = Weibull(torch.zeros(()), torch.tensor(k).log()).variance.item()
    leading = math.pi**2 / 6 / k**2
    truth = stats.weibull_min.var(k) if k < 100 else leading
    assert variance == pytest.approx(truth, rel=2e-3 if k > 100 else 1e-5)


def test_divergences_over_all_of_float32():
    grid = torch.tensor(list(itertools.product([-80.0, -3, 0, 3, 80], [-2.0, 0, 2], repeat=2)))
    a, b, c, d = (x.clone().requires_grad_() for x in grid.T)
    for q, p in ((Weibull(a, b), Weibull(c, d)), (Exponential(a), Exponential(c))):
        ours = kl_divergence(q, p)
        wide = [x.detach().double() for x in (a, b, c, d)]
        q64 = Weibull(*wide[:2]) if isinstance(q, Weibull) else Exponential(wide[0])
        p64 = Weibull(*wide[2:]) if isinstance(p, Weibull) else Exponential(wide[2])
        truth = kl_divergence(q64, p64)
        fits = truth < 1e38
        close(ours[fits], truth[fits], rtol=1e-4, atol=1e-5)
        assert (ours[truth > 4e38] == math.inf).all()


def test_uniform_over_all_of_float32():
    bounds = vector(-3e38, dtype=torch.float32), vector(3e38, dtype=torch.float32)
    d = Uniform(*bounds)
    assert d.log_prob(vector(0.0, dtype=torch.float32)).item() == pytest.approx(-math.log(6e38))
    assert d.rsample((1000,)).isfinite().all()
    assert d.mean == 0
    assert d.cdf(vector(0.0, dtype=torch.float32)) == 0.5


# --- types


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["exponential", "weibull", "uniform"])
def test_every_type_stays_itself(kind, dtype):
    d = KINDS[kind](*(t.to(dtype) for t in PARAMETERS))
    assert d.rsample((4,)).dtype == d.log_prob(d.mean).dtype == d.entropy().dtype == dtype
    assert d.log_prob(d.sample((50,))).isfinite().all()


def test_draws_and_densities_stay_on_the_device():
    a, b = (t.to("meta") for t in PARAMETERS)
    for d in (Exponential(a, validate_args=False), Weibull(a, b, validate_args=False)):
        assert d.rsample((2,)).is_meta
        assert d.log_prob(b).is_meta
    assert Uniform(a, b, validate_args=False).rsample().is_meta
