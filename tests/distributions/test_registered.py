"""Every registered divergence, in one table: its integral, its zero and its gradients.

And those of torch's own that posteriors here rely upon.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import distributions as torchs
from torch.autograd import gradcheck
from torch.distributions import Independent, kl_divergence
from torch.distributions.kl import _KL_REGISTRY
from torch.nn.functional import normalize

from lightning_vae.distributions import (
    AutoregressiveNormal,
    DiagonalGaussian,
    Exponential,
    HypersphericalUniform,
    RelaxedCategorical,
    StandardGaussian,
    Uniform,
    VonMisesFisher,
    Weibull,
)


@dataclass(frozen=True)
class Family:
    """A kind of distribution by two parameters of any real value, and scipy's likeness of it."""

    cls: type
    make: Callable[[Any, Any], Any]
    scipys: Callable[[Any, Any], Any]


exp = np.exp
# A standard normal takes no parameters; each of the others is made of both.
STANDARD = Family(
    StandardGaussian,
    lambda a, b: StandardGaussian(a.shape, like=a),
    lambda a, b: stats.norm(0 * a, 1),
)
DIAGONAL = Family(DiagonalGaussian, DiagonalGaussian, lambda a, b: stats.norm(a, exp(b / 2)))
NORMAL = Family(
    torchs.Normal,
    lambda a, b: torchs.Normal(a, (b / 2).exp()),
    lambda a, b: stats.norm(a, exp(b / 2)),
)
EXPONENTIAL = Family(
    Exponential, lambda a, b: Exponential(a + 0 * b), lambda a, b: stats.expon(0, exp(-a))
)
BY_RATE = Family(
    torchs.Exponential,
    lambda a, b: torchs.Exponential((a + 0 * b).exp()),
    lambda a, b: stats.expon(0, exp(-a)),
)
WEIBULL = Family(
    Weibull,
    lambda a, b: Weibull(-a, b / 2),
    lambda a, b: stats.weibull_min(exp(b / 2), scale=exp(-a)),
)
GAMMA = Family(
    torchs.Gamma,
    lambda a, b: torchs.Gamma((b / 2).exp(), a.exp()),
    lambda a, b: stats.gamma(exp(b / 2), scale=exp(-a)),
)
UNIFORM = Family(
    Uniform, lambda a, b: Uniform(a, a + b.exp()), lambda a, b: stats.uniform(a, exp(b))
)
WIDE = Family(
    torchs.Uniform,
    lambda a, b: torchs.Uniform(a - 9, a + b.exp() + 9),
    lambda a, b: stats.uniform(a - 9, exp(b) + 18),
)
LAPLACE = Family(
    torchs.Laplace,
    lambda a, b: torchs.Laplace(a, b.exp()),
    lambda a, b: stats.laplace(a, exp(b)),
)
NORMALS, POSITIVE = [DIAGONAL, NORMAL], [EXPONENTIAL, BY_RATE, WEIBULL]
PAIRS = [
    *itertools.product(NORMALS, [*NORMALS, STANDARD, LAPLACE]),
    *itertools.product(POSITIVE, [*POSITIVE, GAMMA]),
    *itertools.product([UNIFORM], [*NORMALS, STANDARD, WIDE]),
    (LAPLACE, LAPLACE),
    (LAPLACE, DIAGONAL),
]
every_pair = pytest.mark.parametrize(
    ("q", "p"), PAIRS, ids=lambda family: f"{family.cls.__module__[0]}.{family.cls.__name__}"
)
A, B = torch.tensor([-0.7, 0.3, 1.2]).double(), torch.tensor([0.4, -0.9, 0.7]).double()
C, D = torch.tensor([0.5, -0.6, 0.2]).double(), torch.tensor([0.8, 0.5, -1.1]).double()


def leaves(*tensors: torch.Tensor) -> Sequence[torch.Tensor]:
    return [t.clone().requires_grad_() for t in tensors]


def by_quantiles(q, p) -> float:
    """E_q[log q - log p] over the quantiles of q, so that no weight is singular."""
    low, high = q.support()

    def integrand(t):
        z = q.isf(math.exp(-t)) if t > 1 else q.ppf(-math.expm1(-t))
        z = z if math.isinf(high) else low + (z - low) * (1 - 1e-14)  # not rounded up to the end
        return math.exp(-t) * (q.logpdf(z) - p.logpdf(z))

    edges = [0, 1e-6, 1e-3, 0.1, math.log(2), 1, 10, 60]
    pieces = (integrate.quad(integrand, a, b, limit=500) for a, b in itertools.pairwise(edges))
    return sum(value for value, _ in pieces)


@every_pair
def test_the_divergence_of_elements_is_the_integral(q, p):
    ours = kl_divergence(q.make(A, B), p.make(C, D))
    truth = [
        by_quantiles(q.scipys(a, b), p.scipys(c, d))
        for a, b, c, d in zip(*(t.tolist() for t in (A, B, C, D)), strict=True)
    ]
    assert ours.shape == A.shape
    np.testing.assert_allclose(ours, truth, rtol=1e-6, atol=1e-9)


@every_pair
def test_the_divergence_of_elements_has_the_gradients_of_finite_differences(q, p):
    parameters = leaves(A, B, C, D)
    assert gradcheck(lambda a, b, c, d: kl_divergence(q.make(a, b), p.make(c, d)), parameters)


# Where two families meet, and so no divergence.
ZERO, HALF = torch.zeros(3).double(), torch.full((3,), 0.5).double()
SAME = [
    *((q, p, A, B) for q, p in itertools.product(NORMALS, NORMALS)),
    *((q, STANDARD, ZERO, ZERO) for q in NORMALS),
    *((q, p, A, ZERO) for q, p in itertools.product(POSITIVE, [*POSITIVE, GAMMA])),
    (WEIBULL, WEIBULL, A, B),
    (LAPLACE, LAPLACE, A, B),
    (UNIFORM, UNIFORM, A, B),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("q", "p", "a", "b"), SAME)
def test_a_distribution_does_not_diverge_from_itself(q, p, a, b, dtype):
    a, b = a.to(dtype), b.to(dtype)
    digits = {torch.float32: 2e-7, torch.float64: 1e-15}[dtype]
    assert (kl_divergence(q.make(a, b), p.make(a, b)).abs() <= 4 * digits).all()


# --- whole vectors

TRIL = torch.tensor([[0.9, 0.0, 0.0], [0.4, 0.7, 0.0], [-0.5, 0.2, 1.1]]).double()
FACTOR = torch.tensor([[0.4], [-0.3], [0.8]]).double()


def by_hermite(m, covariance, log_p) -> float:
    """E_q[log q - log p] for a normal q of three dimensions; exact for a quadratic log p."""
    x, w = np.polynomial.hermite_e.hermegauss(8)
    noise = np.stack(np.meshgrid(x, x, x, indexing="ij"), -1).reshape(-1, 3)
    weight = np.prod(np.stack(np.meshgrid(w, w, w, indexing="ij"), -1).reshape(-1, 3), 1)
    z = m + noise @ np.linalg.cholesky(covariance).T
    gap = stats.multivariate_normal(m, covariance).logpdf(z) - log_p(z)
    return float(weight @ gap / weight.sum())


def full(m, s, tril):
    return torchs.MultivariateNormal(m, scale_tril=tril.tril(-1) + torch.diag(s.exp()))


def low_rank(m, s, factor):
    return torchs.LowRankMultivariateNormal(m, factor[:, :1], s.exp())


def covariance_of(q):
    return q.covariance_matrix.detach().numpy()


def elements(p):
    return lambda z: stats.norm(p.mean.numpy(), p.stddev.numpy()).logpdf(z).sum(1)


def joint(p):
    return lambda z: stats.multivariate_normal(p.mean.numpy(), covariance_of(p)).logpdf(z)


FULL = {"full": (full, TRIL), "low rank": (low_rank, FACTOR)}
FACTORISED = {
    "diagonal": DiagonalGaussian,
    "torch": lambda n, t: torchs.Normal(n, (t / 2).exp()),
    "standard": lambda n, t: StandardGaussian((3,), like=n),
}


@pytest.mark.parametrize("q", FULL)
@pytest.mark.parametrize("p", [*FACTORISED, *FULL])
def test_the_divergence_of_a_full_covariance_is_the_integral(q, p):
    make, root = FULL[q]
    posterior = make(A, B, root)
    if p in FACTORISED:
        prior = FACTORISED[p](C, D)
        other, log_p = [C, D], elements(prior)
    else:
        prior = FULL[p][0](C, D, FULL[p][1])
        other, log_p = [C, D, FULL[p][1]], joint(prior)
    ours = kl_divergence(posterior, prior)
    truth = by_hermite(A.numpy(), covariance_of(posterior), log_p)
    assert ours.item() == pytest.approx(truth, rel=1e-6)
    again = FACTORISED[p] if p in FACTORISED else FULL[p][0]
    assert gradcheck(
        lambda *t: kl_divergence(make(*t[:3]), again(*t[3:])), leaves(A, B, root, *other)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_full_covariance_does_not_diverge_from_itself(dtype):
    a, b = A.to(dtype), B.to(dtype)
    q = torchs.MultivariateNormal(a, torch.diag(b.exp()))
    thin = torchs.LowRankMultivariateNormal(a, torch.zeros(3, 1, dtype=dtype), b.exp())
    for posterior in (q, thin):
        for prior in (DiagonalGaussian(a, b), q, thin):
            assert kl_divergence(posterior, prior).abs() < (
                1e-6 if dtype == torch.float32 else 1e-14
            )


def test_independent_diverges_by_the_sum_of_its_elements():
    def both(a, b, c, d):
        q, p = DiagonalGaussian(a, b), DiagonalGaussian(c, d)
        return kl_divergence(Independent(q, 1), Independent(p, 1))

    truth = [
        by_quantiles(DIAGONAL.scipys(a, b), DIAGONAL.scipys(c, d))
        for a, b, c, d in zip(*(t.tolist() for t in (A, B, C, D)), strict=True)
    ]
    assert both(A, B, C, D).item() == pytest.approx(sum(truth), rel=1e-6)
    assert both(A, B, A, B) == 0
    assert gradcheck(both, leaves(A, B, C, D))


# --- directions

LOCS = normalize(torch.tensor([[1.0, 2.0, -0.5], [-0.3, 1.0, 0.9]]).double(), dim=-1)
SPHERE = [
    (0.2, 3.0, (VonMisesFisher, VonMisesFisher)),
    (20.0, 6.0, (VonMisesFisher, VonMisesFisher)),
    (6.0, 20.0, (VonMisesFisher, VonMisesFisher)),
    (7.0, None, (VonMisesFisher, HypersphericalUniform)),
    (None, 7.0, (HypersphericalUniform, VonMisesFisher)),
    (None, None, (HypersphericalUniform, HypersphericalUniform)),
]


def on_the_sphere(which, kappa):
    """Ours and scipy's log-density; uniform without a concentration."""
    if kappa is None:
        return HypersphericalUniform(3, like=LOCS), lambda z: np.full(
            len(z), -math.log(4 * math.pi)
        )
    truth = stats.vonmises_fisher(LOCS[which].numpy(), kappa)
    return VonMisesFisher(LOCS[which], kappa), truth.logpdf


@pytest.mark.parametrize(("q", "p", "pair"), SPHERE)
def test_the_divergence_of_directions_is_the_integral_over_the_sphere(q, p, pair):
    height, weight = np.polynomial.legendre.leggauss(200)
    turn = np.arange(256) * 2 * math.pi / 256
    across = np.sqrt(1 - height**2)[:, None]
    z = np.stack(
        np.broadcast_arrays(across * np.cos(turn), across * np.sin(turn), height[:, None]), -1
    ).reshape(-1, 3)
    area = np.repeat(weight * 2 * math.pi / 256, 256)
    (ours_q, log_q), (ours_p, log_p) = on_the_sphere(0, q), on_the_sphere(1, p)
    assert area @ exp(log_q(z)) == pytest.approx(1, abs=1e-12)
    truth = area @ (exp(log_q(z)) * (log_q(z) - log_p(z)))
    assert (type(ours_q), type(ours_p)) == pair
    assert kl_divergence(ours_q, ours_p).item() == pytest.approx(truth, rel=1e-6, abs=1e-12)
    assert kl_divergence(ours_q, ours_q) == 0


# --- categories


def test_the_divergence_of_categories_is_the_sum():
    logits, other = torch.stack((A, B)), torch.stack((C, D))
    p, q = (torch.softmax(x, -1).numpy() for x in (other, logits))
    uniform = torchs.OneHotCategorical(logits=torch.zeros(3).double())
    for prior, probability in (
        (uniform, np.full(3, 1 / 3)),
        (torchs.OneHotCategorical(logits=other), p),
        (RelaxedCategorical(other), p),
    ):
        ours = kl_divergence(RelaxedCategorical(logits), prior)
        np.testing.assert_allclose(ours, (q * np.log(q / probability)).sum(1), rtol=1e-12)
    assert gradcheck(lambda x: kl_divergence(RelaxedCategorical(x), uniform), leaves(logits))
    zero = torch.zeros(2, 3).double()
    assert kl_divergence(RelaxedCategorical(zero), uniform).abs().max() < 1e-15


# --- none is left out


def test_every_registered_divergence_is_in_the_table():
    registered = {
        pair
        for pair, function in _KL_REGISTRY.items()
        if function.__module__.startswith("lightning_vae.")
    }
    swept = {(q.cls, p.cls) for q, p in PAIRS} | {pair for *_, pair in SPHERE}
    swept |= {
        (q, torchs.Normal) for q in (torchs.MultivariateNormal, torchs.LowRankMultivariateNormal)
    }
    swept |= {(torchs.Normal, AutoregressiveNormal)}  # tests/priors/test_autoregressive.py
    assert registered <= swept, registered - swept
