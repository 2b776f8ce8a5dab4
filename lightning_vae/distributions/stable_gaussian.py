"""The normal distribution by a log-variance that grows and falls no further than it should."""

import math
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all

from lightning_vae.arguments import positive
from lightning_vae.distributions.gaussian import DiagonalGaussian
from lightning_vae.distributions.support import validates_values

__all__ = ["StableGaussian", "stable_log_variance"]


def stable_log_variance(raw: Tensor, floor: float = 1e-6) -> Tensor:
    r"""A log-variance whose variance grows linearly and never falls below a floor.

    .. math:: s = \log\bigl(\epsilon + e^{\min(r, 0)} + \max(r, 0)\bigr)

    Value and slope are continuous at zero, where the exponential turns into its tangent.

    Args:
        raw: r, any real number: what an encoder gives.
        floor: ε, the least variance.

    Raises:
        ValueError: if the floor is not positive.

    Source: the ladder VAE of CAREamics.

    >>> stable_log_variance(torch.tensor([-100.0, 0.0, 200.0])).exp()
    tensor([1.0000e-06, 1.0000e+00, 2.0100e+02])
    """
    positive("floor", floor, write="floor=1e-6")
    below = torch.logaddexp(raw.clamp(max=0.0), raw.new_tensor(math.log(floor)))
    above = torch.log1p(raw.clamp(min=0.0) + floor)
    return torch.where(raw > 0, above, below)


class StableGaussian(DiagonalGaussian):
    """A normal distribution by mean and :func:`stable_log_variance`, for deep hierarchies.

    Args:
        loc: The mean, of any shape.
        raw_log_variance: What the stable log-variance is made of, broadcast against ``loc``.
        floor: The least variance.

    Raises:
        ValueError: if the floor is not positive.

    Source: the ladder VAE of CAREamics.

    >>> StableGaussian(torch.zeros(2), torch.tensor([-200.0, 200.0])).variance
    tensor([1.0000e-06, 2.0100e+02])
    """

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real,
        "raw_log_variance": constraints.real,
    }

    def __init__(
        self,
        loc: Tensor | float,
        raw_log_variance: Tensor | float,
        floor: float = 1e-6,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.raw_log_variance = broadcast_all(loc, raw_log_variance)
        self.floor = floor
        self.log_variance = stable_log_variance(self.raw_log_variance, floor)
        Distribution.__init__(self, self.loc.shape, validate_args=validate_args)

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "StableGaussian":
        loc, raw = self.loc.expand(batch_shape), self.raw_log_variance.expand(batch_shape)
        return StableGaussian(loc, raw, self.floor, validates_values(self))
