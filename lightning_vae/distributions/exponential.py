"""The exponential distribution by log-rate, and its divergence."""

from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints, register_kl
from torch.distributions import Exponential as ExponentialByRate

from lightning_vae.distributions.exponentials import excess, times_exp
from lightning_vae.distributions.gaussian import broadcast
from lightning_vae.distributions.support import in_support, validates_values, zero_outside

__all__ = ["Exponential"]


class Exponential(ExponentialByRate):
    r"""The exponential distribution, given by its log-rate.

    .. math:: \log q(z) = r - e^{r} z, \quad z \ge 0, \quad r = \log\lambda

    Any real number is a log-rate, so an encoder may give it as it is. Outside the support the
    log-density is −∞ (an error with ``validate_args=True``).

    Args:
        log_rate: :math:`r = \log\lambda`, of any shape.

    Source: Johnson, Kotz & Balakrishnan 1994, chapter 19.

    >>> q = Exponential(torch.tensor([0.0, 100.0]))
    >>> q.log_prob(torch.tensor([1.0, 0.0])), q.mean
    (tensor([ -1., 100.]), tensor([1.0000e+00, 3.7835e-44]))
    """

    arg_constraints = {"log_rate": constraints.real}  # noqa: RUF012

    def __init__(self, log_rate: Tensor | float, validate_args: bool | None = None) -> None:
        self.log_rate, _ = broadcast(log_rate, 0.0)
        Distribution.__init__(self, self.log_rate.shape, validate_args=validate_args)

    @property
    def rate(self) -> Tensor:  # type: ignore[override]
        return self.log_rate.exp()

    @property
    def mean(self) -> Tensor:
        return (-self.log_rate).exp()

    @property
    def stddev(self) -> Tensor:
        return self.mean

    @property
    def variance(self) -> Tensor:
        return (-2 * self.log_rate).exp()

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "Exponential":
        return Exponential(self.log_rate.expand(batch_shape), validates_values(self))

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        noise = self.log_rate.new_empty(self._extended_shape(sample_shape)).exponential_()
        return times_exp(noise, -self.log_rate)

    def log_prob(self, value: Tensor) -> Tensor:
        inside = in_support(self, value) & (value != torch.inf)
        value = value.masked_fill(~inside, 0.0)
        return zero_outside(inside, self.log_rate - times_exp(value, self.log_rate))

    def cdf(self, value: Tensor) -> Tensor:
        return -torch.expm1(-times_exp(value.clamp(min=0.0), self.log_rate))

    def icdf(self, value: Tensor) -> Tensor:
        return times_exp(-torch.log1p(-value), -self.log_rate)

    def entropy(self) -> Tensor:
        return 1 - self.log_rate


def log_rate_of(exponential: ExponentialByRate) -> Tensor:
    """The log-rate, of torch's own exponential too."""
    if isinstance(exponential, Exponential):
        return exponential.log_rate
    return exponential.rate.log()


@register_kl(Exponential, Exponential)
@register_kl(Exponential, ExponentialByRate)
@register_kl(ExponentialByRate, Exponential)
def _kl_exponential_exponential(q: ExponentialByRate, p: ExponentialByRate) -> Tensor:
    return excess(log_rate_of(p) - log_rate_of(q))
