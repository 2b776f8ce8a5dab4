"""Outside its support every distribution has no density: minus infinity, and never NaN."""

import math

import pytest
import torch
from torch.distributions import AffineTransform, Categorical, Distribution
from torch.nn.functional import normalize

from lightning_vae import distributions as ours

NAN, INF = math.nan, math.inf
A, B = torch.tensor([0.3, -0.7, 1.2]), torch.tensor([0.4, 0.1, -0.2])


def leaf(values):
    return values.clone().requires_grad_()


def mixture_of_logistics(logits, loc):
    shape = (3, 1, 1, 1)
    return ours.DiscretisedLogisticMixture(
        logits.view(3, 1, 1), loc.view(shape), torch.zeros(shape) - 1, validate_args=False
    )


# Each from two parameters of three elements; one value inside its support, and those outside.
ROWS = {
    "Bernoulli": (lambda a, b: ours.Bernoulli(a), 0.5, [-0.1, 1.1, INF, -INF, NAN]),
    "ContinuousBernoulli": (
        lambda a, b: ours.ContinuousBernoulli(a),
        0.5,
        [-0.1, 1.1, INF, -INF, NAN],
    ),
    "DiagonalGaussian": (ours.DiagonalGaussian, 0.5, [INF, -INF, NAN]),
    "DiscretisedLogisticMixture": (mixture_of_logistics, 0.2, [0.5, -1.0, 2.0, INF, -INF, NAN]),
    "Exponential": (lambda a, b: ours.Exponential(a), 0.5, [-1e-9, -INF, INF, NAN]),
    "Mixture": (
        lambda a, b: ours.Mixture(
            Categorical(logits=torch.zeros(2)),
            ours.DiagonalGaussian(torch.stack((a, b), -1), 0.0),
            validate_args=False,
        ),
        0.5,
        [INF, -INF, NAN],
    ),
    "NegativeBinomial": (ours.NegativeBinomial, 3.0, [-1.0, -2.0, 0.5, INF, -INF, NAN]),
    "Poisson": (lambda a, b: ours.Poisson(a), 3.0, [-1.0, -2.0, 0.5, INF, -INF, NAN]),
    "ProfileNormal": (
        lambda a, b: ours.ProfileNormal(a, b.exp(), 0.01),
        0.5,
        [INF, -INF, NAN],
    ),
    "Pushforward": (
        lambda a, b: ours.Pushforward(ours.DiagonalGaussian(a, b), [AffineTransform(0.5, 2.0)]),
        0.5,
        [INF, -INF, NAN],
    ),
    "StableGaussian": (ours.StableGaussian, 0.5, [INF, -INF, NAN]),
    "StandardGaussian": (lambda a, b: ours.StandardGaussian((3,)), 0.5, [INF, -INF, NAN]),
    "Tokens": (
        lambda a, b: ours.Tokens(torch.stack((a, b, a + b), -1)),
        2.0,
        [-1.0, 3.0, 1e9, 0.5, INF, -INF, NAN],
    ),
    "Uniform": (
        lambda a, b: ours.Uniform(a - 2, a + 2 + b.exp()),
        0.5,
        [-9.0, 9.0, INF, -INF, NAN],
    ),
    "Weibull": (ours.Weibull, 0.5, [-1e-9, -INF, INF, NAN]),
    "Weighted": (
        lambda a, b: ours.Weighted(ours.Exponential(a), b.detach().exp()),
        0.5,
        [-1e-9, -INF, INF, NAN],
    ),
    "ZeroInflated": (
        lambda a, b: ours.ZeroInflated(ours.Poisson(a), b),
        3.0,
        [-1.0, 0.5, INF, -INF, NAN],
    ),
}
VECTORS = {
    "HypersphericalUniform": lambda a: ours.HypersphericalUniform(3),
    "RelaxedCategorical": ours.RelaxedCategorical,
    "VonMisesFisher": lambda a: ours.VonMisesFisher(normalize(a, dim=-1), a.exp().sum()),
}
# An element outside takes the density of the whole event.
EVENTS = {"AutoregressiveNormal": lambda a: ours.AutoregressiveNormal(a.tanh(), 4)}


def test_every_distribution_has_a_row():
    public = (getattr(ours, name) for name in ours.__all__)
    kinds = {d.__name__ for d in public if isinstance(d, type) and issubclass(d, Distribution)}
    assert set(ROWS) | set(VECTORS) | set(EVENTS) == kinds


def checked(d, z, parameters):
    log_prob = d.log_prob(z)
    assert (log_prob == -INF).all(), log_prob
    # Of a scale that knows x, every element hangs on the one that is not finite.
    if log_prob.requires_grad and not isinstance(d, ours.ProfileNormal):
        gradients = torch.autograd.grad(log_prob.sum(), parameters, allow_unused=True)
        assert not any(g.isnan().any() for g in gradients if g is not None)


@pytest.mark.parametrize("name", ROWS)
def test_log_prob_is_minus_infinity_outside_and_has_no_nan_gradient(name):
    make, inside, outside = ROWS[name]
    d = make(A, B)
    shape = d.batch_shape + d.event_shape
    assert d.log_prob(torch.full(shape, inside)).isfinite().all()
    for value in outside:
        parameters = leaf(A), leaf(B)
        checked(make(*parameters), torch.full(shape, value), parameters)


@pytest.mark.parametrize("name", [n for n in ROWS if n != "ProfileNormal"])
def test_one_element_outside_leaves_the_others_alone(name):
    make, inside, outside = ROWS[name]
    z = torch.full(make(A, B).batch_shape, inside)
    truth = make(A, B).log_prob(z)
    for value in outside:
        z[1] = value
        parameters = leaf(A), leaf(B)
        log_prob = make(*parameters).log_prob(z)
        assert log_prob[1] == -INF
        torch.testing.assert_close(log_prob[::2].detach(), truth[::2])
        if log_prob.requires_grad:
            slopes = torch.autograd.grad(log_prob[::2].sum(), parameters, allow_unused=True)
            assert all(g.isfinite().all() for g in slopes if g is not None)


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("value", [-1.0, 1.0, INF, -INF, NAN])
def test_vectors_off_their_manifold_have_no_density(name, value):
    a = leaf(A)
    z = torch.tensor([1.0, 0.0, 0.0])
    assert VECTORS[name](A).log_prob(z).isfinite()
    checked(VECTORS[name](a), torch.full((3,), value), a)


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("value", [INF, -INF, NAN])
def test_an_event_with_one_element_outside_has_no_density(name, value):
    a, b = leaf(A), leaf(B)
    z = torch.zeros(2, *EVENTS[name](a).event_shape)
    z[0, 1] = value
    assert EVENTS[name](a).log_prob(z)[1].isfinite()
    checked(EVENTS[name](a), z[:1], (a, b))


# torch's own rules are those of the first three; the fourth's are its base's.
OWN_RULES = [n for n in ROWS if n not in ("Mixture", "StandardGaussian", "Weighted")]


@pytest.mark.parametrize("name", OWN_RULES)
def test_asked_to_validate_it_refuses_what_is_outside(name):
    make, _, outside = ROWS[name]
    d = make(A, B)
    d.__dict__["_validate_args"] = True
    for value in outside:
        z = torch.full(d.batch_shape, value)
        if not d.support.check(z).any():  # infinity is a real number to torch
            with pytest.raises(ValueError, match="within the support"):
                d.expand(torch.Size([2, *d.batch_shape])).log_prob(z)
