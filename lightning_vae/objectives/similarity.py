"""The contrastive similarity of the examples of a batch."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lightning_vae.distributions.precision import at_least_float32

__all__ = ["similarity"]


def similarity(x: Tensor, among: Tensor | None = None, temperature: float = 1.0) -> Tensor:
    r"""How hard it is to tell every example from others by their directions.

    .. math:: S_i = \log \sum_{j} e^{\cos(x_i, x_j)/\tau} - \tfrac1\tau

    Args:
        x: [B, ...], taken as vectors.
        among: Which examples each is told from, [B, B] booleans; all by default.
        temperature: τ.

    Returns:
        [B] nats: the logarithm of how many there are where all are alike, 0 for one alone.

    Source: Chen et al. 2020 (SimCLR), equation 1, of one view.

    >>> similarity(torch.ones(4, 3))
    tensor([1.3863, 1.3863, 1.3863, 1.3863])
    """
    directions = normalize(at_least_float32(x).flatten(1), dim=1)
    cosines = directions @ directions.T / temperature
    own = cosines.diagonal()
    if among is not None:
        cosines = cosines.masked_fill(~among, -torch.inf)
    return cosines.logsumexp(1) - own
