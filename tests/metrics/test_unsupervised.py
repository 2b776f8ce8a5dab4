import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from lightning_vae.metrics import (
    UDR,
    GaussianTotalCorrelation,
    GaussianWassersteinCorrelation,
    gaussian_total_correlation,
    gaussian_wasserstein_correlation,
    lasso_weights,
    rank_correlation,
    udr,
)
from tests.references import disentanglement as reference


def covariance(d=5):
    root = np.random.default_rng(0).normal(size=(d, d))
    return root @ root.T


def test_total_correlation_is_the_divergence_from_independence():
    sigma = covariance()
    entropies = [multivariate_normal(cov=v).entropy() for v in np.diag(sigma)]
    expected = sum(entropies) - multivariate_normal(cov=sigma).entropy()
    found = gaussian_total_correlation(torch.from_numpy(sigma))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_wasserstein_correlation_is_the_oracles():
    sigma = covariance()
    expected, found = reference.wasserstein_correlation(sigma), torch.from_numpy(sigma)
    assert gaussian_wasserstein_correlation(found).item() == pytest.approx(expected, rel=1e-6)
    share = gaussian_wasserstein_correlation(found, normalised=True)
    assert share.item() == pytest.approx(expected / np.trace(sigma), rel=1e-6)


def test_independent_dead_and_dependent_latents():
    independent = torch.diag(torch.tensor([1.0, 2.0, 0.0]))
    assert gaussian_total_correlation(independent) == 0
    assert gaussian_wasserstein_correlation(independent) == pytest.approx(0, abs=1e-6)
    same = torch.ones(2, 2)
    assert gaussian_total_correlation(same) > 15  # infinite but for rounding
    # From variances 1, 1 to the sum of both: 2·2 − 2·√2.
    assert gaussian_wasserstein_correlation(same) == pytest.approx(4 - 2 * 2**0.5)


def test_metrics_take_the_covariance_of_all_batches():
    codes = torch.randn(500, 3) @ torch.randn(3, 3) + 100
    sigma = torch.from_numpy(np.cov(codes.double().numpy().T))
    for metric, function in (
        (GaussianTotalCorrelation(), gaussian_total_correlation),
        (GaussianWassersteinCorrelation(), gaussian_wasserstein_correlation),
    ):
        for batch in codes.split(64):
            metric.update(batch)
        assert metric.compute().item() == pytest.approx(function(sigma).item(), rel=1e-5)
        assert metric.plot()
    with pytest.raises(ValueError, match=r"codes must be \[B, D\], got \[2, 3, 4\]"):
        GaussianTotalCorrelation().update(torch.zeros(2, 3, 4))


# UDR


def models():
    """Two that found the factors, one that mixed them, one with a dead latent."""
    random = np.random.default_rng(0)
    z = random.normal(size=(800, 4)) ** 3
    noisy = [z + 0.1 * random.normal(size=z.shape) for _ in range(4)]
    mixed = noisy[2] @ random.normal(size=(4, 4))
    dead = noisy[3][:, [3, 2, 1, 0]] * [1, 1, -1, 0]
    return [noisy[0], -noisy[1][:, [1, 0, 3, 2]], mixed, dead + 0.01 * random.normal(size=z.shape)]


RATES = torch.tensor([[1.0] * 4, [1.0] * 4, [1.0] * 4, [1.0, 1.0, 1.0, 0.001]])


@pytest.mark.parametrize("lasso", [False, True])
def test_udr_is_the_oracles(lasso):
    points, used = models(), (RATES > 0.01).numpy()
    codes = torch.from_numpy(np.stack(points, 1))
    found = udr(codes, RATES, alike=lasso_weights if lasso else rank_correlation)
    np.testing.assert_allclose(found, reference.udr(points, used, lasso), atol=1e-5)
    assert found.argmin() == 2


def test_equal_models_agree_and_unlike_ones_do_not():
    z = torch.randn(4000, 3)
    same = torch.stack([z, -2 * z[:, [2, 0, 1]]], 1)
    assert udr(same, torch.ones(2, 3), lasso_weights).tolist() == pytest.approx(
        [0.9, 0.9], abs=0.01
    )
    assert (udr(same, torch.ones(2, 3)) > 0.9).all()
    unlike = torch.randn(4000, 2, 3)
    assert (udr(unlike, torch.ones(2, 3)) < 0.1).all()


def test_models_without_live_latents_score_zero():
    rates = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert udr(torch.randn(100, 2, 2), rates).tolist() == [0, 0]


def test_the_metric_is_the_function_over_batches():
    codes = torch.from_numpy(np.stack(models(), 1)).float()
    metric = UDR()
    for batch in codes.split(100):
        metric.update(batch, RATES.expand(len(batch), -1, -1))
    assert metric.compute().equal(udr(codes, RATES))


def test_one_model_and_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="two models at least, got codes of 1"):
        udr(torch.zeros(5, 1, 2), torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"codes and rates must both be \[B, M, D\], got \[5, 2\]"):
        UDR().update(torch.zeros(5, 2), torch.zeros(5, 2))
