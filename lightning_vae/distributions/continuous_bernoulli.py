"""The continuous Bernoulli distribution by logits, stable at every logit."""

from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from lightning_vae.distributions.support import in_support, validates_values, zero_outside

__all__ = ["ContinuousBernoulli"]

_SMALL = 0.1  # below it a series, for the closed forms are differences of great terms


class ContinuousBernoulli(Distribution):
    r"""The Bernoulli distribution made a density on :math:`[0, 1]`.

    .. math:: p(x) = \frac{\eta\, e^{\eta x}}{e^\eta - 1}, \quad
              \log p(x) = \eta (x - \tfrac12) - \log\frac{\sinh(\eta/2)}{\eta/2}

    The logit η is the natural parameter. The mean is :math:`\tfrac12 + \tfrac12\left(
    \coth\tfrac\eta2 - \tfrac2\eta\right)`, not :math:`\sigma(\eta)`. Torch's class works from the
    probability: in float32 it errs by 0.6 nats at η = 30, where the normaliser has lost its
    gradient, and takes the mean for ½ around η = 0.004. Outside [0, 1] the log-density is −∞ (an
    error with ``validate_args=True``).

    Args:
        logits: η, of any shape.

    Source: Loaiza-Ganem & Cunningham 2019, "The continuous Bernoulli", section 3.

    >>> p = ContinuousBernoulli(torch.tensor([2.0, 30.0]))
    >>> p.log_prob(torch.ones(2)), p.mean
    (tensor([0.8386, 3.4012]), tensor([0.6565, 0.9667]))
    """

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "ContinuousBernoulli":
        return ContinuousBernoulli(self.logits.expand(batch_shape), validates_values(self))

    def log_prob(self, value: Tensor) -> Tensor:
        inside = in_support(self, value)
        value = value.masked_fill(~inside, 0.0)
        # |η|/2 is taken from both terms, for they would cancel at great logits.
        away = torch.where(self.logits < 0, value, 1 - value)
        log_density = -_size(self.logits) * away - _log_sinhc_excess(0.5 * self.logits)
        return zero_outside(inside, log_density)

    @property
    def mean(self) -> Tensor:
        return 0.5 + 0.5 * _langevin(0.5 * self.logits)

    @property
    def variance(self) -> Tensor:
        return 0.25 * _langevin_slope(0.5 * self.logits)

    def entropy(self) -> Tensor:
        away = torch.where(self.logits < 0, self.mean, 1 - self.mean)
        return self.logits.abs() * away + _log_sinhc_excess(0.5 * self.logits)

    def cdf(self, value: Tensor) -> Tensor:
        value = value.clamp(0, 1)
        # F(x; -η) = 1 - F(1 - x; η): for η >= 0 no exponential overflows.
        size, falling = self.logits.abs(), self.logits < 0
        x = torch.where(falling, 1 - value, value)
        safe = size.clamp(min=torch.finfo(size.dtype).tiny)
        risen = torch.exp(safe * (x - 1)) * torch.expm1(-safe * x) / torch.expm1(-safe)
        return torch.where(falling, 1 - risen, risen)

    def icdf(self, value: Tensor) -> Tensor:
        size, falling = self.logits.abs(), self.logits < 0
        u = torch.where(falling, 1 - value, value)
        flat = size < torch.finfo(size.dtype).eps
        safe = torch.where(flat, torch.ones_like(size), size)
        x = torch.where(flat, u, 1 + torch.log1p((1 - u) * torch.expm1(-safe)) / safe)
        return torch.where(falling, 1 - x, x).clamp(0, 1)

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return self.icdf(torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device))


def _log_sinhc_excess(u: Tensor) -> Tensor:
    """log(sinh(u) / u) - |u|."""
    small, size = _apart(u)
    square = u.square()
    series = square * (1 / 6 - square * (1 / 180 - square * (1 / 2835 - square / 37800)))
    exact = torch.log1p(-torch.exp(-2 * size)) - torch.log(2 * size)
    return torch.where(small, series - _size(u), exact)


def _langevin(u: Tensor) -> Tensor:
    """coth(u) - 1/u, the slope of log(sinh(u) / u)."""
    small, size = _apart(u)
    square = u.square()
    series = u * (1 / 3 - square * (1 / 45 - square * (2 / 945 - square / 4725)))
    return torch.where(small, series, u.sign() * (1 / torch.tanh(size) - 1 / size))


def _langevin_slope(u: Tensor) -> Tensor:
    """1/u² - 1/sinh²(u)."""
    small, size = _apart(u)
    square = u.square()
    series = 1 / 3 - square * (1 / 15 - square * (2 / 189 - square / 675))
    inverse_sinh = 2 * torch.exp(-size) / -torch.expm1(-2 * size)
    return torch.where(small, series, size.pow(-2) - inverse_sinh.square())


def _size(u: Tensor) -> Tensor:
    """|u|, whose slope at zero is one, not none."""
    return torch.where(u < 0, -u, u)


def _apart(u: Tensor) -> tuple[Tensor, Tensor]:
    """Where |u| is small, and |u| elsewhere: the branch not taken must not make a gradient NaN."""
    small = u.abs() < _SMALL
    return small, torch.where(small, torch.ones_like(u), u.abs())
