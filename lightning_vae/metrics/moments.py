"""Mean and variance of a stream: of batches, and of the shares of several processes."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Moments", "merged", "moments"]


class Moments(NamedTuple):
    """The count, mean and summed squared deviation of rows; a leading dimension is several parts."""

    rows: Tensor  # [...] how many, integers
    mean: Tensor  # [..., d]
    squares: Tensor  # [..., d]

    @property
    def variance(self) -> Tensor:
        """Unbiased; NaN for one row."""
        return self.squares / (self.rows - 1)


def moments(batch: Tensor) -> Moments:
    """The moments of a batch, [B, d].

    >>> moments(torch.tensor([[1.0], [3.0]])).variance
    tensor([2.])
    """
    mean = batch.mean(0)
    rows = torch.tensor(len(batch), device=batch.device)
    return Moments(rows, mean, (batch - mean).square().sum(0))


def merged(parts: Moments) -> Moments:
    r"""The moments of all rows from those of parts, without a difference of large sums.

    .. math:: \bar x = \bar x_1 + \sum_k \tfrac{n_k}{n} (\bar x_k - \bar x_1), \quad
              S = \sum_k S_k + n_k (\bar x_k - \bar x)^2

    Source: Chan, Golub & LeVeque 1983, equation 1.5b, for any number of parts.

    >>> one, two = moments(torch.tensor([[1.0], [3.0]])), moments(torch.tensor([[8.0]]))
    >>> merged(Moments(*map(torch.stack, zip(one, two)))).mean
    tensor([4.])
    """
    counts = parts.rows.unsqueeze(-1)
    total = counts.sum(0)
    first = parts.mean[0]
    mean = first + (counts * (parts.mean - first)).sum(0) / total
    squares = (parts.squares + counts * (parts.mean - mean).square()).sum(0)
    return Moments(total.squeeze(-1), mean, squares)
