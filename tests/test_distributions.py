"""The distributions against scipy, quadrature and float64."""

import copy
import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn
from torch.autograd import gradcheck
from torch.distributions import Distribution, Independent, Laplace, Normal, kl_divergence

from lightning_vae import distributions
from lightning_vae.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    DiagonalGaussian,
    Exponential,
    StableGaussian,
    StandardGaussian,
    Uniform,
    Weibull,
)
from tests.references import probability as oracles
from tests.references import recorded

LOC = torch.tensor([[0.0, -1.5, 3.0], [0.2, 10.0, -0.4]], dtype=torch.float64)
LOG_VARIANCE = torch.tensor([[0.0, -4.0, 2.0], [0.7, -0.3, -1.1]], dtype=torch.float64)

WIDTH = LOG_VARIANCE.exp()
STABLE = np.where(LOG_VARIANCE > 0, 1 + LOG_VARIANCE, LOG_VARIANCE.exp()) + 1e-6

# Every distribution of numbers, with its likeness in scipy and values to look at.
EXAMPLES = {
    "DiagonalGaussian": (
        DiagonalGaussian(LOC, LOG_VARIANCE, validate_args=True),
        oracles.normal(LOC, LOG_VARIANCE),
        [LOC, LOC + 1, -LOC],
    ),
    "StandardGaussian": (
        StandardGaussian((2, 3), like=LOC),
        stats.norm(np.zeros((2, 3)), 1),
        [LOC, -LOC],
    ),
    "Bernoulli": (
        Bernoulli(LOC, validate_args=True),
        stats.bernoulli(special.expit(LOC.numpy())),
        [torch.zeros_like(LOC), torch.ones_like(LOC)],
    ),
    "ContinuousBernoulli": (
        ContinuousBernoulli(-1 - WIDTH),
        stats.truncexpon(1 + WIDTH, scale=1 / (1 + WIDTH)),
        [torch.full_like(LOC, 0.3), torch.zeros_like(LOC), torch.ones_like(LOC), LOC],
    ),
    "Exponential": (Exponential(LOC), stats.expon(0, (-LOC).exp()), [LOC.abs(), LOC, 0 * LOC]),
    "StableGaussian": (
        StableGaussian(LOC, LOG_VARIANCE),
        stats.norm(LOC, np.sqrt(STABLE)),
        [LOC, LOC + 1, -LOC],
    ),
    "Uniform": (
        Uniform(LOC, LOC + WIDTH),
        stats.uniform(LOC, WIDTH),
        [LOC, LOC + 0.9 * WIDTH, LOC - 1e-3, LOC + 1.1 * WIDTH],
    ),
    "Weibull": (
        Weibull(LOC, -LOG_VARIANCE / 2),
        stats.weibull_min((-LOG_VARIANCE / 2).exp(), scale=LOC.exp()),
        [LOC.abs() + 0.1, LOC, LOC.exp(), 0 * LOC],
    ),
}
# What scipy has no likeness of, or none with every moment: these have files of their own.
ELSEWHERE = {
    "AutoregressiveNormal": "priors/test_autoregressive.py",
    "DiscretisedLogisticMixture": "likelihoods/test_discretised_logistic_mixture.py",
    "HypersphericalUniform": "distributions/test_sphere.py",
    "Mixture": "priors/test_mixture.py",
    "NegativeBinomial": "likelihoods/test_counts.py",
    "Poisson": "likelihoods/test_counts.py",
    "ProfileNormal": "likelihoods/test_scales.py",
    "Pushforward": "test_posteriors.py",
    "RelaxedCategorical": "distributions/test_relaxed_categorical.py",
    "Tokens": "likelihoods/test_tokens.py",
    "VonMisesFisher": "distributions/test_sphere.py",
    "Weighted": "likelihoods/test_weights.py",
    "ZeroInflated": "likelihoods/test_counts.py",
}
CONTINUOUS = [name for name in EXAMPLES if name != "Bernoulli"]
every = pytest.mark.parametrize("name", EXAMPLES)
every_continuous = pytest.mark.parametrize("name", CONTINUOUS)


def close(ours, truth, rtol=1e-12, atol=1e-12):
    np.testing.assert_allclose(ours.detach().numpy(), truth, rtol=rtol, atol=atol)
    return True


def test_every_distribution_has_a_row():
    public = {name: getattr(distributions, name) for name in distributions.__all__}
    kinds = {n for n, d in public.items() if isinstance(d, type) and issubclass(d, Distribution)}
    assert set(EXAMPLES) | set(ELSEWHERE) == kinds
    for name, file in ELSEWHERE.items():
        assert name in (Path(__file__).parent / file).read_text(), file


# --- one distribution against scipy


@every
def test_log_prob_is_scipys(name):
    d, likeness, values = EXAMPLES[name]
    log_density = likeness.logpmf if name == "Bernoulli" else likeness.logpdf
    assert all(close(d.log_prob(v), log_density(v)) for v in values)


@every
def test_moments_and_entropy_are_scipys(name):
    d, likeness, _ = EXAMPLES[name]
    close(d.mean, likeness.mean())
    close(d.variance, likeness.var())
    close(d.stddev, likeness.std())
    close(d.entropy(), likeness.entropy())


@every_continuous
def test_cdf_and_its_inverse_are_scipys(name):
    d, likeness, values = EXAMPLES[name]
    close(d.cdf(values[0]), likeness.cdf(values[0]))
    levels = torch.full_like(LOC, 0.3)
    close(d.icdf(levels), likeness.ppf(levels))


@every_continuous
@pytest.mark.parametrize("draw", ["rsample", "sample"])
def test_draws_pass_kolmogorov_smirnov(name, draw):
    d, likeness, _ = EXAMPLES[name]
    draws = getattr(d, draw)((4000,))
    assert draws.shape == (4000, 2, 3)
    levels = likeness.cdf(draws).reshape(4000, 6)
    assert all(stats.kstest(column, "uniform").pvalue > 1e-3 for column in levels.T)


def test_bernoulli_draws_have_its_probability():
    d, likeness, _ = EXAMPLES["Bernoulli"]
    successes = d.sample((4000,)).sum(0)
    trials = zip(successes.flatten().int().tolist(), likeness.mean().flatten(), strict=True)
    assert all(stats.binomtest(k, 4000, probability).pvalue > 1e-3 for k, probability in trials)


def test_rsample_carries_the_gradient_of_its_noise():
    loc, s = LOC.clone().requires_grad_(), LOG_VARIANCE.clone().requires_grad_()
    z = DiagonalGaussian(loc, s).rsample((5,))
    d_loc, d_s = torch.autograd.grad(z.sum(), [loc, s])
    close(d_loc, np.full((2, 3), 5.0))
    close(d_s, 0.5 * (z - loc).sum(0).detach())


@pytest.mark.parametrize("case", ["normal-log_prob", "normal-numbers"])
def test_recorded_simple_normal(case):
    case = recorded("variational")[case]
    mu, s, value = (
        torch.tensor(case["inputs"][key], dtype=torch.float64, requires_grad=True)
        for key in ("mu", "logvar", "value")
    )
    log_prob = DiagonalGaussian(mu, s).log_prob(value)
    # A Python number was recorded in float32.
    close(log_prob, case["outputs"]["log_prob"], rtol=1e-7)
    assert list(log_prob.shape) == case["outputs"]["batch_shape"]
    gradients = torch.autograd.grad(log_prob.sum(), [mu, s])
    for gradient, key in zip(gradients, ("grad_mu", "grad_logvar"), strict=True):
        if key in case["outputs"]:
            close(gradient, case["outputs"][key])


def test_log_prob_gradients():
    parameters = [p.clone().requires_grad_() for p in (LOC, LOG_VARIANCE, LOC + 0.5)]
    assert gradcheck(lambda m, s, z: DiagonalGaussian(m, s).log_prob(z), parameters)
    assert gradcheck(lambda z: StandardGaussian((2, 3), like=z).log_prob(z), parameters[2:])
    assert gradcheck(lambda l: Bernoulli(l).log_prob(torch.full_like(l, 0.3)), parameters[:1])


@pytest.mark.parametrize("s", [-1e4, -400.0, -200.0, -100.0, 80.0, 1e4])
def test_log_prob_at_the_mean_is_finite_at_any_variance(s):
    loc = torch.tensor(3.0, requires_grad=True)
    log_variance = torch.tensor(s, requires_grad=True)
    log_prob = DiagonalGaussian(loc, log_variance).log_prob(torch.tensor(3.0))
    assert log_prob.item() == pytest.approx(-0.5 * (s + np.log(2 * np.pi)), rel=1e-6)
    assert [g.item() for g in torch.autograd.grad(log_prob, [loc, log_variance])] == [0.0, -0.5]


# --- shapes, types and arguments


@every
def test_expand_repeats_and_stays_what_it_is(name):
    d, _, values = EXAMPLES[name]
    expanded = d.expand((4, 2, 3))
    assert type(expanded) is type(d)
    assert expanded.batch_shape == (4, 2, 3)
    assert torch.equal(expanded.log_prob(values[0]), d.log_prob(values[0]).expand(4, 2, 3))
    assert Independent(d, 1).expand((5, 2)).batch_shape == (5, 2)


@every
def test_expand_refuses_a_shape_that_does_not_fit(name):
    with pytest.raises(RuntimeError, match="expanded size"):
        EXAMPLES[name][0].expand((2, 4))


@every
@pytest.mark.parametrize("remake", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_copies_are_equal(name, remake):
    d, _, values = EXAMPLES[name]
    assert torch.equal(remake(d).log_prob(values[0]), d.log_prob(values[0]))


def test_parameters_broadcast_as_numbers_and_tensors():
    d = DiagonalGaussian(1, torch.zeros(3))
    assert d.batch_shape == d.loc.shape == d.rsample().shape == (3,)
    assert DiagonalGaussian(1, 0).batch_shape == ()


def test_standard_gaussian_takes_type_and_device_of_its_likeness():
    d = StandardGaussian((2,), like=torch.zeros(7, dtype=torch.float64))
    assert d.rsample().dtype == d.variance.dtype == torch.float64
    assert StandardGaussian((2,), like=torch.zeros((), device="meta")).loc.is_meta


@pytest.mark.parametrize(
    "make",
    [
        lambda nan, check: DiagonalGaussian(torch.zeros(2), nan, validate_args=check),
        lambda nan, check: DiagonalGaussian(nan, torch.zeros(2), validate_args=check),
        lambda nan, check: Bernoulli(nan, validate_args=check),
    ],
)
def test_nan_parameters_raise_when_validating(make):
    nan = torch.tensor([0.0, np.nan])
    make(nan, False)
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        make(nan, True)


@pytest.mark.parametrize("x", [-0.01, 1.01, 255.0, np.nan])
def test_bernoulli_refuses_values_outside_the_unit_interval_when_validating(x):
    d, x = Bernoulli(torch.zeros(2, 3), validate_args=True), torch.full((2, 3), x)
    for each in (d, d.expand((4, 2, 3))):
        with pytest.raises(ValueError, match="within the support"):
            each.log_prob(x)


def test_diagonal_gaussian_refuses_nan_when_validating():
    d = DiagonalGaussian(torch.zeros(2), torch.zeros(2), validate_args=True)
    for each in (d, d.expand((3, 2))):
        with pytest.raises(ValueError, match="within the support"):
            each.log_prob(torch.tensor([0.0, np.nan]))


# --- Bernoulli on gray values


def test_bernoulli_on_gray_values_is_the_cross_entropy():
    x, logits = torch.rand(50, dtype=torch.float64), 5 * torch.randn(50, dtype=torch.float64)
    ours = -Bernoulli(logits, validate_args=True).log_prob(x)
    close(ours, oracles.cross_entropy(logits.numpy(), x))
    bce = nn.functional.binary_cross_entropy(logits.sigmoid(), x, reduction="none")
    close(ours, bce, rtol=1e-9)


def test_bernoulli_does_not_saturate_in_float32():
    case = recorded("nidl_beta_vae_loss")["bernoulli-logits-float32"]
    logits = torch.tensor(case["inputs"]["logits"], requires_grad=True)
    nll = -Bernoulli(logits).log_prob(torch.tensor(case["inputs"]["x"])).sum()
    nll.backward()
    assert nll.item() == pytest.approx(case["correct"]["rec_loss"], rel=1e-6)
    close(logits.grad, case["correct"]["grad_logits"], atol=1e-6)


# --- divergences between normals


KINDS = {
    "diagonal": DiagonalGaussian,
    "torch": lambda loc, s: Normal(loc, (0.5 * s).exp()),
    "standard": lambda loc, s: StandardGaussian(loc.shape, like=loc),
}
every_pair = pytest.mark.parametrize("pair", list(itertools.product(KINDS, KINDS)), ids=" ‖ ".join)


def truth_of(kind, loc, s):
    return stats.norm(0, 1) if kind == "standard" else oracles.normal(loc, s)


@every_pair
def test_kl_is_the_integral(pair):
    q, p = (KINDS[kind] for kind in pair)
    others = LOC.flip(0) / 2, LOG_VARIANCE.flip(1)
    ours = kl_divergence(q(LOC, LOG_VARIANCE), p(*others))
    truth = [
        oracles.quadrature_kl(truth_of(pair[0], *mine), truth_of(pair[1], *theirs))
        for mine, theirs in zip(
            zip(LOC.flatten().tolist(), LOG_VARIANCE.flatten().tolist(), strict=True),
            zip(*(other.flatten().tolist() for other in others), strict=True),
            strict=True,
        )
    ]
    assert ours.shape == LOC.shape
    close(ours.flatten(), truth, rtol=1e-6, atol=1e-9)


def test_kl_that_torch_knows_of_normals_holds_for_ours():
    ours = kl_divergence(DiagonalGaussian(LOC, LOG_VARIANCE), Laplace(0.5, torch.ones_like(LOC)))
    truth = [
        oracles.quadrature_kl(oracles.normal(m, s), stats.laplace(0.5, 1))
        for m, s in zip(LOC.flatten().tolist(), LOG_VARIANCE.flatten().tolist(), strict=True)
    ]
    close(ours.flatten(), truth, rtol=1e-6)


@every_pair
def test_kl_gradients(pair):
    q, p = (KINDS[kind] for kind in pair)
    parameters = [t.clone().requires_grad_() for t in (LOC, LOG_VARIANCE, LOC / 2, -LOG_VARIANCE)]
    kl = kl_divergence(q(*parameters[:2]), p(*parameters[2:]))
    if kl.requires_grad:
        assert gradcheck(lambda m, s, n, t: kl_divergence(q(m, s), p(n, t)), parameters)
    else:
        assert pair == ("standard", "standard")


@pytest.mark.parametrize("q", KINDS)
@pytest.mark.parametrize("p", KINDS)
@pytest.mark.parametrize("s", [-80.0, -3.0, 0.0, 0.7, 80.0])
def test_kl_of_a_distribution_from_itself_is_zero(q, p, s):
    if "standard" in (q, p):
        s = 0.0
    loc, log_variance = torch.zeros(2), torch.full((2,), s)
    kl = kl_divergence(KINDS[q](loc, log_variance), KINDS[p](loc, log_variance))
    assert kl.tolist() == pytest.approx([0, 0], abs=1e-9)


# --- float32 at the extremes

FLOAT32_MAX = float(np.finfo(np.float32).max)
LOCS = [0.0, 1.0, -1.0, 1e19, -1e19, 1e25]


def as_float32_can(ours, truth, atol):
    """Within 1e-5 where the truth fits, infinite where it does not; either in its last half."""
    ours, truth = ours.detach().double().numpy(), np.asarray(truth)
    infinite = ours == np.copysign(np.inf, truth)
    near = np.isclose(ours, truth, rtol=1e-5, atol=atol)
    size = np.abs(truth)
    fine = np.where(size > FLOAT32_MAX, infinite, near | (infinite & (size > FLOAT32_MAX / 2)))
    assert fine.all(), (ours[~fine][:5], truth[~fine][:5])


def check_float32_kl(ours, parameters, truth):
    """Value and gradients; the gradients only where the value fits easily, but never NaN."""
    value = ours(*parameters)
    gradients = torch.autograd.grad(value.sum(), parameters)
    exact = [p.detach().double().numpy() for p in parameters]
    as_float32_can(value, truth(*exact), atol=2e-9)
    fits = truth(*exact) <= FLOAT32_MAX / 6
    for gradient, slope in zip(gradients, oracles.normal_kl_gradients(*exact), strict=False):
        assert not gradient.isnan().any()
        as_float32_can(gradient[torch.from_numpy(fits)], slope[fits], atol=1e-7)
    assert fits.any()
    return value, gradients


def to_standard(loc, s):
    return kl_divergence(DiagonalGaussian(loc, s), StandardGaussian(loc.shape, like=loc))


def between(q_loc, q_s, p_loc, p_s):
    return kl_divergence(DiagonalGaussian(q_loc, q_s), DiagonalGaussian(p_loc, p_s))


@pytest.mark.parametrize("loc", LOCS)
def test_kl_to_the_standard_normal_over_all_of_float32(loc):
    s = torch.linspace(-100, 88, 20_001, requires_grad=True)
    loc = torch.full_like(s, loc).requires_grad_()
    if loc[0] < 1e20:
        value, gradients = check_float32_kl(to_standard, [loc, s], oracles.normal_kl)
        assert all(t.isfinite().all() for t in (value, *gradients))
        assert (value >= 0).all()
    else:
        assert (to_standard(loc, s) == torch.inf).all()


def test_kl_to_the_standard_normal_is_infinite_beyond_float32():
    s = torch.tensor([-1e4, -400, 89.5, 100, 101, 1e3, 1e4], requires_grad=True)
    loc = torch.zeros_like(s).requires_grad_()
    check_float32_kl(to_standard, [loc, s], oracles.normal_kl)


@pytest.mark.parametrize("s", [torch.inf, -torch.inf])
@pytest.mark.parametrize("p_s", [0.0, -100.0, 88.0])
def test_kl_of_infinite_log_variance_is_infinite(s, p_s):
    q_s, loc = torch.tensor(s, requires_grad=True), torch.zeros(())
    for value in (to_standard(loc, q_s), between(loc, q_s, loc, torch.tensor(p_s))):
        assert value == torch.inf
        assert not torch.autograd.grad(value, q_s)[0].isnan()


EXTREMES = [-1e4, -400, -200, -178, -150, -100, -50.5, -1, 0, 0.3, 50, 80, 88, 200, 1e4]


def test_kl_between_normals_over_all_of_float32():
    grid = list(itertools.product([0.0, 1.0, 1e-6], EXTREMES, [0.0, 1e-6, -1.0, 1e19], EXTREMES))
    parameters = [p.clone().requires_grad_() for p in torch.tensor(grid).T]
    check_float32_kl(between, parameters, oracles.normal_kl)


@pytest.mark.parametrize("q", ["diagonal", "torch"])
def test_kl_with_torchs_normal_over_all_of_float32(q):
    s = torch.tensor([[s, 0.0] if q == "diagonal" else [0.0, s] for s in EXTREMES])
    p = "torch" if q == "diagonal" else "diagonal"
    zero = torch.zeros(len(s))
    parameters = [t.clone().requires_grad_() for t in (zero, s[:, 0], zero, s[:, 1])]
    check_float32_kl(
        lambda m, s, n, t: kl_divergence(KINDS[q](m, s), KINDS[p](n, t)),
        parameters,
        oracles.normal_kl,
    )


@pytest.mark.parametrize("loc", LOCS)
def test_kl_from_itself_is_zero_over_all_of_float32(loc):
    s = torch.linspace(-1e4, 1e4, 2001, requires_grad=True)
    loc = torch.full_like(s, loc).requires_grad_()
    value = between(loc, s, loc.detach(), s.detach())
    assert (value == 0).all()
    assert all((g == 0).all() for g in torch.autograd.grad(value.sum(), [loc, s]))
