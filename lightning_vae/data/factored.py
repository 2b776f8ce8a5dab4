"""Known factors: what a data module has to offer so that disentanglement can be measured on it."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["Factored", "random_factors"]


@runtime_checkable
class Factored(Protocol):
    """A data module whose examples are a function of the classes of independent factors.

    >>> from lightning_vae.data import Sprites
    >>> isinstance(Sprites(), Factored)
    True
    """

    factor_names: Sequence[str]
    factor_sizes: Sequence[int]

    def render(self, factors: Tensor) -> Tensor:
        """The x of these classes, as batches have it: [n, K] int64 → [n, ...]."""


def random_factors(sizes: Sequence[int], n: int, seed: int = 0) -> Tensor:
    """n draws of independent factors, each class as likely: [n, K] int64.

    >>> random_factors((3, 6, 40), n=5).shape
    torch.Size([5, 3])
    """
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(size, (n,), generator=generator) for size in sizes]
    return torch.stack(columns, 1)
