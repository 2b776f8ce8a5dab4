"""Free bits: a floor under the rate."""

import math
from typing import Literal

from torch import Tensor

from lightning_vae.latents import Latent

__all__ = ["Per", "at_least", "free_bits", "refuse_whole", "units"]

Per = Literal["latent", "channel", "group", "total"]


def free_bits(rate: Tensor, floor: float, per: Per = "latent", batch_mean: bool = True) -> Tensor:
    r"""Hold the rate up to a floor: below it, a unit costs the floor and feels no gradient.

    .. math:: \max\bigl(\lambda, \tfrac1B \textstyle\sum_b R_{bj}\bigr) \quad\text{or}\quad
              \max(\lambda, R_{bj})

    The gradient is zero below the floor and full at and above it. A floor of 0 is no floor at
    all: a Monte Carlo rate may be negative.

    Args:
        rate: [B, \*factors] nats.
        floor: λ in nats, for every unit.
        per: What a unit is: ``"latent"``, each element; ``"channel"``, dimension 1 with the rest
            summed; ``"group"`` or ``"total"``, all elements together.
        batch_mean: Floor the mean over the batch (Kingma et al.), or else each example.

    Returns:
        The floored rate of every unit: [\*units] where the batch is averaged, else [B, \*units].

    Raises:
        ValueError: if the floor is negative or not finite, or ``per`` is none of the four.

    Source: Kingma et al. 2016 (IAF), appendix C.8.

    >>> import torch
    >>> rate = torch.tensor([[0.1, 2.0], [0.3, 4.0]])
    >>> free_bits(rate, 0.5)
    tensor([0.5000, 3.0000])
    >>> free_bits(rate, 3.0, per="group", batch_mean=False)
    tensor([3.0000, 4.3000])
    """
    if not isinstance(floor, int | float) or not 0 <= floor < math.inf:
        raise ValueError(
            f"floor must be a finite number of nats >= 0, got {floor!r}; 0 is no floor."
        )
    each = units(rate, per)
    return at_least(floor, each.mean(0) if batch_mean else each)


def units(rate: Tensor, per: Per) -> Tensor:
    """[B, *factors] to [B, *units]."""
    if per == "latent":
        return rate
    if per == "channel":
        if rate.dim() < 2:
            raise ValueError(
                f"rate has shape {tuple(rate.shape)}, without channels in dimension 1."
            )
        return rate.reshape(*rate.shape[:2], -1).sum(2)
    if per in ("group", "total"):
        return rate.reshape(len(rate), -1).sum(1)
    raise ValueError(f"per must be 'latent', 'channel', 'group' or 'total', got {per!r}.")


def refuse_whole(latent: Latent, per: Per) -> None:
    """Refuse a floor under every latent or channel of a rate that does not split over latents.

    Raises:
        ValueError: if there is one rate for all latents of an example.
    """
    if per in ("latent", "channel") and latent.rate.shape != latent.z.shape:
        raise ValueError(
            f"free_bits per {per} needs a rate for every latent, but the divergence of "
            f"{type(latent.posterior).__name__} from {type(latent.prior).__name__} does not split "
            f"over latents; write per='group'."
        )


def at_least(floor: float, rate: Tensor) -> Tensor:
    """The rate, or the floor where it is below; 0 is no floor."""
    # The gradient of clamp is full at the floor; that of maximum is half.
    return rate.clamp(min=floor) if floor > 0 else rate
