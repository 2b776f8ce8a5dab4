"""Features of images by a network that the user gives: no weights are downloaded."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lightning_vae import posteriors
from lightning_vae.evaluation import evaluating

__all__ = ["Extractor", "extracted"]

Extractor: TypeAlias = Callable[[Tensor], Any]


def extracted(extractor: Extractor, x: Tensor) -> Tensor:
    """What an extractor makes of images: [B, ...] → [B, F] float32, without gradient.

    Args:
        extractor: Any function or module x → features [B, ...]; of a distribution, such as an
            encoder returns, the mean. A module is in eval mode meanwhile.
        x: The images, [B, ...].

    Raises:
        ValueError: if the features are not one row an image.

    >>> extracted(nn.Flatten(), torch.rand(4, 1, 2, 3)).shape
    torch.Size([4, 6])
    """
    if isinstance(extractor, nn.Module):
        with evaluating(extractor):
            features = extractor(x)
    else:
        with torch.no_grad():
            features = extractor(x)
    if isinstance(features, Distribution):
        features = posteriors.mean(features)
    if not isinstance(features, Tensor) or features.dim() < 2 or len(features) != len(x):
        shape = getattr(features, "shape", type(features).__name__)
        raise ValueError(
            f"extractor must return features [{len(x)}, ...], one row an image, got {shape}."
        )
    return features.detach().flatten(1).float()
