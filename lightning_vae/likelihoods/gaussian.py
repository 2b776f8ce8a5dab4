"""The Gaussian likelihood with a fixed scale."""

from torch import Tensor
from torch.distributions import Distribution
from torch.distributions import Normal as NormalDistribution

from lightning_vae.arguments import positive
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.likelihoods.likelihood import Likelihood

__all__ = ["Gaussian"]


class Gaussian(Likelihood):
    r"""The Gaussian likelihood with a fixed scale.

    .. math:: -\log p(x|z) = \frac{\|x-\mu\|^2}{2\sigma^2} + \frac D2 \log 2\pi\sigma^2

    The scale weighs distortion against rate: β at scale σ is the same optimum as 1 at √β·σ. The
    summed squared error of other code is this at ``scale=0.5**0.5``, less its constant.

    Args:
        scale: σ > 0, in the units of x.

    Features: one, μ.

    Source: Lucas et al. 2019, "Don't Blame the ELBO!", section 4.

    >>> import torch
    >>> Gaussian(scale=0.5)(torch.zeros(1, 1)).log_prob(torch.zeros(1, 1))
    tensor([[-0.2258]])
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = positive("scale", scale)

    def forward(self, features: Tensor) -> Distribution:
        return NormalDistribution(at_least_float32(features), self.scale, validate_args=False)

    def extra_repr(self) -> str:
        return f"scale={self.scale}"
