"""The normal distribution at the scale that makes what it is asked about likeliest."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Size, Tensor, distributed
from torch.distributions import Normal

from lightning_vae.arguments import positive
from lightning_vae.distributions.support import in_support, validates_values, zero_outside

__all__ = ["ProfileNormal"]


class ProfileNormal(Normal):
    r"""The normal distribution whose scale is profiled out: its best for all of x together.

    .. math:: \log p(x_i) = -\tfrac12 \left[\frac{(x_i - \mu_i)^2}{\sigma^{*2}} +
              \log 2\pi\sigma^{*2}\right], \quad
              \sigma^{*2} = \max\Bigl(\text{floor}^2,
              \frac{\sum_i w_i (x_i-\mu_i)^2}{\sum_i w_i}\Bigr)

    The mean is over every element of every example, on all ranks, and gradients flow through it.
    No density, for σ* knows x: a maximum over the scales of what is one. Draws and moments are
    at the given ``scale``.

    Args:
        loc: μ, of any shape.
        scale: The scale where no x is given, broadcast against ``loc``.
        floor: The least scale, positive.
        observe: Called with every mean square, before the floor and without its graph; NaN
            where no element counts.

    Raises:
        ValueError: if the floor is not positive.

    Source: Rybkin, Daniilidis & Levine 2021 (σ-VAE), section 3.2.

    >>> p = ProfileNormal(torch.zeros(4), scale=1.0, floor=0.01)
    >>> p.log_prob(torch.tensor([3.0, -3.0, 3.0, -3.0]))  # as at a scale of 3
    tensor([-2.5176, -2.5176, -2.5176, -2.5176])
    """

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor | float,
        floor: float,
        observe: Callable[[Tensor], None] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.floor, self.observe = positive("floor", floor, write="floor=0.0025"), observe
        super().__init__(loc, scale, validate_args=validate_args)

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "ProfileNormal":
        loc, scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        return ProfileNormal(loc, scale, self.floor, self.observe, validates_values(self))

    def log_prob(self, value: Tensor, weight: Tensor | None = None) -> Tensor:
        """Elementwise; the weight w, in value's shape, is what each element counts in σ*."""
        in_support(self, value)
        deviation = value - self.loc
        if weight is not None:  # nor great values nor a mean of nothing reach what does not count
            deviation = torch.where(weight > 0, deviation, torch.zeros_like(deviation))
        squares = deviation.square()
        mean_square = _mean_over_ranks(squares, weight)
        if self.observe is not None:
            self.observe(mean_square.detach())
        variance = mean_square.clamp(min=self.floor**2)
        log_density = -0.5 * (squares / variance + torch.log(2 * math.pi * variance))
        # Where one element is infinitely far, so is every scale from every element.
        return zero_outside(variance.isfinite(), log_density)


def _mean_over_ranks(squares: Tensor, weight: Tensor | None) -> Tensor:
    total, count = _sums(squares, weight)
    if distributed.is_available() and distributed.is_initialized():
        both: Tensor = _Summed.apply(torch.stack((total, count)))  # type: ignore[no-untyped-call]
        total, count = both
    return total / count


def _sums(squares: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    if weight is None:
        return squares.sum(), squares.new_full((), squares.numel())
    return (weight * squares).sum(), weight.sum(dtype=squares.dtype)


class _Summed(torch.autograd.Function):
    """The sum over ranks, whose gradient is the sum over ranks: what DDP averages is exact."""

    @staticmethod
    def forward(ctx: Any, terms: Tensor) -> Tensor:
        terms = terms.clone()
        distributed.all_reduce(terms)
        return terms

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone()
        distributed.all_reduce(gradient)
        return gradient
