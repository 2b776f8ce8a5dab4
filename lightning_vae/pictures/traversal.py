"""Latent traversals: one latent walks, the others stay."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["traversal"]


def traversal(origins: Tensor, latents: Sequence[int], values: Tensor) -> Tensor:
    r"""Codes that walk: row i is its origin but for one latent, which takes the values in turn.

    .. math:: z_{ij} = o_i + (v_{ij} - o_{i,l_i})\, e_{l_i}

    Args:
        origins: o, [R, *factors]: where every row starts from.
        latents: l, one a row: which of the flattened factors walks.
        values: v, [R, S]: where it walks.

    Returns:
        [R, S, *factors].

    Raises:
        ValueError: if there is no such latent.

    Source: Higgins et al. 2017, section 4.1.

    >>> traversal(torch.zeros(1, 3), [1], torch.tensor([[-1.0, 0.0, 1.0]]))[0, :, 1]
    tensor([-1.,  0.,  1.])
    """
    size = origins[0].numel()
    if wrong := [latent for latent in latents if not -size <= latent < size]:
        raise ValueError(f"latents={wrong} do not exist: there are {size}, from 0 to {size - 1}.")
    rows, steps = values.shape
    codes = origins.flatten(1).unsqueeze(1).repeat(1, steps, 1)
    codes[torch.arange(rows), :, list(latents)] = values.to(codes)
    return codes.view(rows, steps, *origins.shape[1:])
