"""The Poisson distribution by log-rate."""

from typing import Any

from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.distributions import Poisson as PoissonByRate

__all__ = ["Poisson"]


class Poisson(PoissonByRate):
    r"""The Poisson distribution of counts, by log-rate.

    .. math:: \log p(x) = x \ell - e^\ell - \log x!

    By its logarithm, a rate too small for float32 has still a density and a gradient.

    Args:
        log_rate: :math:`\ell`, of any shape.

    Raises:
        ValueError: if ``validate_args`` is on and a value is no count.

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
        return Poisson(self.log_rate.expand(batch_shape), validate_args=self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return value * self.log_rate - self.rate - (value + 1).lgamma()
