"""The Weibull distribution by log-scale and log-concentration, and its divergences."""

from typing import Any

import numpy as np
import torch
from scipy.special import zeta
from torch import Size, Tensor
from torch.distributions import Distribution, Gamma, constraints, register_kl
from torch.distributions import Exponential as ExponentialByRate

from lightning_vae.distributions.exponential import log_rate_of
from lightning_vae.distributions.exponentials import excess, times_exp
from lightning_vae.distributions.gaussian import broadcast
from lightning_vae.distributions.support import in_support, validates_values, zero_outside

__all__ = ["Weibull"]

_EULER = float(np.euler_gamma)
# log Γ(1 + 2x) - 2 log Γ(1 + x) = Σ c_n x^n over n >= 2, from the Taylor series of log Γ(1 + x).
_SPREAD = [(2.0**n - 2) * (-1) ** n * float(zeta(n)) / n for n in range(2, 20)]


class Weibull(Distribution):
    r"""The Weibull distribution, given by the logarithms of scale and concentration.

    .. math:: \log q(z) = \log\tfrac{k}{\lambda} + (k - 1) \log\tfrac{z}{\lambda}
              - \left(\tfrac{z}{\lambda}\right)^{k}, \quad z \ge 0

    Any two real numbers will do, so an encoder may give them as they are; but the mean, and with it
    the rate, grows as Γ(1 + 1/k) and is beyond float32 below k = 0.03: bound log k from below, by
    ``clamp(min=-2.3)``. Outside the support the log-density is −∞ (an error with
    ``validate_args=True``); at zero it is the limit from above.

    Args:
        log_scale: :math:`\log\lambda`, of any shape.
        log_concentration: :math:`\log k`, broadcast against ``log_scale``; 0 is the exponential.

    Source: Weibull 1951; as a posterior, Squires, Prügel-Bennett & Niranjan 2019.

    >>> q = Weibull(torch.zeros(2), torch.tensor([1.0, 2.0]).log())
    >>> q.log_prob(torch.tensor([1.0, 1.0])), q.mean
    (tensor([-1.0000, -0.3069]), tensor([1.0000, 0.8862]))
    """

    arg_constraints = {  # noqa: RUF012
        "log_scale": constraints.real,
        "log_concentration": constraints.real,
    }
    support = constraints.nonnegative
    has_rsample = True

    def __init__(
        self,
        log_scale: Tensor | float,
        log_concentration: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self.log_scale, self.log_concentration = broadcast(log_scale, log_concentration)
        super().__init__(self.log_scale.shape, validate_args=validate_args)

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp()

    @property
    def concentration(self) -> Tensor:
        return self.log_concentration.exp()

    @property
    def mean(self) -> Tensor:
        return self._log_mean.exp()

    @property
    def mode(self) -> Tensor:
        # λ ((k - 1) / k)^{1/k}, and none below k = 1, where the density falls from zero on.
        peaked = self.log_concentration > 0
        k = torch.where(peaked, self.log_concentration, torch.ones_like(self.log_concentration))
        log_mode = self.log_scale + torch.log(-torch.expm1(-k)) * (-k).exp()
        return torch.where(peaked, log_mode.exp(), torch.zeros_like(log_mode))

    @property
    def variance(self) -> Tensor:
        # (E z)² (e^s - 1), where the second moment is (E z)² e^s.
        spread = _log_moment_ratio((-self.log_concentration).exp())
        return (2 * self._log_mean + spread + torch.log(-torch.expm1(-spread))).exp()

    @property
    def _log_mean(self) -> Tensor:
        return self.log_scale + torch.lgamma(1 + (-self.log_concentration).exp())

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "Weibull":
        return Weibull(
            self.log_scale.expand(batch_shape),
            self.log_concentration.expand(batch_shape),
            validates_values(self),
        )

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        noise = self.log_scale.new_empty(self._extended_shape(sample_shape)).exponential_()
        return self._at(noise)

    def _at(self, exponential: Tensor) -> Tensor:
        """λ E^{1/k}, Weibull where E is standard exponential."""
        root = (-self.log_concentration).exp()
        return (self.log_scale + exponential.log() * root).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        inside = in_support(self, value) & (value != torch.inf)
        at_zero = value == 0
        distance = value.masked_fill(~inside | at_zero, 1.0).log() - self.log_scale
        power = times_exp(distance, self.log_concentration)
        log_density = self.log_concentration - self.log_scale - distance + power - power.exp()
        return zero_outside(inside, torch.where(at_zero, self._log_density_at_zero(), log_density))

    def _log_density_at_zero(self) -> Tensor:
        rises = torch.where(self.log_concentration < 0, torch.inf, -torch.inf)
        return torch.where(self.log_concentration == 0, -self.log_scale, rises.to(self.log_scale))

    def cdf(self, value: Tensor) -> Tensor:
        distance = value.clamp(min=0.0).log() - self.log_scale
        return -torch.expm1(-times_exp(distance, self.log_concentration).exp())

    def icdf(self, value: Tensor) -> Tensor:
        return self._at(-torch.log1p(-value))

    def entropy(self) -> Tensor:
        root = (-self.log_concentration).exp()
        return 1 + self.log_scale - self.log_concentration + _EULER * (1 - root)


def _log_moment_ratio(x: Tensor) -> Tensor:
    """log Γ(1 + 2x) - 2 log Γ(1 + x), by its series where the difference would cancel."""
    near = x.clamp(max=0.05)
    series = torch.zeros_like(x)
    for coefficient in reversed(_SPREAD):
        series = series * near + coefficient
    far = torch.lgamma(1 + 2 * x) - 2 * torch.lgamma(1 + x)
    return torch.where(x < 0.05, series * near * near, far)


Weibulls = Weibull | ExponentialByRate


def _logarithms(d: Weibulls) -> tuple[Tensor, Tensor]:
    """Log-scale and log-concentration; the exponential is Weibull with concentration one."""
    if isinstance(d, Weibull):
        return d.log_scale, d.log_concentration
    log_scale = -log_rate_of(d)
    return log_scale, torch.zeros_like(log_scale)


@register_kl(Weibull, Weibull)
@register_kl(Weibull, ExponentialByRate)
@register_kl(ExponentialByRate, Weibull)
def _kl_weibull_weibull(q: Weibulls, p: Weibulls) -> Tensor:
    # Bauckhage 2013, as a sum of two terms that are each zero or more.
    (q_scale, q_concentration), (p_scale, p_concentration) = _logarithms(q), _logarithms(p)
    ratio = (p_concentration - q_concentration).exp()
    log_moment = times_exp(q_scale - p_scale, p_concentration) + torch.lgamma(1 + ratio)
    return excess(log_moment) + torch.lgamma(ratio) + _EULER * (ratio - 1)


@register_kl(Weibull, Gamma)
def _kl_weibull_gamma(q: Weibull, p: Gamma) -> Tensor:
    # Zhang et al. 2018, WHAI.
    root = (-q.log_concentration).exp()
    log_ratio = q.log_scale + p.rate.log()
    log_moment = log_ratio + torch.lgamma(1 + root)
    shape = torch.lgamma(p.concentration) + _EULER * (p.concentration * root - 1)
    return torch.expm1(log_moment) - p.concentration * log_ratio + shape + q.log_concentration
