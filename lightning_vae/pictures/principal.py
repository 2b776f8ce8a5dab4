"""Principal components of codes."""

import torch
from torch import Tensor

__all__ = ["principal"]


def principal(codes: Tensor, components: int = 2) -> Tensor:
    """Where codes lie along the directions of their greatest variance, [N, components].

    The sign of a direction is chosen so that its largest entry is positive. Missing directions,
    of fewer latents than components, are 0.

    Args:
        codes: [N, *factors].
        components: How many directions.

    Source: Pearson 1901.

    >>> principal(torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]), components=1)
    tensor([[-1.4142],
            [ 0.0000],
            [ 1.4142]])
    """
    centred = codes.flatten(1).float()
    centred = centred - centred.mean(0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:components]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    points = centred @ (directions * largest.sign()).T
    return torch.nn.functional.pad(points, (0, components - points.shape[1]))
