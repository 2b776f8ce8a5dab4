"""Pictures one after another."""

import torch
from torch import Tensor

__all__ = ["there_and_back"]


def there_and_back(frames: Tensor) -> Tensor:
    """Frames forwards and then backwards, so that an animation that repeats does not jump.

    >>> there_and_back(torch.arange(4))
    tensor([0, 1, 2, 3, 2, 1])
    """
    return torch.cat([frames, frames[1:-1].flip(0)])
