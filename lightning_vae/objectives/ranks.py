"""Means over all ranks."""

from torch import Tensor, distributed

__all__ = ["mean_over_ranks"]


def mean_over_ranks(mean: Tensor) -> Tensor:
    """The mean over all ranks in value, this rank's own in gradient.

    DDP averages gradients over ranks, so each contributes its own mean's, evaluated where the
    global mean stands: a floor or an absolute value of the mean is not the mean of floors.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return mean
    everywhere = mean.detach().clone()
    distributed.all_reduce(everywhere)
    return everywhere / distributed.get_world_size() + (mean - mean.detach())
