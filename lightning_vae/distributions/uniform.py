"""The uniform distribution as a posterior, and its divergences."""

import math
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Normal, constraints, register_kl
from torch.distributions import Uniform as UniformOfTorch

from lightning_vae.distributions.gaussian import broadcast, log_variance_of, standardised
from lightning_vae.distributions.support import in_support, validates_values, zero_outside

__all__ = ["Uniform"]

_LOG_TWO = math.log(2)


class Uniform(UniformOfTorch):
    r"""The uniform distribution on :math:`[a, b)`, whose draws never round up to b.

    .. math:: \log q(z) = -\log(b - a), \quad a \le z < b

    Torch's own may draw b itself, which has no density, and its width overflows where the bounds
    do not. Outside the support the log-density is −∞ (an error with ``validate_args=True``).

    Args:
        low: a, of any shape.
        high: b > a, broadcast against ``low``.

    Raises:
        ValueError: if arguments are validated and a is not below b.

    >>> q = Uniform(torch.tensor([0.0, -2.0]), torch.tensor([1.0, 2.0]))
    >>> q.log_prob(torch.tensor([1.0, 0.5]))
    tensor([   -inf, -1.3863])
    """

    arg_constraints = {"low": constraints.real, "high": constraints.real}  # noqa: RUF012

    def __init__(
        self, low: Tensor | float, high: Tensor | float, validate_args: bool | None = None
    ) -> None:
        self.low, self.high = broadcast(low, high)
        Distribution.__init__(self, self.low.shape, validate_args=validate_args)
        if self._validate_args and not bool((self.low < self.high).all()):
            raise ValueError(f"low must be below high, got low={self.low} and high={self.high}.")

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.half_open_interval(self.low, self.high)

    @property
    def log_width(self) -> Tensor:
        """log(b - a), finite wherever a and b are."""
        return (0.5 * self.high - 0.5 * self.low).log() + _LOG_TWO

    @property
    def mean(self) -> Tensor:
        return 0.5 * self.low + 0.5 * self.high

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "Uniform":
        low, high = self.low.expand(batch_shape), self.high.expand(batch_shape)
        return Uniform(low, high, validates_values(self))

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        z = self.icdf(torch.rand(shape, dtype=self.low.dtype, device=self.low.device))
        below = torch.nextafter(self.high.detach(), self.low.detach())
        # Rounding alone is undone; the gradient is that of the line.
        return z + (torch.minimum(z, below) - z).detach()

    def log_prob(self, value: Tensor) -> Tensor:
        inside = in_support(self, value)
        return zero_outside(inside, -self.log_width.expand(inside.shape))

    def cdf(self, value: Tensor) -> Tensor:
        half = 0.5 * self.high - 0.5 * self.low
        return ((0.5 * value - 0.5 * self.low) / half).clamp(0, 1)

    def icdf(self, value: Tensor) -> Tensor:
        half = 0.5 * self.high - 0.5 * self.low
        return self.low + value * half + value * half

    def entropy(self) -> Tensor:
        return self.log_width


@register_kl(Uniform, UniformOfTorch)
def _kl_uniform_uniform(q: Uniform, p: UniformOfTorch) -> Tensor:
    log_ratio = (0.5 * p.high - 0.5 * p.low).log() + _LOG_TWO - q.log_width
    return log_ratio.masked_fill((q.low < p.low) | (q.high > p.high), torch.inf)


@register_kl(Uniform, Normal)
def _kl_uniform_normal(q: Uniform, p: Normal) -> Tensor:
    log_variance = log_variance_of(p)
    deviation = standardised(q.mean - p.loc, log_variance)
    half = standardised(0.5 * q.high - 0.5 * q.low, log_variance)
    cross_entropy = 0.5 * (deviation.square() + half.square() / 3 + log_variance)
    return cross_entropy + 0.5 * math.log(2 * math.pi) - q.log_width
