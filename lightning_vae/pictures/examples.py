"""Examples to draw, with the context that goes with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["Examples"]


@dataclass(frozen=True)
class Examples:
    """Examples and their context, what encode and decode are given besides; and their labels.

    >>> examples = Examples(torch.arange(3), {"label": torch.tensor([5, 6, 7]), "beta": 4.0})
    >>> examples.take([2, 2]).context
    {'label': tensor([7, 7]), 'beta': 4.0}
    """

    x: Tensor  # [N, ...]
    context: Mapping[str, Any] = field(default_factory=dict)
    labels: Tensor | None = None  # [N, ...]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Sequence[int]) -> "Examples":
        """Those at these places, in this order; what is not one an example stays as it is."""
        places = torch.tensor(index, device=self.x.device)

        def chosen(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {name: chosen(each) for name, each in value.items()}
            per_example = isinstance(value, Tensor) and value.dim() and len(value) == len(self)
            return value[places.to(value.device)] if per_example else value

        return Examples(self.x[places], chosen(self.context), chosen(self.labels))

    def cycled(self, n: int) -> "Examples":
        """n examples, beginning again where these end."""
        return self.take([i % len(self) for i in range(n)])

    def repeated(self, times: int) -> "Examples":
        """Each so many times, one after another."""
        return self.take([i for i in range(len(self)) for _ in range(times)])

    def __add__(self, other: "Examples") -> "Examples":
        def both(first: Any, second: Any) -> Any:
            if isinstance(first, Mapping):
                return {name: both(value, second[name]) for name, value in first.items()}
            if isinstance(first, Tensor) and first.dim() and len(first) == len(self):
                return torch.cat([first, second])
            return first

        return Examples(
            torch.cat([self.x, other.x]),
            both(self.context, other.context),
            both(self.labels, other.labels),
        )
