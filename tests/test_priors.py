"""Priors: distributions over one example's latents that follow their module."""

import copy
import inspect
import pickle

import pytest
import torch
from scipy import stats
from torch import nn

from lightning_vae import distributions, priors
from lightning_vae.networks import MLPEncoder
from lightning_vae.priors import (
    AutoregressiveNormal,
    DiagonalNormal,
    GaussianMixture,
    HypersphericalUniform,
    Prior,
    Product,
    RealNVP,
    StandardNormal,
    UniformCategorical,
    VampPrior,
    Weibull,
)

# Priors without parameters, of which the first are normal, then those that learn, with the shapes
# of their groups.
STANDARD = {
    "StandardNormal": [
        (StandardNormal(20), [(20,)]),
        (StandardNormal((4, 8, 8)), [(4, 8, 8)]),
        (StandardNormal([7]), [(7,)]),
    ],
    "Product": [
        (Product(StandardNormal(2), StandardNormal((4, 8))), [(2,), (4, 8)]),
        (Product(StandardNormal(5)), [(5,)]),
    ],
}
FIXED = {
    "AutoregressiveNormal": [
        (AutoregressiveNormal(4), [(4,)]),
        (AutoregressiveNormal((3, 2), (0.9, -0.4)), [(3, 2)]),
    ],
    "HypersphericalUniform": [
        (HypersphericalUniform(2), [(2,)]),
        (HypersphericalUniform(20), [(20,)]),
    ],
    "UniformCategorical": [
        (UniformCategorical(1, 4), [(1, 4)]),
        (UniformCategorical(3, classes=2), [(3, 2)]),
    ],
    "Weibull": [(Weibull(3), [(3,)]), (Weibull((2, 3), 0.5, 2.0), [(2, 3)])],
    "Product": [(Product(HypersphericalUniform(3), Weibull(2)), [(3,), (2,)])],
}
LEARNED = {
    "DiagonalNormal": [(DiagonalNormal(3), [(3,)]), (DiagonalNormal((2, 3)), [(2, 3)])],
    "GaussianMixture": [
        (GaussianMixture(1, components=2), [(1,)]),
        (GaussianMixture((2, 3), components=5), [(2, 3)]),
    ],
    "VampPrior": [
        (VampPrior(torch.rand(5, 4), MLPEncoder((4,), latent=3)), [(3,)]),
        (VampPrior((1, 2, 4), MLPEncoder((2, 4), latent=1)), [(1,)]),
    ],
    "RealNVP": [(RealNVP(3), [(3,)]), (RealNVP((2, 4), layers=1, hidden=()), [(2, 4)])],
    "Product": [(Product(RealNVP(2), DiagonalNormal((4, 8))), [(2,), (4, 8)])],
}


def rows(*examples):
    params = [
        pytest.param(*row, id=f"{name}-{row[1]}")
        for table in examples
        for name, rows in table.items()
        for row in rows
    ]
    return pytest.mark.parametrize(("prior", "shapes"), params)


every, standard, fixed = rows(STANDARD, FIXED, LEARNED), rows(STANDARD), rows(STANDARD, FIXED)


def owned(prior):
    """A copy of the prior in a module that has all of its parts, as a VAE has."""
    encoder = getattr(prior, "encoder", None)
    return copy.deepcopy(nn.ModuleList([prior] if encoder is None else [prior, encoder]))


def groups(prior):
    p = prior()
    return p if isinstance(p, tuple) else (p,)


def test_every_prior_has_a_row():
    classes = {name for name in priors.__all__ if inspect.isclass(getattr(priors, name))}
    # A Conditional needs context: it is tested by itself.
    assert {*STANDARD, *FIXED, *LEARNED, "Prior", "Conditional"} == classes


@every
def test_the_event_is_one_examples_latents(prior, shapes):
    assert isinstance(prior, Prior)
    assert [(p.batch_shape, p.event_shape) for p in groups(prior)] == [((), s) for s in shapes]
    assert [p.sample((6,)).shape for p in groups(prior)] == [(6, *shape) for shape in shapes]


@standard
def test_the_density_is_the_standard_normals(prior, shapes):
    for p, shape in zip(groups(prior), shapes, strict=True):
        z = torch.randn(3, *shape, dtype=torch.float64)
        truth = stats.norm.logpdf(z).reshape(3, -1).sum(1)
        assert p.log_prob(z).tolist() == pytest.approx(truth.tolist(), rel=1e-6)


def test_draws_pass_kolmogorov_smirnov():
    draws = StandardNormal(4)().sample((4000,))
    assert all(stats.kstest(column, "norm").pvalue > 1e-3 for column in draws.T)


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_draws_follow_the_modules_type(prior, shapes, dtype):
    owner = owned(prior).to(dtype)
    assert {p.sample().dtype for p in groups(owner[0])} == {dtype}
    assert {p.sample().dtype for p in groups(owner.float()[0])} == {torch.float32}


@every
def test_draws_follow_the_modules_device(prior, shapes):
    owner = owned(prior).to("meta")
    assert {p.sample().device.type for p in groups(owner[0])} == {"meta"}
    assert {p.log_prob(p.sample()).device.type for p in groups(owner[0])} == {"meta"}


@fixed
def test_a_prior_without_parameters_survives_the_meta_device(prior, shapes):
    moved = copy.deepcopy(prior).to("meta").to_empty(device="cpu")
    for p, truth in zip(groups(moved), groups(prior), strict=True):
        z = truth.sample((5,))
        assert torch.equal(p.log_prob(z), truth.log_prob(z))
        assert torch.equal(p.mean, truth.mean)


@every
@pytest.mark.parametrize("remake", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_keep_shape_and_type(prior, shapes, remake):
    owner = owned(prior).double()
    twins = remake(owner)
    assert repr(twins) == repr(owner)
    assert [p.event_shape for p in groups(twins[0])] == shapes
    for p, twin in zip(groups(owner[0]), groups(twins[0]), strict=True):
        z = twin.sample((2,))
        assert z.dtype == torch.float64
        assert torch.equal(p.log_prob(z), twin.log_prob(z))
    assert {p.sample().dtype for p in groups(twins.float()[0])} == {torch.float32}


@every
@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_the_density_of_a_point_is_the_same_in_every_batch(prior, shapes, batch):
    for p in groups(owned(prior).double()[0]):
        z = p.sample(batch)
        one = p.log_prob(p.sample().expand(*batch, *p.event_shape))
        assert p.log_prob(z).shape == one.shape == batch
        assert torch.equal(one, one.flatten()[0].expand(batch))


@fixed
def test_a_prior_without_parameters_has_no_state(prior, shapes):
    assert not prior.state_dict()
    assert not list(prior.buffers())


@pytest.mark.parametrize("cls", [StandardNormal, DiagonalNormal, GaussianMixture, RealNVP, Weibull])
@pytest.mark.parametrize("shape", [0, -1, (4, 0), (2.0,), ("4",), True])
def test_a_shape_that_is_not_whole_and_positive_is_refused(cls, shape):
    with pytest.raises(ValueError, match=r"shape must be positive whole numbers, got .* write 20"):
        cls(shape)


@every
def test_gradients_reach_every_parameter(prior, shapes):
    owner = owned(prior)
    for parameter in owner.parameters():  # not from the start, where a flow is the identity
        nn.init.normal_(parameter, std=0.5)
    log_density = sum(p.log_prob(p.sample((64,))).sum() for p in groups(owner[0]))
    if parameters := list(owner.parameters()):
        gradients = torch.autograd.grad(log_density, parameters)
        assert all(g.isfinite().all() and g.any() for g in gradients)


@every
def test_a_density_in_bfloat16_is_the_exact_one_to_its_digits(prior, shapes):
    owner = owned(prior).bfloat16()
    exact = copy.deepcopy(owner).double()
    for p, truth in zip(groups(owner[0]), groups(exact[0]), strict=True):
        z = p.sample((5,))
        # A unit vector of three digits is none of sixteen.
        on_sphere = isinstance(truth, distributions.HypersphericalUniform)
        point = nn.functional.normalize(z.double(), dim=-1) if on_sphere else z.double()
        log_density = truth.log_prob(point)
        torch.testing.assert_close(p.log_prob(z).double(), log_density, rtol=0.02, atol=0.1)


def test_priors_print_as_written():
    assert repr(StandardNormal((4, 8))) == "StandardNormal(4, 8)"
    assert repr(DiagonalNormal((4, 8))) == "DiagonalNormal(4, 8)"
    assert repr(GaussianMixture(20, 5)) == "GaussianMixture(20, components=5)"
    assert repr(GaussianMixture((4, 8), 5)) == "GaussianMixture((4, 8), components=5)"
    assert repr(HypersphericalUniform(20)) == "HypersphericalUniform(20)"
    assert repr(UniformCategorical(20, 10)) == "UniformCategorical(20, classes=10)"
    assert repr(Weibull((4, 8))) == "Weibull((4, 8), scale=1.0, concentration=1.0)"
    assert repr(VampPrior((5, 4), MLPEncoder((4,), 2))) == "VampPrior((5, 4))"
