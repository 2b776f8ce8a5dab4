"""The Poisson distribution by log-rate."""

from typing import Any

from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.distributions import Poisson as PoissonByRate

from lightning_vae.distributions.support import in_support, validates_values, zero_outside

__all__ = ["Poisson"]


class Poisson(PoissonByRate):
    r"""The Poisson distribution of counts, by log-rate.

    .. math:: \log p(x) = x \ell - e^\ell - \log x!

    By its logarithm, a rate too small for float32 has still a density and a gradient. Of what is no
    count the log-probability is −∞ (an error with ``validate_args=True``).

    Args:
        log_rate: :math:`\ell`, of any shape.

    >>> import torch
    >>> Poisson(torch.tensor([0.0, -200.0])).log_prob(torch.tensor([0.0, 1.0]))
    tensor([  -1., -200.])
    """

    arg_constraints = {"log_rate": constraints.real}  # noqa: RUF012

    def __init__(self, log_rate: Tensor, validate_args: bool | None = None) -> None:
        self.log_rate = log_rate
        Distribution.__init__(self, log_rate.shape, validate_args=validate_args)

    @property
    def rate(self) -> Tensor:  # type: ignore[override]
        return self.log_rate.exp()

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "Poisson":
        return Poisson(self.log_rate.expand(batch_shape), validates_values(self))

    def log_prob(self, value: Tensor) -> Tensor:
        inside = in_support(self, value)
        value = value.masked_fill(~inside, 0)
        return zero_outside(inside, value * self.log_rate - self.rate - (value + 1).lgamma())
