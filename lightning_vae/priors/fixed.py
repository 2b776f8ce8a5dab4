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
        self._zero = torch.zeros(())
        self._distribution: Distribution | None = None

    @abstractmethod
    def made(self, like: Tensor) -> Distribution:
        """p(z) on the device and of the type of a tensor, whatever its value."""

    def forward(self, **context: Any) -> Distribution:
        if self._distribution is None:
            with torch.inference_mode(False):  # whose tensors could not be trained with later
                self._distribution = self.made(self._zero)
        return self._distribution

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Self:
        # A buffer would do, but DDP broadcasts every buffer at every forward.
        self._zero, self._distribution = fn(self._zero), None
        super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        return self
