import sys

import numpy as np
import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from lightning_vae import DiagonalGaussian
from lightning_vae.metrics import PosteriorMIG, mig, posterior_mig
from lightning_vae.metrics import posterior_mig as function
from lightning_vae.metrics.posterior_mig import posterior_information
from tests.metrics.codes import grid, perfect
from tests.references import disentanglement as reference


def posteriors(n=240):
    """Means that tell of the factors more or less, spreads from sharp to broader than all means."""
    random = np.random.default_rng(0)
    factors = random.integers(np.array([3, 4]), size=(n, 2))
    loc = np.stack([factors[:, 0], factors[:, 1] + factors[:, 0], random.normal(size=n)], 1)
    scale = np.stack([np.full(n, 0.4), random.uniform(0.1, 1, n), np.full(n, 5.0)], 1)
    return loc + 0.1 * random.normal(size=(n, 3)), scale, factors


def test_information_is_that_of_quadrature():
    loc, scale, factors = posteriors()
    # Each example many times over: the noise of the draws goes, the mixture stays.
    many = (np.tile(a, (20, 1)) for a in (loc, scale, factors))
    loc_20, scale_20, factors_20 = map(torch.from_numpy, many)
    found = posterior_information(Normal(loc_20, scale_20), factors_20, samples=4_800)
    expected = [
        [reference.posterior_information(loc[:, d], scale[:, d], c) for c in factors.T]
        for d in range(3)
    ]
    np.testing.assert_allclose(found, expected, atol=0.03)
    assert np.max(expected) > 0.4


def test_both_conventions_agree_on_sharp_posteriors_only():
    factors = grid()
    codes = perfect(factors)
    sharp, broad = Normal(codes, 1e-3), Normal(codes, 10.0)
    assert posterior_mig(sharp, factors) == pytest.approx(1, abs=1e-5)
    assert posterior_mig(broad, factors) < 0.02  # whose means tell all
    assert mig(broad.mean, factors) == pytest.approx(1)


def test_very_narrow_posteriors_keep_their_digits():
    factors = torch.arange(4).repeat(50).unsqueeze(1)
    posterior = DiagonalGaussian(factors.double(), torch.tensor(-18.0))
    information = posterior_information(posterior, factors)
    assert information.item() == pytest.approx(np.log(4), abs=1e-4)


def test_chunks_do_not_matter(monkeypatch):
    loc, scale, factors = map(torch.from_numpy, posteriors())
    whole = posterior_information(Normal(loc, scale), factors)
    monkeypatch.setattr(sys.modules["lightning_vae.metrics.posterior_mig"], "_CELLS", 1000)
    torch.testing.assert_close(posterior_information(Normal(loc, scale), factors), whole)


def test_the_metric_is_the_function_and_leaves_no_trace():
    loc, scale, factors = map(torch.from_numpy, posteriors())
    metric, state = PosteriorMIG(samples=100, seed=4), torch.get_rng_state()
    for part in zip(loc.split(50), scale.split(50), factors.split(50), strict=True):
        metric.update(Independent(Normal(*part[:2]), 1), part[2])
    expected = function(Normal(loc.float(), scale.float()), factors, samples=100, seed=4)
    assert metric.compute() == expected
    assert torch.get_rng_state().equal(state)
    assert metric.plot()


def test_what_has_no_density_by_latent_is_refused():
    correlated = MultivariateNormal(torch.zeros(4, 2), torch.eye(2))
    with pytest.raises(ValueError, match=r"posterior must be a normal .* got MultivariateNormal"):
        PosteriorMIG().update(correlated, torch.zeros(4, 1).long())
    with pytest.raises(ValueError, match="samples must be a whole number of at least 1, got 0"):
        PosteriorMIG(samples=0)
