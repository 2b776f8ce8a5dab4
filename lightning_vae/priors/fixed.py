"""Priors without parameters."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from typing_extensions import Self

from lightning_vae.priors.prior import Prior

__all__ = ["Fixed"]


class Fixed(Prior, ABC):
    """A prior without parameters, which is made once and follows its module to a device and type."""

    def __init__(self) -> None:
        super().__init__()
        self._build(torch.zeros(()))

    @abstractmethod
    def made(self, like: Tensor) -> Distribution:
        """p(z) on the device and of the type of a tensor, whatever its value."""

    def _build(self, zero: Tensor) -> None:
        self._zero, self._distribution = zero, self.made(zero)

    def forward(self, **context: Any) -> Distribution:
        return self._distribution

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Self:
        # A buffer would do, but DDP broadcasts every buffer at every forward.
        self._build(fn(self._zero))
        super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        return self
