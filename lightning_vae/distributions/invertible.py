"""Normalising flows whose layers are known in both directions."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.distributions.support import in_support, validates_values, zero_outside

__all__ = ["Bijection", "InvertibleFlow"]


class Bijection(Protocol):
    """A layer of a flow, both ways: each gives log |det J| of its own direction, in nats."""

    def __call__(self, x: Tensor, /) -> tuple[Tensor, Tensor]:
        """[..., d] to y of that shape, and log |det dy/dx|, [...]."""

    def inverse(self, y: Tensor, /) -> tuple[Tensor, Tensor]:
        """[..., d] to x of that shape, and log |det dx/dy|, [...]."""


class InvertibleFlow(Distribution):
    r"""A simple distribution sent through bijections, whose density is exact at any point.

    .. math:: \log p(z) = \log p_0\bigl(f^{-1}(z)\bigr)
              + \log\left|\det \frac{\partial f^{-1}(z)}{\partial z}\right|,
              \quad f = f_L \circ \dots \circ f_1

    torch's ``TransformedDistribution`` would run a layer's network twice, once for the value and
    once for the determinant; here a layer gives both. Sums are in float32 at least, and in nats.

    Args:
        base: :math:`p_0`, elementwise, of batch shape [\*batch, d].
        layers: :math:`f_1, \dots, f_L`, each of which takes and gives vectors [..., d].
        event_shape: The shape that a vector is given at the end, of d elements; [d] by default.

    Raises:
        ValueError: if the event has not d elements.

    Source: Rezende & Mohamed 2015, equation 5; Dinh et al. 2017, section 3.1.

    >>> import torch
    >>> from lightning_vae.distributions import StandardGaussian
    >>> class Double:
    ...     def __call__(self, x):
    ...         return 2 * x, x.new_full(x.shape[:-1], x.shape[-1] * 0.6931)
    ...
    ...     def inverse(self, y):
    ...         return y / 2, y.new_full(y.shape[:-1], y.shape[-1] * -0.6931)
    >>> p = InvertibleFlow(StandardGaussian((3,)), [Double()])
    >>> p.log_prob(torch.zeros(3)), p.sample((5,)).shape
    (tensor(-4.8361), torch.Size([5, 3]))
    """

    arg_constraints = {}  # noqa: RUF012
    has_rsample = True

    def __init__(
        self,
        base: Distribution,
        layers: Sequence[Bijection],
        event_shape: Sequence[int] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        *batch, size = base.batch_shape
        event = Size([size] if event_shape is None else event_shape)
        if event.numel() != size:
            raise ValueError(
                f"event_shape {tuple(event)} has {event.numel()} elements but base has {size}."
            )
        self.base, self.layers = base, tuple(layers)
        super().__init__(Size(batch), event, validate_args=validate_args)

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "InvertibleFlow":
        base = self.base.expand(Size(batch_shape) + self.base.batch_shape[-1:])
        return InvertibleFlow(base, self.layers, self.event_shape, validates_values(self))

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        x = self.base.rsample(Size(sample_shape))
        for layer in self.layers:
            x, _ = layer(x)
        return x.reshape(*x.shape[:-1], *self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        events = tuple(range(-len(self.event_shape), 0))
        inside = in_support(self, value) & value.isfinite().all(events)
        x = torch.where(value.isfinite(), value, 0.0).flatten(-len(self.event_shape))
        log_determinants = []
        for layer in reversed(self.layers):
            x, log_determinant = layer.inverse(x)
            log_determinants.append(log_determinant)
        log_base = self.base.log_prob(at_least_float32(x)).sum(-1)
        return zero_outside(inside, sum(map(at_least_float32, log_determinants), start=log_base))
