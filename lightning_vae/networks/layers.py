"""Layers in a row, of whole positive widths, with a ReLU between."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

__all__ = ["linears", "through", "widths"]


def widths(name: str, widths: Sequence[int]) -> tuple[int, ...]:
    """Widths as a tuple; a single number is refused by name."""
    if isinstance(widths, int):
        raise TypeError(f"{name} must be a sequence, got {widths}; write {name}=({widths},).")
    return tuple(widths)


def linears(*widths: int) -> nn.ModuleList:
    """Linear layers from each width to the next."""
    if not all(isinstance(width, int) and width > 0 for width in widths):
        raise ValueError(
            f"latent, hidden and shape must be positive whole numbers, got layers of {widths}."
        )
    return nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))


def through(layers: nn.ModuleList, x: Tensor) -> Tensor:
    """Layer after layer with a ReLU between, none after the last."""
    *hidden, last = layers
    for layer in hidden:
        x = layer(x).relu_()  # in place: no layer needs its own output to go backwards
    features: Tensor = last(x)
    return features
