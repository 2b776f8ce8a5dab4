"""Likelihood heads and the distortion: every constant, every shape, no value out of place."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.distributions import (
    Categorical,
    Exponential,
    Independent,
    LogNormal,
    MultivariateNormal,
    Normal,
)

from lightning_vae.likelihoods import Bernoulli, Gaussian, Laplace, Likelihood, distortion
from tests.references import probability as oracles
from tests.references import recorded

SHAPES = [(5,), (3, 4), (1, 28, 28), (3, 6, 5)]

# Every head, and the elementwise density in scipy for features f.
HEADS = {
    "Bernoulli": [(Bernoulli(), lambda x, f: -oracles.cross_entropy(f, x))],
    "Gaussian": [
        (Gaussian(), lambda x, f: stats.norm.logpdf(x, f, 1)),
        (Gaussian(scale=0.1), lambda x, f: stats.norm.logpdf(x, f, 0.1)),
        (Gaussian(scale=3), lambda x, f: stats.norm.logpdf(x, f, 3)),
    ],
    "Laplace": [
        (Laplace(), lambda x, f: stats.laplace.logpdf(x, f, 1)),
        (Laplace(scale=0.1), lambda x, f: stats.laplace.logpdf(x, f, 0.1)),
    ],
}
every_head = pytest.mark.parametrize(
    ("head", "log_density"),
    [pytest.param(*row, id=repr(row[0])) for rows in HEADS.values() for row in rows],
)


def double(values):
    return torch.tensor(values, dtype=torch.float64)


@every_head
@pytest.mark.parametrize("shape", SHAPES)
def test_the_distortion_is_scipys_with_every_constant(head, log_density, shape):
    x, features = torch.rand(4, *shape).double(), torch.randn(4, *shape).double()
    ours = distortion(x, head(features))
    assert ours.shape == (4,)
    truth = oracles.per_example(-log_density(x.numpy(), features.numpy()))
    np.testing.assert_allclose(ours, truth, rtol=1e-11)


def test_bernoulli_is_the_exact_likelihood_of_bits():
    x, logits = torch.bernoulli(torch.full((4, 9), 0.5)).double(), torch.randn(4, 9).double()
    truth = oracles.per_example(-stats.bernoulli.logpmf(x, special.expit(logits.numpy())))
    np.testing.assert_allclose(distortion(x, Bernoulli()(logits)), truth, rtol=1e-11)


@pytest.mark.parametrize(
    "wrap", [lambda p: p, lambda p: Independent(p, 1), lambda p: Independent(p, 3)]
)
def test_independent_changes_nothing(wrap):
    x, loc = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    plain = distortion(x, Normal(loc, 1.0))
    torch.testing.assert_close(distortion(x, wrap(Normal(loc, 1.0))), plain)


def test_a_likelihood_over_whole_vectors():
    x = torch.randn(4, 3, 2)
    ours = distortion(x, MultivariateNormal(torch.zeros(4, 3, 2), torch.eye(2)))
    torch.testing.assert_close(ours, distortion(x, Normal(torch.zeros(4, 3, 2), 1.0)))


def test_a_likelihood_with_log_prob_alone():
    class Cauchy:
        def log_prob(self, x):
            return -torch.log1p(x.square()) - math.log(math.pi)

    x = torch.randn(4, 3, 2).double()
    truth = oracles.per_example(-stats.cauchy.logpdf(x))
    np.testing.assert_allclose(distortion(x, Cauchy()), truth, rtol=1e-12)


# --- squared error is the Gaussian at scale √½, less its constant


def test_recorded_squared_error():
    case = recorded("vae_project_losses")["squared-error"]
    x, prediction = (double(case["inputs"][key]) for key in ("y_true", "y_pred"))
    ours = distortion(x, Gaussian(scale=0.5**0.5)(prediction))
    constant = 0.5 * case["params"]["size"] * math.log(math.pi)
    assert ours.shape == (6,)
    np.testing.assert_allclose(ours - constant, np.ravel(case["outputs"]["se"]), rtol=1e-6)


# --- arguments


@pytest.mark.parametrize("head", [Gaussian, Laplace])
@pytest.mark.parametrize("scale", [0, -1.0, math.inf, math.nan])
def test_a_bad_scale_is_refused(head, scale):
    with pytest.raises(ValueError, match=r"scale must be a positive finite number.*scale=1\.0"):
        head(scale=scale)


def test_heads_print_their_scale_and_have_no_state():
    assert repr(Gaussian(0.5)) == "Gaussian(scale=0.5)"
    assert repr(Laplace(2)) == "Laplace(scale=2.0)"
    assert all(not head.state_dict() for rows in HEADS.values() for head, _ in rows)
    assert all(isinstance(head, Likelihood) for rows in HEADS.values() for head, _ in rows)


# --- what the distortion refuses


@pytest.mark.parametrize(
    ("x", "loc"),
    [
        ((4, 3), (1, 3)),
        ((4, 3), (3,)),
        ((4, 3), (4, 1)),
        ((4, 3), (4,)),
        ((4, 3), ()),
        ((4, 3), (2, 4, 3)),
        ((4, 1, 8, 8), (4, 8, 8)),
        ((4, 1, 8, 8), (4, 1, 8, 1)),
        ((4, 1, 8, 8), (4, 64)),
    ],
)
def test_shapes_that_differ_are_refused_and_never_broadcast(x, loc):
    with pytest.raises(ValueError, match=r"likelihood of shape .* for x of shape"):
        distortion(torch.zeros(x), Normal(torch.zeros(loc), 1.0))


OUTSIDE = [
    (Bernoulli()(torch.zeros(2, 3)), 1.001, r"support of Bernoulli, Interval.*from 0 to 1\.001"),
    (Bernoulli()(torch.zeros(2, 3)), -0.5, r"support of Bernoulli.*0\.0.*1\.0.*from -0\.5 to 0"),
    (Exponential(torch.ones(2, 3)), -2.0, "support of Exponential.*from -2 to 0"),
    (LogNormal(torch.ones(2, 3), 1.0), -2.0, "support of LogNormal.*from -2 to 0"),
    (Categorical(torch.ones(2, 3, 5)), 5.0, "support of Categorical.*from 0 to 5"),
    (torch.distributions.Bernoulli(logits=torch.zeros(2, 3)), 0.5, "support of Bernoulli, Boolean"),
]


@pytest.mark.parametrize(("likelihood", "value", "message"), OUTSIDE)
@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: Independent(p, 1)])
def test_one_value_outside_the_support_is_refused(likelihood, value, message, wrap):
    x = torch.zeros(2, 3)
    x[1, 2] = value
    with pytest.raises(ValueError, match=f"{message}.*Scale the data into the support"):
        distortion(x, wrap(likelihood))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.tensor([[0.0, math.nan]]), "x has entries that are NaN"),
        (torch.zeros(0, 2), "x is empty"),
        (torch.zeros(1, 2, dtype=torch.uint8), r"torch.uint8, .* write x.float\(\) / 255"),
        (torch.zeros(1, 2, dtype=torch.bool), r"torch.bool, .* write x.float\(\)"),
    ],
    ids=["nan", "empty", "uint8", "bool"],
)
@pytest.mark.parametrize("head", [Gaussian(), Laplace(), Bernoulli()])
def test_data_no_likelihood_takes_is_named(head, x, message):
    with pytest.raises(ValueError, match=message):
        distortion(x, head(torch.zeros(x.shape)))


def test_the_support_is_not_looked_at_unless_asked():
    x = torch.full((2, 3), 2.0)
    assert distortion(x, Bernoulli()(torch.zeros(2, 3)), check_support=False).isfinite().all()


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_the_edges_of_the_support_are_inside(edge):
    logits = torch.zeros(2, 3)
    assert distortion(torch.full((2, 3), edge), Bernoulli()(logits)).isfinite().all()
