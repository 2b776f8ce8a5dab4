"""Which latents say the most."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["activity", "most_active"]


def most_active(activity: Sequence[Tensor], k: int) -> list[tuple[int, int]]:
    """The k latents of the highest activity in all spaces together, as (space, latent), in order.

    A latent is its place among the flattened factors of its space.

    >>> most_active([torch.tensor([0.1, 3.0]), torch.tensor([2.0])], k=2)
    [(0, 1), (1, 0)]
    """
    places = [(space, latent) for space, a in enumerate(activity) for latent in range(a.numel())]
    values = torch.cat([a.flatten() for a in activity])
    order = values.argsort(descending=True, stable=True)
    return [places[i] for i in order[:k].tolist()]


def activity(rate: Tensor, means: Tensor) -> Tensor:
    """How much each latent says: its mean rate in nats, [*factors].

    Where the rate does not split over latents, the variance of their posterior means instead.

    Args:
        rate: [B, *factors] or [B, 1].
        means: The posterior means, [B, *factors].

    Source: for the variance, Burda, Grosse & Salakhutdinov 2016, section 5.2.

    >>> activity(torch.ones(4, 1), torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    tensor([2., 0.])
    """
    if rate.shape[1:] == means.shape[1:]:
        return rate.float().mean(0)
    return means.float().var(0)
