"""A floor under a scale that is learned, for a density has no upper bound without one."""

import math
import warnings
from abc import ABC, abstractmethod

from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import Self, override

from lightning_vae.arguments import positive
from lightning_vae.likelihoods.likelihood import Likelihood

__all__ = ["OneScale", "at_floor", "log_scale_above"]


def log_scale_above(floor: float, raw: Tensor) -> Tensor:
    r"""A log-scale that stays above a floor, and keeps a gradient there.

    .. math:: \log\sigma = \log f + \log\left(1 + e^{r - \log f}\right)

    Far above the floor log σ = r; at r = log f it is log 2 above.

    Source: Rybkin, Daniilidis & Levine 2021 (σ-VAE), code.

    >>> import torch
    >>> log_scale_above(0.01, torch.tensor([-100.0, 2.0])).exp()
    tensor([0.0100, 7.3991])
    """
    low = math.log(floor)
    return low + softplus(raw - low)


def at_floor(scale: Tensor, floor: float) -> Tensor:
    """Where a scale lies within a hundredth of its floor, elementwise.

    >>> import torch
    >>> at_floor(torch.tensor([0.01, 0.5]), floor=0.01)
    tensor([ True, False])
    """
    return scale <= 1.01 * floor


class OneScale(Likelihood, ABC):
    """A head with one scale for all of x, which it finds out itself and keeps above a floor.

    With as many latents as x has dimensions the optimum is a scale of zero, and an infinite rate:
    the floor holds it, ``at_floor`` tells, and the end of training mode warns.
    """

    def __init__(self, floor: float) -> None:
        super().__init__()
        self.floor = positive("floor", floor)

    @property
    @abstractmethod
    def scale(self) -> Tensor:
        """σ, a scalar."""

    @property
    def at_floor(self) -> Tensor:
        """Whether the scale is held by its floor: a boolean scalar, on the device."""
        return at_floor(self.scale, self.floor)

    @override
    def train(self, mode: bool = True) -> Self:
        if self.training and not mode and self.at_floor.item():
            warnings.warn(
                f"The scale of {type(self).__name__} is held at its floor of {self.floor}: the "
                f"decoder is all but exact, and the rate grows without end. Give it fewer latents, "
                f"or a floor at the precision of the data.",
                stacklevel=2,
            )
        return super().train(mode)

    def extra_repr(self) -> str:
        return f"floor={self.floor}"
