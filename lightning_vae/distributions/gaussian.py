"""Normal distributions by log-variance, and their divergences."""

import math
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import (
    Distribution,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    constraints,
    register_kl,
)
from torch.distributions.utils import broadcast_all

from lightning_vae.distributions.exponentials import excess, times_exp
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.distributions.support import validates_values, zero_outside

__all__ = ["DiagonalGaussian", "StandardGaussian"]

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def broadcast(a: Tensor | float, b: Tensor | float) -> tuple[Tensor, Tensor]:
    """To one shape; tensors that have it already go without the two views, and their gradients."""
    if isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape:
        return a, b
    first, second = broadcast_all(a, b)
    return first, second


class DiagonalGaussian(Normal):
    r"""The normal distribution of independent elements, given by mean and log-variance.

    .. math:: \log q(z) = -\tfrac12 \left[(z-\mu)^2 e^{-s} + s + \log 2\pi\right], \quad s = \log\sigma^2

    Working with :math:`s` keeps density, divergence and gradients finite where a scale would
    underflow: from ``s = -100`` to ``s = 88`` in float32.

    Args:
        loc: The mean :math:`\mu`, of any shape.
        log_variance: :math:`s = \log\sigma^2`, broadcast against ``loc``.

    Source: Kingma & Welling 2014, appendix C.2.

    >>> q = DiagonalGaussian(torch.zeros(2, 3), torch.tensor([0.0, -100.0, 2.0]))
    >>> q.rsample().shape, q.variance[0, 2].item()
    (torch.Size([2, 3]), 7.389056205749512)
    """

    arg_constraints = {"loc": constraints.real, "log_variance": constraints.real}  # noqa: RUF012

    def __init__(
        self, loc: Tensor | float, log_variance: Tensor | float, validate_args: bool | None = None
    ) -> None:
        self.loc, self.log_variance = broadcast(loc, log_variance)
        Distribution.__init__(self, self.loc.shape, validate_args=validate_args)

    @property
    def scale(self) -> Tensor:  # type: ignore[override]
        return (0.5 * self.log_variance).exp()

    @property
    def stddev(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        return self.log_variance.exp()

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "DiagonalGaussian":
        loc, log_variance = self.loc.expand(batch_shape), self.log_variance.expand(batch_shape)
        return DiagonalGaussian(loc, log_variance, validates_values(self))

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        noise = torch.randn(
            self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device
        )
        return torch.addcmul(self.loc, noise, self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        if validates_values(self):
            self._validate_sample(value)
        inside = value.isfinite()
        return zero_outside(inside, -self.cost(torch.where(inside, value, self.loc)))

    def cost(self, value: Tensor) -> Tensor:
        """Minus the log-density of a value that is known to be finite, without a look at it."""
        distance = standardised(value - self.loc, self.log_variance)
        return 0.5 * (distance.square() + self.log_variance) + _HALF_LOG_TWO_PI

    def entropy(self) -> Tensor:
        return 0.5 + _HALF_LOG_TWO_PI + 0.5 * self.log_variance


class StandardGaussian(Normal):
    r"""The normal distribution :math:`N(0, 1)` in a given shape.

    A type of its own, so that the divergence to it, the one nearly every VAE computes at every
    step, takes the short way.

    Args:
        shape: The batch shape; every element is independent.
        like: A tensor whose device and dtype the distribution takes.

    >>> StandardGaussian(torch.Size([4])).log_prob(torch.zeros(4))
    tensor([-0.9189, -0.9189, -0.9189, -0.9189])
    """

    def __init__(
        self, shape: Size | list[int] | tuple[int, ...], like: Tensor | None = None
    ) -> None:
        zero = torch.zeros(()) if like is None else like.new_zeros(())
        self.loc = zero.expand(shape)
        self.scale = (zero + 1).expand(shape)
        Distribution.__init__(self, self.loc.shape, validate_args=False)

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "StandardGaussian":
        return StandardGaussian(self.loc.expand(batch_shape).shape, like=self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        if validates_values(self):
            self._validate_sample(value)
        inside = value.isfinite()
        # A sum of these in bfloat16 keeps three digits, and a rate is the difference of two.
        square = at_least_float32(value - self.loc).masked_fill(~inside, 0.0).square()
        return zero_outside(inside, -0.5 * square - _HALF_LOG_TWO_PI)


def standardised(deviation: Tensor, log_variance: Tensor) -> Tensor:
    """deviation / σ, by the log-variance."""
    return times_exp(deviation, -0.5 * log_variance)


def log_variance_of(normal: Normal) -> Tensor:
    """The log-variance, of torch's own normal too."""
    if isinstance(normal, DiagonalGaussian):
        return normal.log_variance
    return 2 * normal.scale.log()


@register_kl(DiagonalGaussian, StandardGaussian)
def _kl_diagonal_standard(q: DiagonalGaussian, p: StandardGaussian) -> Tensor:
    loc = at_least_float32(q.loc)
    return 0.5 * torch.addcmul(excess(at_least_float32(q.log_variance)), loc, loc)


@register_kl(DiagonalGaussian, DiagonalGaussian)
@register_kl(DiagonalGaussian, Normal)
@register_kl(Normal, DiagonalGaussian)
def _kl_normal_normal(q: Normal, p: Normal) -> Tensor:
    q_log_variance, p_log_variance = (at_least_float32(log_variance_of(d)) for d in (q, p))
    distance = standardised(q.loc - p.loc, p_log_variance)
    return 0.5 * (excess(q_log_variance - p_log_variance) + distance.square())


@register_kl(MultivariateNormal, Normal)
@register_kl(LowRankMultivariateNormal, Normal)
def _kl_multivariate_factorised(
    q: MultivariateNormal | LowRankMultivariateNormal, p: Normal
) -> Tensor:
    # The last batch dimension of p is the event of q: this is the divergence of their joint laws.
    log_variance = log_variance_of(p)
    distance = standardised(q.loc - p.loc, log_variance).square()
    spread = standardised(q.stddev, log_variance).square()
    cross_entropy = 0.5 * (distance + spread + log_variance + 2 * _HALF_LOG_TWO_PI).sum(-1)
    entropy: Tensor = q.entropy()  # type: ignore[no-untyped-call]
    return cross_entropy - entropy
