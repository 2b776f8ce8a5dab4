"""Fréchet distance, precision and recall, and the quality of reconstructions."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn
from torchmetrics import Metric
from torchmetrics.functional.image import structural_similarity_index_measure

from lightning_vae.metrics import (
    FrechetDistance,
    PrecisionRecall,
    ReconstructionQuality,
    frechet_distance,
    precision_recall,
)
from lightning_vae.networks import MLPEncoder
from tests.references.disentanglement import covered


def two_normals(d=6):
    random = np.random.default_rng(0)
    roots = random.normal(size=(2, d, d))
    return *random.normal(size=(2, d)), *(root @ root.T for root in roots)


def exact(mean, other_mean, covariance, other_covariance):
    crossed = np.trace(sqrtm(covariance @ other_covariance).real)
    apart = np.sum((mean - other_mean) ** 2)
    return apart + np.trace(covariance) + np.trace(other_covariance) - 2 * crossed


def of(mean, other_mean, covariance, other_covariance):
    values = (mean, covariance, other_mean, other_covariance)
    return frechet_distance(*map(torch.from_numpy, values)).item()


def test_frechet_distance_is_that_of_matrix_roots():
    normals = two_normals()
    assert of(*normals) == pytest.approx(exact(*normals), rel=1e-6)


def test_frechet_distance_of_singular_covariances():
    mean, other_mean, covariance, _ = two_normals()
    # In one direction only, of variance 4: the root of the product is known.
    one = np.zeros((6, 6))
    one[0, 0] = 4
    expected = np.sum((mean - other_mean) ** 2) + np.trace(covariance) + 4
    expected -= 2 * np.sqrt(4 * covariance[0, 0])
    assert of(mean, other_mean, covariance, one) == pytest.approx(expected, rel=1e-6)
    assert of(mean, mean, one, one) == pytest.approx(0, abs=1e-6)


def images(n=300, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, 2, 3, generator=random) @ torch.randn(3, 3, generator=random) + seed


def test_the_metric_is_the_distance_of_all_features():
    metric = FrechetDistance(nn.Flatten(), features=6)
    for real, seed in ((True, 0), (False, 1)):
        for batch in images(seed=seed).split(70):
            metric.update(batch, real)
    real, fake = (images(seed=s).flatten(1).double().numpy() for s in (0, 1))
    expected = exact(real.mean(0), fake.mean(0), np.cov(real.T), np.cov(fake.T))
    assert metric.compute().item() == pytest.approx(expected, rel=1e-5)
    assert metric.real_count.dtype == torch.int64
    assert metric.plot()


def test_the_metric_keeps_its_digits_in_bfloat16():
    """As in a module under precision="bf16-true", which casts even float64 states."""
    plain, low = (FrechetDistance(nn.Flatten(), features=6) for _ in range(2))
    holder = nn.Module()
    holder.metric = low
    holder.to(torch.bfloat16)
    for metric in (plain, low):
        metric.update(images() + 30, real=True)
        metric.update(images() + 30.5, real=False)
    assert low.compute().item() == pytest.approx(plain.compute().item(), rel=1e-6)
    assert plain.compute().item() == pytest.approx(6 * 0.25, rel=1e-4)


def test_an_encoder_gives_features_and_is_left_as_it_was():
    encoder = MLPEncoder((1, 2, 3), latent=4).train()
    metric = FrechetDistance(encoder, features=4)
    metric.update(images(), real=True)
    expected = encoder(images()).mean.double().sum(0)
    torch.testing.assert_close(metric.real_sum, expected)
    assert encoder.training
    assert not metric.real_sum.requires_grad


def test_mistakes_with_features_are_named():
    metric = FrechetDistance(nn.Flatten(), features=5)
    with pytest.raises(ValueError, match="returns 6 features: write features=6"):
        metric.update(images(), real=True)
    with pytest.raises(ValueError, match="there are 0 real images: give at least 2"):
        metric.compute()
    with pytest.raises(ValueError, match=r"extractor must return features \[300, ...\]"):
        FrechetDistance(torch.sum, features=1).update(images(), real=True)
    with pytest.raises(ValueError, match="extractor must be a function or a module, got 'vgg'"):
        FrechetDistance("vgg", features=5)
    with pytest.raises(ValueError, match="features must be a whole number of at least 1, got 0"):
        FrechetDistance(nn.Flatten(), features=0)
    diverged = FrechetDistance(nn.Flatten(), features=6)
    diverged.update(images() * torch.nan, real=True)
    with pytest.raises(ValueError, match="features are nan or inf"):
        diverged.compute()


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_are_the_oracles(k, monkeypatch):
    random = np.random.default_rng(0)
    real, fake = random.normal(size=(150, 2)), random.normal(size=(120, 2)) * [1, 3] + 2
    expected = {"precision": covered(fake, real, k), "recall": covered(real, fake, k)}
    whole = precision_recall(torch.from_numpy(real), torch.from_numpy(fake), k)
    monkeypatch.setattr(sys.modules["lightning_vae.metrics.precision_recall"], "_CELLS", 1000)
    assert precision_recall(torch.from_numpy(real), torch.from_numpy(fake), k) == whole
    assert {name: value.item() for name, value in whole.items()} == pytest.approx(expected)
    assert 0.2 < expected["precision"] < 0.98
    assert 0.2 < expected["recall"] < 0.98


def test_the_same_images_have_both_and_others_neither():
    metric = PrecisionRecall(nn.Flatten())
    metric.update(images(), real=True)
    metric.update(images(), real=False)
    assert metric.compute() == {"precision": 1, "recall": 1}
    metric.reset()
    metric.update(images(), real=True)
    metric.update(images() + 1000, real=False)
    assert metric.compute() == {"precision": 0, "recall": 0}
    assert metric.plot()


def test_mistakes_with_manifolds_are_named():
    metric = PrecisionRecall(nn.Flatten())
    metric.update(images(), real=True)
    with pytest.raises(ValueError, match="images of one side are missing"):
        metric.compute()
    metric.update(images(3), real=False)
    with pytest.raises(ValueError, match="generated has 3 images: give more than k=3"):
        metric.compute()
    with pytest.raises(ValueError, match="k must be a whole number of at least 1, got 0"):
        PrecisionRecall(nn.Flatten(), k=0)


def test_reconstruction_quality_is_psnr_and_ssim_over_all_images():
    x = torch.rand(10, 3, 16, 16)
    reconstruction = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    metric = ReconstructionQuality()
    for part in zip(reconstruction.split(4), x.split(4), strict=True):
        metric.update(*part)
    error = (reconstruction - x).square().double().mean().item()
    found = metric.compute()
    assert found["psnr"].item() == pytest.approx(-10 * np.log10(error), rel=1e-5)
    expected = structural_similarity_index_measure(reconstruction, x, data_range=1.0)
    assert found["ssim"].item() == pytest.approx(expected.item(), rel=1e-5)
    metric.reset()
    metric.update(x[:1], x[:1])
    assert metric.compute()["ssim"] == 1
    assert metric.plot()


def test_reconstruction_quality_keeps_its_digits_in_bfloat16():
    """As in a module under precision="bf16-true": a sum in bfloat16 stops growing at 256."""
    plain, low = ReconstructionQuality(), ReconstructionQuality()
    holder = nn.Module()
    holder.metric = low
    holder.to(torch.bfloat16)
    for _ in range(60):
        x = torch.rand(4, 1, 16, 16)
        reconstruction = (x + 0.3 * torch.rand_like(x)).clamp(0, 1)
        for metric in (plain, low):
            metric.update(reconstruction, x)
    for name, value in plain.compute().items():
        assert low.compute()[name].item() == pytest.approx(value.item(), rel=1e-4), name
    assert low.psnr.sum_squared_error.dtype == torch.float32


def test_mistakes_with_reconstructions_are_named():
    with pytest.raises(ValueError, match=r"H and W of at least 11, got \[2, 1, 8, 8\]"):
        ReconstructionQuality().update(torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8))
    with pytest.raises(ValueError, match="data_range must be above 0, got 0"):
        ReconstructionQuality(data_range=0)


class Likeness(Metric):
    """Stands in for torchmetrics' LPIPS, whose weights come with torchvision."""

    def __init__(self, net_type, normalize):
        super().__init__()
        assert (net_type, normalize) == ("alex", True), "images are in [0, 1]"
        self.add_state("distance", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, first, second):
        assert first.shape[1] == second.shape[1] == 3, "AlexNet reads colours"
        self.distance += (first - second).abs().mean()

    def compute(self):
        return self.distance


@pytest.mark.parametrize("channels", [1, 3])
def test_lpips_is_reported_where_torchmetrics_has_it(monkeypatch, channels):
    module = SimpleNamespace(LearnedPerceptualImagePatchSimilarity=Likeness)
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", module)
    metric, x = ReconstructionQuality(lpips=True), torch.rand(4, channels, 16, 16)
    metric.update(x - 0.25, x)
    assert metric.compute()["lpips"].item() == pytest.approx(0.25)
    metric.reset()
    metric.update(x, x)
    assert metric.compute()["lpips"] == 0


def test_lpips_without_its_weights_says_what_to_install(monkeypatch):
    # Also where torchvision is installed.
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", None)
    with pytest.raises(ModuleNotFoundError, match="lpips=True needs torchvision"):
        ReconstructionQuality(lpips=True)
