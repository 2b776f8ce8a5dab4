"""Layers in a row, of whole positive widths, with a ReLU between."""

from itertools import pairwise

from torch import Tensor, nn

__all__ = ["linears", "through"]


def linears(*widths: int) -> nn.ModuleList:
    """Linear layers from each width to the next."""
    return nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))


def through(layers: nn.ModuleList, x: Tensor) -> Tensor:
    """Layer after layer with a ReLU between, none after the last."""
    *hidden, last = layers
    for layer in hidden:
        x = layer(x).relu_()  # in place: no layer needs its own output to go backwards
    features: Tensor = last(x)
    return features
