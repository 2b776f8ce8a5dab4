"""Posteriors of many batches kept as one table of numbers, which ranks can exchange."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.objectives.parameters import rebuilt

__all__ = ["packed", "unpacked"]


def packed(posterior: Distribution) -> Tensor:
    """Every parameter of every example in a row: [B, P], in float32 at least.

    Raises:
        TypeError: if the posterior cannot be made from its parameters, or one of them is not one
            an example.

    >>> from torch.distributions import Normal
    >>> packed(Normal(torch.zeros(4, 3), 1.0)).shape
    torch.Size([4, 6])
    """
    columns: list[Tensor] = []

    def keep(parameter: Tensor) -> Tensor:
        columns.append(parameter)
        return parameter

    rebuilt(posterior, keep)
    batch = posterior.batch_shape[0]
    for column in columns:
        if column.shape[:1] != (batch,):
            raise TypeError(
                f"posterior {type(posterior).__name__} of {batch} examples has a parameter of "
                f"shape {tuple(column.shape)}; give every example its own."
            )
    return torch.cat([at_least_float32(column).reshape(batch, -1) for column in columns], 1)


def unpacked(table: Tensor, like: Distribution) -> Distribution:
    """The posterior of all rows of a table, of the family and shape of one that was packed.

    >>> from torch.distributions import Normal
    >>> q = Normal(torch.zeros(4, 3), 2.0)
    >>> unpacked(torch.cat([packed(q), packed(q)]), like=q).scale[7]
    tensor([2., 2., 2.])
    """
    left = table

    def take(parameter: Tensor) -> Tensor:
        nonlocal left
        shape = parameter.shape[1:]
        mine, left = left[:, : shape.numel()], left[:, shape.numel() :]
        return mine.reshape(len(table), *shape)

    return rebuilt(like, take)
