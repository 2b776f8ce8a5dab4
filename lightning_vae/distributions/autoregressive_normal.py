"""A stationary normal sequence, each element given the one before it, and its divergence."""

import math
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Normal, constraints, register_kl

from lightning_vae.distributions.exponentials import excess
from lightning_vae.distributions.gaussian import log_variance_of, standardised
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.distributions.support import validates_values

__all__ = ["AutoregressiveNormal"]

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class AutoregressiveNormal(Distribution):
    r"""A sequence in which every element is correlated with the one before: AR(1), stationary.

    .. math:: z_1 \sim N(0, 1), \qquad z_t \sim N\bigl(\alpha z_{t-1},\ 1 - \alpha^2\bigr)

    Every element by itself is standard normal; the correlation of two is :math:`\alpha^{|s-t|}`.

    Args:
        correlation: α in (-1, 1), of every channel of a sequence: a number, or [\*channels].
        steps: n, the length of a sequence; events have shape [n, \*channels].

    Raises:
        ValueError: if arguments are validated and α is not in (-1, 1).

    Source: Razavi et al. 2019, "Preventing Posterior Collapse with delta-VAEs", section 2.1.

    >>> p = AutoregressiveNormal(torch.tensor([0.9, 0.5]), steps=8)
    >>> p.rsample((16,)).shape, p.log_prob(torch.zeros(16, 8, 2)).shape
    (torch.Size([16, 8, 2]), torch.Size([16]))
    """

    arg_constraints = {"correlation": constraints.interval(-1.0, 1.0)}  # noqa: RUF012
    has_rsample = True

    def __init__(
        self, correlation: Tensor | float, steps: int, validate_args: bool | None = None
    ) -> None:
        self.correlation = torch.as_tensor(correlation)
        super().__init__(Size(), Size([steps]) + self.correlation.shape, validate_args)
        if self._validate_args and not bool((self.correlation.abs() < 1).all()):
            raise ValueError(f"correlation must be in (-1, 1), got {self.correlation}.")

    @property
    def support(self) -> constraints.Constraint:
        real: constraints.Constraint = constraints.independent(
            constraints.real, len(self.event_shape)
        )
        return real

    @property
    def log_variance(self) -> Tensor:
        """Of every element given the one before it, [n, *channels]: 0 for the first."""
        given = torch.log1p(-self.correlation.square()).expand(self.event_shape)
        return torch.cat([torch.zeros_like(given[:1]), given[1:]])

    def predicted(self, z: Tensor) -> Tensor:
        """The mean of every element given the one before it, 0 for the first: z's shape."""
        axis = -len(self.event_shape)
        before = z.narrow(axis, 0, z.shape[axis] - 1)
        return torch.cat([torch.zeros_like(z.narrow(axis, 0, 1)), self.correlation * before], axis)

    @property
    def mean(self) -> Tensor:
        return self.correlation.new_zeros(self.event_shape)

    @property
    def variance(self) -> Tensor:
        return self.correlation.new_ones(self.event_shape)

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> Distribution:
        if not Size(batch_shape):
            return self
        raise NotImplementedError("AutoregressiveNormal is a prior: it has no batch shape.")

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        alpha, shape = self.correlation, self._extended_shape(sample_shape)
        noise = torch.randn(shape, dtype=alpha.dtype, device=alpha.device)
        first, *others = (noise * (0.5 * self.log_variance).exp()).unbind(-len(self.event_shape))
        z = [first]
        for fresh in others:
            z.append(alpha * z[-1] + fresh)
        return torch.stack(z, -len(self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if validates_values(self):
            self._validate_sample(value)
        z = at_least_float32(value)
        inside = z.isfinite().flatten(-len(self.event_shape)).all(-1)
        z = torch.where(z.isfinite(), z, 0.0)
        distance = standardised(z - self.predicted(z), self.log_variance)
        each = 0.5 * (distance.square() + self.log_variance) + _HALF_LOG_TWO_PI
        return (-each.flatten(-len(self.event_shape)).sum(-1)).masked_fill(~inside, -torch.inf)

    def entropy(self) -> Tensor:
        return (0.5 + _HALF_LOG_TWO_PI + 0.5 * self.log_variance).sum()


@register_kl(Normal, AutoregressiveNormal)
def _kl_normal_autoregressive(q: Normal, p: AutoregressiveNormal) -> Tensor:
    r"""By the chain rule, element by element: that from :math:`N(\alpha\mu_{t-1}, 1-\alpha^2)`, and
    what the variance of the element before adds to the distance."""
    loc, log_variance = at_least_float32(q.loc), at_least_float32(log_variance_of(q))
    distance = standardised(loc - p.predicted(loc), p.log_variance)
    spread = standardised(p.predicted((0.5 * log_variance).exp()), p.log_variance)
    return 0.5 * (excess(log_variance - p.log_variance) + distance.square() + spread.square())
