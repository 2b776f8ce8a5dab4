"""The latent shape of one example, as every prior takes it."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from torch import Size

__all__ = ["latent_shape"]


def latent_shape(shape: int | Sequence[int]) -> Size:
    """``20`` or ``(4, 8, 8)`` as a size.

    Raises:
        ValueError: if a size is not a positive whole number.

    >>> latent_shape(20), latent_shape([4, 8])
    (torch.Size([20]), torch.Size([4, 8]))
    """
    sizes = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    if not all(map(_positive_whole, sizes)):
        raise ValueError(f"shape must be positive whole numbers, got {shape}; write 20.")
    return Size(sizes)


def _positive_whole(size: Any) -> bool:
    return isinstance(size, Integral) and size is not True and int(size) > 0
