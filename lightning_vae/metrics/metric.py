"""What every metric of a VAE is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import Self, override

from lightning_vae.latents import VAEOutput

__all__ = ["OutputMetric"]


class OutputMetric(Metric, ABC):
    """A metric of what a forward pass yields: ``update(output)`` takes a :class:`VAEOutput`.

    Several groups of latents count as one long vector; ``group`` picks one of them. States keep
    their precision wherever the metric is moved, so that a sum is exact in a module in bfloat16.
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better: bool | None = None
    plot_lower_bound: float | None = 0.0

    def __init__(self, group: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.group = group

    @abstractmethod
    def update(self, output: VAEOutput) -> None:
        """Take a batch's output in."""

    @override
    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw the value, or a sequence of them over time; returns a figure and its axes."""
        return self._plot(val, ax)

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Self:
        def move(state: Tensor) -> Tensor:
            return state.to(fn(torch.empty(0, device=state.device)).device)

        super()._apply(move, exclude_state)
        return self
