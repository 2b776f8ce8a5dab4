"""The Laplace likelihood with a fixed scale."""

from torch import Tensor
from torch.distributions import Distribution
from torch.distributions import Laplace as LaplaceDistribution

from lightning_vae.arguments import positive
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.likelihoods.likelihood import Likelihood

__all__ = ["Laplace"]


class Laplace(Likelihood):
    r"""The Laplace likelihood with a fixed scale: absolute error, with its constant.

    .. math:: -\log p(x|z) = \frac{\|x-\mu\|_1}{b} + D \log 2b

    Args:
        scale: b > 0, in the units of x.

    Features: one, μ.

    >>> import torch
    >>> Laplace(scale=1.0)(torch.zeros(1, 1)).log_prob(torch.ones(1, 1))
    tensor([[-1.6931]])
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = positive("scale", scale)

    def forward(self, features: Tensor) -> Distribution:
        return LaplaceDistribution(at_least_float32(features), self.scale, validate_args=False)

    def extra_repr(self) -> str:
        return f"scale={self.scale}"
