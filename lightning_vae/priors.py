"""Priors: modules that return p(z), a distribution over one example's latents."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any, cast

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, Independent
from typing_extensions import Self

from lightning_vae.distributions import StandardGaussian

__all__ = ["Prior", "Product", "StandardNormal", "as_prior", "standard_normal", "standard_shapes"]


class Prior(nn.Module, ABC):
    """A module that returns p(z): a distribution with no batch shape and z's shape as its event."""

    @abstractmethod
    def forward(self, **context: Any) -> Distribution | tuple[Distribution, ...]:
        """p(z), or one p(z_g) a group.

        A conditional prior p(z|c) takes c from the context and has the batch as its batch shape.
        """


class StandardNormal(Prior):
    r"""The standard normal prior, :math:`p(z) = N(0, I)`.

    Args:
        shape: The latent shape of one example: ``20``, or ``(4, 8, 8)``.

    Raises:
        ValueError: if a size is not a positive whole number.

    Source: Kingma & Welling 2014, section 3.

    >>> StandardNormal(20)().sample((16,)).shape
    torch.Size([16, 20])
    """

    def __init__(self, shape: int | Sequence[int]) -> None:
        super().__init__()
        sizes = tuple(shape) if isinstance(shape, Sequence) else (shape,)
        if not all(isinstance(size, Integral) and size is not True and size > 0 for size in sizes):
            raise ValueError(f"shape must be positive whole numbers, got {shape}; write 20.")
        self.shape = Size(sizes)
        self._build(torch.zeros(()))

    def _build(self, zero: Tensor) -> None:
        self._zero = zero
        normal = StandardGaussian(self.shape, like=zero)
        self._distribution = Independent(normal, len(self.shape), validate_args=False)

    def forward(self, **context: Any) -> Distribution:
        return self._distribution

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Self:
        # A buffer would do, but DDP broadcasts every buffer at every forward.
        self._build(fn(self._zero))
        super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        return self

    def extra_repr(self) -> str:
        return ", ".join(str(size) for size in self.shape)


class Product(Prior):
    r"""Independent priors, one a latent space: :math:`p(z_1, z_2) = p(z_1)\,p(z_2)`.

    Args:
        priors: One prior for every group that ``encode`` returns, in its order.

    >>> [p.event_shape for p in Product(StandardNormal(2), StandardNormal((4, 8)))()]
    [torch.Size([2]), torch.Size([4, 8])]
    """

    def __init__(self, *priors: Prior) -> None:
        super().__init__()
        self.groups = nn.ModuleList(priors)

    def forward(self, **context: Any) -> tuple[Distribution, ...]:
        return tuple(prior(**context) for prior in self.groups)


def as_prior(prior: Prior | Sequence[Prior] | None) -> Prior | None:
    """A prior as it is, and a sequence as their product.

    Raises:
        TypeError: if it, or one of them, is no module.

    >>> as_prior([StandardNormal(2), StandardNormal(3)]).groups[1]
    StandardNormal(3)
    """
    if isinstance(prior, list | tuple):
        return Product(*map(_checked, prior))
    return None if prior is None else _checked(prior)


def _checked(prior: object) -> Prior:
    if not isinstance(prior, nn.Module):
        raise TypeError(
            f"prior must be a module that returns a distribution, got {prior!r}; "
            f"write prior=StandardNormal(20)."
        )
    return cast(Prior, prior)


def standard_normal(shapes: Iterable[Sequence[int]]) -> Prior:
    """The standard normal prior over one latent space, or several."""
    priors = [StandardNormal(shape) for shape in shapes]
    return priors[0] if len(priors) == 1 else Product(*priors)


def standard_shapes(prior: Prior | None) -> list[list[int]] | None:
    """The shapes that :func:`standard_normal` would make this prior of; None if it is another.

    >>> standard_shapes(standard_normal([(2,), (4, 8)]))
    [[2], [4, 8]]
    """
    groups = list(prior.groups) if isinstance(prior, Product) else [prior]
    if not all(type(group) is StandardNormal for group in groups):
        return None
    return [list(group.shape) for group in groups if isinstance(group, StandardNormal)]
