"""Priors: distributions over one example's latents that follow their module."""

import copy
import inspect
import pickle

import pytest
import torch
from scipy import stats
from torch import nn

from lightning_vae import priors
from lightning_vae.priors import Prior, Product, StandardNormal

# Every prior, with the shapes of its groups.
EXAMPLES = {
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
every = pytest.mark.parametrize(
    ("prior", "shapes"),
    [pytest.param(*row, id=repr(row[1])) for rows in EXAMPLES.values() for row in rows],
)


def groups(prior):
    p = prior()
    return p if isinstance(p, tuple) else (p,)


def test_every_prior_has_a_row():
    classes = {name for name in priors.__all__ if inspect.isclass(getattr(priors, name))}
    assert {*EXAMPLES, "Prior"} == classes


@every
def test_the_event_is_one_examples_latents(prior, shapes):
    assert isinstance(prior, Prior)
    assert [(p.batch_shape, p.event_shape) for p in groups(prior)] == [((), s) for s in shapes]
    assert [p.sample((6,)).shape for p in groups(prior)] == [(6, *shape) for shape in shapes]


@every
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
    moved = nn.Sequential(copy.deepcopy(prior)).to(dtype)[0]
    assert {p.sample().dtype for p in groups(moved)} == {dtype}
    assert {p.sample().dtype for p in groups(moved.float())} == {torch.float32}


@every
def test_draws_follow_the_modules_device(prior, shapes):
    moved = copy.deepcopy(prior).to("meta")
    assert {p.sample().device.type for p in groups(moved)} == {"meta"}
    moved.to_empty(device="cpu")
    assert all(p.mean.eq(0).all() and p.variance.eq(1).all() for p in groups(moved))


@every
@pytest.mark.parametrize("remake", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_keep_shape_and_type(prior, shapes, remake):
    twin = remake(copy.deepcopy(prior).double())
    assert repr(twin) == repr(prior)
    assert {p.sample().dtype for p in groups(twin)} == {torch.float64}
    assert [p.event_shape for p in groups(twin)] == shapes
    assert {p.sample().dtype for p in groups(twin.float())} == {torch.float32}


@every
def test_a_prior_without_parameters_has_no_state(prior, shapes):
    assert not prior.state_dict()
    assert not list(prior.buffers())


@pytest.mark.parametrize("shape", [0, -1, (4, 0), (2.0,), ("4",)])
def test_a_shape_that_is_not_whole_and_positive_is_refused(shape):
    with pytest.raises(ValueError, match=r"shape must be positive whole numbers, got .* write 20"):
        StandardNormal(shape)


def test_priors_print_as_written():
    assert repr(StandardNormal((4, 8))) == "StandardNormal(4, 8)"
