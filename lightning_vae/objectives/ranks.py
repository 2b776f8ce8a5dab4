"""Means and gathered batches over all ranks."""

from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

__all__ = ["gather", "mean_over_ranks", "of_all_ranks", "rank", "ranks"]

T = TypeVar("T")


def ranks() -> int:
    """How many processes train together; 1 without torch.distributed.

    >>> ranks()
    1
    """
    return distributed.get_world_size() if _many() else 1


def rank() -> int:
    """This process' place among them.

    >>> rank()
    0
    """
    return distributed.get_rank() if _many() else 0


def _many() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def of_all_ranks(value: T) -> list[T]:
    """What every rank has, in their order, by pickle: for what is small, and differs in shape.

    >>> of_all_ranks("this")
    ['this']
    """
    if not _many():
        return [value]
    found: list[Any] = [None] * ranks()
    distributed.all_gather_object(found, value)
    return found


def mean_over_ranks(mean: Tensor) -> Tensor:
    """The mean over all ranks in value, this rank's own in gradient.

    DDP averages gradients over ranks, so each contributes its own mean's, evaluated where the
    global mean stands: a floor or an absolute value of the mean is not the mean of floors.
    """
    if not _many():
        return mean
    everywhere = mean.detach().clone()
    distributed.all_reduce(everywhere)
    return everywhere / distributed.get_world_size() + (mean - mean.detach())


def gather(batch: Tensor) -> Tensor:
    """The batches of all ranks, [B, ...] to [ranks·B, ...]; gradients come back from all of them.

    Every rank's loss reaches the examples of the others, and DDP averages over ranks: what is
    minimised is the mean of the ranks' losses. All batches must be of one size.

    >>> gather(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """
    gathered: Tensor = _Gather.apply(batch) if _many() else batch  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, batch: Tensor) -> Tensor:
        batch = batch.contiguous()
        batches = [torch.empty_like(batch) for _ in range(ranks())]
        distributed.all_gather(batches, batch)
        return torch.cat(batches)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        everywhere = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(everywhere)
        return everywhere.chunk(ranks())[rank()]
