"""The uniform distribution on the sphere."""

import math
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints, register_kl
from torch.nn.functional import normalize

from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.distributions.support import in_support, validates_values, zero_outside

__all__ = ["HypersphericalUniform", "unit_vector"]


class _UnitVector(constraints.Constraint):
    """Unit vectors along the last dimension, within half the digits of their type."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        error: Tensor = (torch.linalg.vector_norm(at_least_float32(value), dim=-1) - 1).abs()
        # Of the float32 that a float64 may have been made of, too.
        digits = max(torch.finfo(value.dtype).eps, torch.finfo(torch.float32).eps)
        within: Tensor = error < digits**0.5
        return within

    def __repr__(self) -> str:
        return "unit vectors, as torch.nn.functional.normalize(loc, dim=-1) makes them"


unit_vector = _UnitVector()


class HypersphericalUniform(Distribution):
    r"""The uniform distribution on the sphere of unit vectors in d dimensions.

    .. math:: \log p(z) = -\log |S^{d-1}| = \log\Gamma(\tfrac d2) - \log 2 - \tfrac d2 \log\pi

    The density is with respect to the surface, and −∞ off it (an error with
    ``validate_args=True``).

    Args:
        dim: d, the length of the vectors; 2 or more.
        batch_shape: How many, independently.
        like: A tensor whose device and dtype the distribution takes.

    Raises:
        ValueError: if ``dim`` is below 2.

    Source: Davidson et al. 2018, section 3.2.

    >>> p = HypersphericalUniform(3)
    >>> p.log_prob(torch.tensor([0.0, 0.0, 1.0])), p.sample().shape
    (tensor(-2.5310), torch.Size([3]))
    """

    arg_constraints = {}  # noqa: RUF012
    support = unit_vector
    has_rsample = True

    def __init__(
        self,
        dim: int,
        batch_shape: Size | list[int] | tuple[int, ...] = (),
        like: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.dim = at_least_two("dim", dim)
        self._zero = torch.zeros(()) if like is None else like.new_zeros(())
        super().__init__(Size(batch_shape), Size([dim]), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self._zero.expand(self._extended_shape())

    @property
    def variance(self) -> Tensor:
        return (self._zero + 1 / self.dim).expand(self._extended_shape())

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "HypersphericalUniform":
        shape = self._zero.expand(self._batch_shape).expand(batch_shape).shape
        return HypersphericalUniform(self.dim, shape, self._zero, validates_values(self))

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return normalize(
            torch.randn(shape, dtype=self._zero.dtype, device=self._zero.device), dim=-1
        )

    def log_prob(self, value: Tensor) -> Tensor:
        inside = in_support(self, value)
        log_density = self._zero - log_area(self.dim)
        shape = torch.broadcast_shapes(inside.shape, self._batch_shape)
        return zero_outside(inside, log_density.expand(shape))

    def entropy(self) -> Tensor:
        return (self._zero + log_area(self.dim)).expand(self._batch_shape)


def at_least_two(name: str, dim: int) -> int:
    """The number of dimensions of a sphere's vectors, checked."""
    if dim < 2:
        raise ValueError(f"{name} must be 2 or more for directions to turn, got {dim}.")
    return dim


def log_area(dim: int) -> float:
    """The logarithm of the sphere's surface."""
    return math.log(2) + 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim)


@register_kl(HypersphericalUniform, HypersphericalUniform)
def _kl_uniform_uniform(q: HypersphericalUniform, p: HypersphericalUniform) -> Tensor:
    return q._zero.expand(torch.broadcast_shapes(q.batch_shape, p.batch_shape))
