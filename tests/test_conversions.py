"""Bits per dimension and normalised β against the definitions."""

import math

import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import Normal

from lightning_vae.conversions import beta_from_normalised, bits_per_dimension, normalised_beta
from lightning_vae.likelihoods import distortion


def test_a_uniform_code_over_256_levels_costs_eight_bits():
    assert bits_per_dimension(3072 * math.log(256), 3072) == pytest.approx(8, abs=1e-12)


def test_the_offset_is_the_difference_between_a_density_and_a_density_of_levels():
    x = torch.linspace(0, 1, 12, dtype=torch.float64).view(2, 6)
    scaled = distortion(x, Normal(torch.full_like(x, 0.4), 0.1))
    in_levels = -stats.norm.logpdf(256 * x.numpy(), 256 * 0.4, 256 * 0.1).sum(1)
    truth = torch.from_numpy(in_levels / math.log(2) / 6)
    torch.testing.assert_close(bits_per_dimension(scaled, 6, levels=256), truth)


def test_normalised_beta_is_that_of_a_loss_of_means():
    latent, dimensions, beta = 10, 4096, 0.25
    x, y = torch.rand(3, dimensions), torch.rand(3, dimensions)
    rate = torch.rand(3, latent)
    of_means = nn.functional.mse_loss(x, y) + beta * rate.mean()
    own = beta_from_normalised(beta, latent, dimensions)
    of_sums = (x - y).square().sum(1).mean() + own * rate.sum(1).mean()
    torch.testing.assert_close(of_sums / dimensions, of_means)


def test_the_conversions_of_beta_undo_each_other():
    assert normalised_beta(4.0, 10, 4096) == 4 * 10 / 4096
    assert beta_from_normalised(normalised_beta(4.0, 10, 4096), 10, 4096) == pytest.approx(4.0)


@pytest.mark.parametrize("count", [0, -1, math.nan])
def test_counts_below_one_are_refused_by_name(count):
    for name in ("dimensions", "levels"):
        with pytest.raises(
            ValueError, match=f"{name} must be a whole number of at least 1, got {count}"
        ):
            bits_per_dimension(1.0, **{"dimensions": 3, name: count})
    for conversion in (normalised_beta, beta_from_normalised):
        for name in ("latent", "dimensions"):
            with pytest.raises(
                ValueError, match=f"{name} must be a whole number of at least 1, got {count}"
            ):
                conversion(1.0, **{"latent": 3, "dimensions": 3, name: count})
