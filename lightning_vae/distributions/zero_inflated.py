"""Counts with more zeros than their distribution has."""

from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid

from lightning_vae.distributions.support import in_support, validates_values, zero_outside

__all__ = ["ZeroInflated"]


class ZeroInflated(Distribution):
    r"""A distribution of counts that drops to zero with probability :math:`\pi`.

    .. math:: p(x) = \pi\,[x = 0] + (1 - \pi)\, p_\text{base}(x), \quad \pi = \sigma(\ell)

    Of what is no count the log-probability is −∞ (an error with ``validate_args=True``).

    Args:
        base: A distribution of counts, elementwise over its batch shape.
        logits: :math:`\ell`, in the base's batch shape.

    Raises:
        ValueError: if the shapes differ.

    Source: Lopez et al. 2018 (scVI), methods.

    >>> from torch.distributions import Poisson
    >>> p = ZeroInflated(Poisson(torch.ones(1)), torch.zeros(1))
    >>> p.log_prob(torch.zeros(1)).exp(), p.mean
    (tensor([0.6839]), tensor([0.5000]))
    """

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012
    support = constraints.nonnegative_integer

    def __init__(
        self, base: Distribution, logits: Tensor, validate_args: bool | None = None
    ) -> None:
        if logits.shape != base.batch_shape or base.event_shape:
            raise ValueError(
                f"logits must have the base's shape {tuple(base.batch_shape + base.event_shape)}, "
                f"got {tuple(logits.shape)}."
            )
        self.base, self.logits = base, logits
        super().__init__(base.batch_shape, validate_args=validate_args)

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "ZeroInflated":
        base: Any = self.base
        return ZeroInflated(
            base.expand(batch_shape), self.logits.expand(batch_shape), validates_values(self)
        )

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(-self.logits) * self.base.mean

    @property
    def variance(self) -> Tensor:
        dropped = torch.sigmoid(self.logits)
        return (1 - dropped) * (self.base.variance + dropped * self.base.mean.square())

    def log_prob(self, value: Tensor) -> Tensor:
        inside = in_support(self, value)
        value = value.masked_fill(~inside, 0)
        counted = logsigmoid(-self.logits) + self.base.log_prob(value)
        inflated = torch.logaddexp(logsigmoid(self.logits), counted)
        return zero_outside(inside, torch.where(value == 0, inflated, counted))

    @torch.no_grad()
    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        counts = self.base.sample(Size(sample_shape))
        kept = torch.rand_like(counts) < torch.sigmoid(-self.logits)
        return torch.where(kept, counts, torch.zeros_like(counts))
