"""The stable log-variance: recorded numbers, continuity, and what it refuses."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck
from torch.distributions import kl_divergence

from lightning_vae.distributions import (
    DiagonalGaussian,
    StableGaussian,
    StandardGaussian,
    stable_log_variance,
)
from tests.references import recorded

CASE = recorded("careamics")["stable-logvar"]
RAW = torch.tensor(CASE["inputs"]["raw_logvar"], dtype=torch.float64)


def test_recorded_stable_log_variance():
    d = StableGaussian(torch.zeros_like(RAW), RAW)
    ours = {"logvar": d.log_variance, "var": d.variance, "std": d.stddev}
    for name, value in ours.items():
        # At one the recorded logarithm is that of a rounded sum.
        np.testing.assert_allclose(value, CASE["outputs"][name], rtol=1e-9, atol=1e-15)


def test_value_and_slope_are_continuous_where_the_branches_meet():
    raw = torch.tensor([-1e-9, 0.0, 1e-9], dtype=torch.float64, requires_grad=True)
    value = stable_log_variance(raw)
    slope = torch.autograd.grad(value.sum(), raw)[0]
    np.testing.assert_allclose(value.detach(), np.full(3, 1e-6), atol=2e-9)
    np.testing.assert_allclose(slope, np.full(3, 1.0), atol=1e-5)


def test_gradients():
    raw = torch.tensor([-20.0, -3.0, -0.1, 0.2, 50.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(stable_log_variance, raw)


def test_no_variance_of_float32_overflows_or_vanishes():
    raw = torch.tensor([-3e38, -1e4, 1e4, 1e38], requires_grad=True)
    d = StableGaussian(torch.zeros(4), raw)
    assert d.variance.isfinite().all()
    assert (d.variance > 9e-7).all()
    slope = torch.autograd.grad(d.log_prob(torch.zeros(4)).sum(), raw)[0]
    assert slope.isfinite().all()


def test_divergences_are_those_of_its_log_variance():
    loc = torch.linspace(-1, 1, len(RAW), dtype=torch.float64)
    ours, plain = StableGaussian(loc, RAW), DiagonalGaussian(loc, stable_log_variance(RAW))
    standard = StandardGaussian(loc.shape, like=loc)
    assert torch.equal(kl_divergence(ours, standard), kl_divergence(plain, standard))


def test_the_floor_is_kept_when_expanded():
    d = StableGaussian(torch.zeros(2), torch.full((2,), -50.0), floor=0.25).expand((3, 2))
    np.testing.assert_allclose(d.variance, np.full((3, 2), 0.25), rtol=1e-6)


@pytest.mark.parametrize("floor", [0.0, -1.0, float("inf"), float("nan")])
def test_a_floor_that_is_none_is_refused(floor):
    with pytest.raises(ValueError, match="floor must be a positive finite number, got"):
        stable_log_variance(RAW, floor)
