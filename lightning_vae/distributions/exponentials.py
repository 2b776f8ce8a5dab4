"""Exponentials that stay finite, and exact, where the plain formula would not."""

import math

import torch
from torch import Tensor

__all__ = ["excess", "times_exp"]


def times_exp(x: Tensor, log_factor: Tensor) -> Tensor:
    """x · e^a: no x stays none, however large the factor.

    >>> times_exp(torch.tensor([0.0, 1e-30]), torch.tensor([150.0, 100.0]))
    tensor([0.0000e+00, 2.6881e+13])
    """
    # In two factors, each finite: e^a alone is infinite above a = 88, and 0 * inf is NaN.
    largest = int(math.log(torch.finfo(log_factor.dtype).max))
    root = (0.5 * log_factor).clamp(max=largest).exp()
    return x * root * root


def excess(log_ratio: Tensor) -> Tensor:
    """e^r - 1 - r, which is what a divergence costs for a ratio e^r that is not one.

    >>> excess(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7183])
    """
    # Past 88 the exponential alone is infinite in float32; the bound keeps inf - inf from arising.
    return torch.expm1(log_ratio) - log_ratio.clamp(max=100.0)
