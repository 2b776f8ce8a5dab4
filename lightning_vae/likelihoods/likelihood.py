"""What every decoder head is."""

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.distributions import Distribution

__all__ = ["Likelihood", "positive"]


class Likelihood(nn.Module, ABC):
    """What a decoder ends in; its output has one element of batch shape for every element of x."""

    features: int = 1  # how many features it needs for one element of x

    @abstractmethod
    def forward(self, features: Tensor) -> Distribution:
        """p(x|z) from features [B, C·features, ...], its parameters in float32 at least."""


def positive(name: str, value: float) -> float:
    """A scale as it is; anything but a positive finite number is refused by name."""
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a positive finite number, got {value}; write {name}=1.0.")
    return float(value)
