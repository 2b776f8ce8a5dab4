r"""The Fréchet distance between two sets of images, as if their features were normal.

.. math:: \|\mu - \mu'\|^2
          + \mathrm{tr}\left(\Sigma + \Sigma' - 2 (\Sigma^{1/2} \Sigma' \Sigma^{1/2})^{1/2}\right)

It is FID if the features are those of the published Inception network. Values of other features,
or of other numbers of images (few give more), do not compare with it.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.metrics.features import Extractor, extracted

__all__ = ["FrechetDistance", "frechet_distance"]


def frechet_distance(
    mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor
) -> Tensor:
    """The squared Fréchet (Wasserstein-2) distance of two normal distributions.

    Args:
        mean: [F].
        covariance: [F, F], which may be singular.
        other_mean: [F].
        other_covariance: [F, F].

    Source: Dowson & Landau 1982; Heusel et al. 2017, section 2.

    >>> frechet_distance(torch.zeros(2), torch.eye(2), torch.ones(2), 4 * torch.eye(2))
    tensor(4.)
    """
    covariance, other_covariance = covariance.double(), other_covariance.double()
    values, vectors = torch.linalg.eigh(covariance)
    # A covariance has no eigenvalues below 0 but by rounding.
    root = vectors * values.clamp(min=0).sqrt()
    crossed = torch.linalg.eigvalsh(root.T @ other_covariance @ root).clamp(min=0).sqrt().sum()
    apart = (mean.double() - other_mean.double()).square().sum()
    distance: Tensor = apart + covariance.trace() + other_covariance.trace() - 2 * crossed
    return distance.float()


class FrechetDistance(Metric):
    """The squared Fréchet distance between real and generated images, by features of your own.

    It keeps sums, not images, and is exact over batches and processes.

    Args:
        extractor: x → features [B, ...]: any function or module, such as a trained encoder.
        features: How many features an image has.
        kwargs: What every torchmetrics metric takes.

    Source: Heusel et al. 2017, section 2.

    >>> metric = FrechetDistance(torch.nn.Flatten(), features=2)
    >>> metric.update(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), real=True)
    >>> metric.update(torch.tensor([[1.0, 3.0], [-1.0, 1.0]]), real=False)
    >>> metric.compute()
    tensor(4.)
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = False
    plot_lower_bound = 0.0

    def __init__(self, extractor: Extractor, features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not callable(extractor):
            raise ValueError(f"extractor must be a function or a module, got {extractor!r}.")
        self.extractor, self.features = extractor, whole("features", features)
        for side in ("real", "generated"):
            self.add_state(f"{side}_count", torch.tensor(0), dist_reduce_fx="sum")
            zeros = torch.zeros(features, dtype=torch.float64)
            self.add_state(f"{side}_sum", zeros, dist_reduce_fx="sum")
            zeros = torch.zeros(features, features, dtype=torch.float64)
            self.add_state(f"{side}_products", zeros, dist_reduce_fx="sum")

    @override
    def update(self, x: Tensor, real: bool) -> None:
        """Add images [B, ...], real ones or generated."""
        found = extracted(self.extractor, x).double()
        if found.shape[1] != self.features:
            raise ValueError(
                f"the extractor returns {found.shape[1]} features: write features={found.shape[1]}."
            )
        count, total, products = self._sums(real)
        self._keep(real, count + len(found), total + found.sum(0), products + found.T @ found)

    @override
    def compute(self) -> Tensor:
        """The distance.

        Raises:
            ValueError: if there are fewer than two images on a side, or features are not finite.
        """
        return frechet_distance(*self._moments(True), *self._moments(False))

    def _sums(self, real: bool) -> tuple[Tensor, Tensor, Tensor]:
        side = "real" if real else "generated"
        count, total, products = (
            getattr(self, f"{side}_{name}") for name in ("count", "sum", "products")
        )
        # A Trainer with precision="bf16-true" makes float64 states bfloat16.
        return count, total.double(), products.double()

    def _keep(self, real: bool, count: Tensor, total: Tensor, products: Tensor) -> None:
        side = "real" if real else "generated"
        setattr(self, f"{side}_count", count)
        setattr(self, f"{side}_sum", total)
        setattr(self, f"{side}_products", products)

    def _moments(self, real: bool) -> tuple[Tensor, Tensor]:
        count, total, products = self._sums(real)
        if count < 2:
            side = "real" if real else "generated"
            raise ValueError(f"there are {int(count)} {side} images: give at least 2.")
        if not products.isfinite().all():
            raise ValueError("features are nan or inf: the images or the extractor have diverged.")
        mean = total / count
        return mean, (products - count * mean.outer(mean)) / (count - 1)

    @override
    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw the distance, or several of them as a curve."""
        return self._plot(val, ax)
