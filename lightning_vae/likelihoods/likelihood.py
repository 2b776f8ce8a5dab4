"""What every decoder head is."""

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.distributions import Distribution

from lightning_vae.distributions.precision import at_least_float32

__all__ = ["Likelihood", "parameters"]


class Likelihood(nn.Module, ABC):
    """What a decoder ends in; its output has one element of batch shape for every element of x.

    For x of shape [B, C, ...] it takes features [B, features·C, ...]: the first C are the first
    parameter of every element, the next C the second. Every head says what its parameters are.
    """

    features: int = 1  # how many features it needs for one element of x

    @abstractmethod
    def forward(self, features: Tensor) -> Distribution:
        """p(x|z) from features [B, features·C, ...], its parameters in float32 at least."""


def parameters(features: Tensor, count: int) -> tuple[Tensor, ...]:
    """[B, count·C, ...] to as many of [B, C, ...], in float32 at least.

    Raises:
        ValueError: if the features are no multiple of the count.

    >>> import torch
    >>> [p.shape for p in parameters(torch.zeros(16, 6, 8, 8), 2)]
    [torch.Size([16, 3, 8, 8]), torch.Size([16, 3, 8, 8])]
    """
    if features.dim() < 2 or features.shape[1] % count or not features.shape[1]:
        raise ValueError(
            f"features have shape {tuple(features.shape)}, which does not split into {count} for "
            f"each element of x; give the decoder {count} times x's size in dimension 1."
        )
    return at_least_float32(features).chunk(count, dim=1)
