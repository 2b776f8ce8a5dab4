r"""Precision and recall of generated images: how many look real, and how much of the real they cover.

A set's manifold is the union of balls around its features, each as wide as the distance to the
k-th nearest other feature of the set. Precision is the share of generated images on the real
manifold; recall the share of real ones on the generated manifold.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.metrics.features import Extractor, extracted

__all__ = ["PrecisionRecall", "precision_recall"]

_CELLS = 2**22  # how many distances a chunk may have


def precision_recall(real: Tensor, generated: Tensor, k: int = 3) -> dict[str, Tensor]:
    """Precision and recall of generated features, each in [0, 1].

    Args:
        real: [N, F].
        generated: [M, F].
        k: Which nearest neighbour sets a ball's radius.

    Raises:
        ValueError: if a set has no more than k features.

    Source: Kynkäänniemi et al. 2019, section 2.

    >>> real = torch.arange(6.0).unsqueeze(1)
    >>> precision_recall(real, torch.tensor([[0.5], [1.0], [9.0], [9.5]]), k=1)
    {'precision': tensor(0.5000), 'recall': tensor(0.3333)}
    """
    for name, features in (("real", real), ("generated", generated)):
        if len(features) <= k:
            raise ValueError(
                f"{name} has {len(features)} images: give more than k={k}, or a smaller k."
            )
    return {"precision": _covered(generated, real, k), "recall": _covered(real, generated, k)}


def _covered(points: Tensor, centres: Tensor, k: int) -> Tensor:
    """The share of points within a centre's ball."""
    radii = torch.cat(
        [
            torch.cdist(part, centres, compute_mode=_EXACT).kthvalue(k + 1).values
            for part in _chunks(centres, centres)
        ]
    )
    inside = [
        (torch.cdist(part, centres, compute_mode=_EXACT) <= radii).any(1)
        for part in _chunks(points, centres)
    ]
    return torch.cat(inside).float().mean()


# By products, a distance to itself is not 0, and far features lose their digits.
_EXACT = "donot_use_mm_for_euclid_dist"


def _chunks(points: Tensor, centres: Tensor) -> tuple[Tensor, ...]:
    chunks: tuple[Tensor, ...] = points.split(max(1, _CELLS // len(centres)))
    return chunks


class PrecisionRecall(Metric):
    """Precision and recall of generated images, by features of your own.

    Args:
        extractor: x → features [B, ...]: any function or module, such as a trained encoder.
        k: Which nearest neighbour sets a ball's radius.
        kwargs: What every torchmetrics metric takes.

    Source: Kynkäänniemi et al. 2019, section 2.

    >>> metric = PrecisionRecall(torch.nn.Flatten(), k=1)
    >>> metric.update(torch.arange(6.0).unsqueeze(1), real=True)
    >>> metric.update(torch.tensor([[0.5], [1.0], [9.0], [9.5]]), real=False)
    >>> metric.compute()
    {'precision': tensor(0.5000), 'recall': tensor(0.3333)}
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    real: list[Tensor]
    generated: list[Tensor]

    def __init__(self, extractor: Extractor, k: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not callable(extractor):
            raise ValueError(f"extractor must be a function or a module, got {extractor!r}.")
        self.extractor, self.k = extractor, whole("k", k)
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("generated", [], dist_reduce_fx="cat")

    @override
    def update(self, x: Tensor, real: bool) -> None:
        """Add images [B, ...], real ones or generated."""
        (self.real if real else self.generated).append(extracted(self.extractor, x))

    @override
    def compute(self) -> dict[str, Tensor]:
        """Precision and recall.

        Raises:
            ValueError: if there are no more than k images on a side.
        """
        if not len(self.real) or not len(self.generated):
            raise ValueError("images of one side are missing: update(x, real=...) with both.")
        return precision_recall(dim_zero_cat(self.real), dim_zero_cat(self.generated), self.k)

    @override
    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw both, or several of them as curves."""
        return self._plot(val, ax)
