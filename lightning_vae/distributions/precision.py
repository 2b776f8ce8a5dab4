"""Low precision: where a sum or a density needs more digits than the weights have."""

import torch
from torch import Tensor

__all__ = ["at_least_float32"]

_NARROW = (torch.bfloat16, torch.float16)


def at_least_float32(terms: Tensor) -> Tensor:
    """Low-precision terms widened, for a sum in bfloat16 keeps three digits; others as they are.

    >>> at_least_float32(torch.ones(2, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return terms.float() if terms.dtype in _NARROW else terms
