"""The Gaussian likelihood with one learned scale."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.likelihoods.floors import OneScale, log_scale_above

__all__ = ["LearnedGaussian"]


class LearnedGaussian(OneScale):
    r"""The Gaussian likelihood with one scale for all of x, a parameter of the model.

    .. math:: -\log p(x|z) = \frac{\|x-\mu\|^2}{2\sigma^2} + \frac D2 \log 2\pi\sigma^2

    Its optimum is that of :class:`OptimalGaussian`, which gets there at once. On linear-Gaussian
    data σ² is the mean of the eigenvalues for which there is no latent. It starts at 1 + floor.

    Args:
        floor: The scale that σ stays above, in the units of x; e⁻⁶ by default.

    Features: one, μ.

    Source: Rybkin, Daniilidis & Levine 2021 (σ-VAE), section 3.1.

    >>> head = LearnedGaussian()
    >>> round(head.scale.item(), 4)
    1.0025
    """

    def __init__(self, floor: float = 0.0025) -> None:
        super().__init__(floor)
        self.log_scale = nn.Parameter(torch.zeros(()))

    @property
    def scale(self) -> Tensor:
        return self._log_scale().exp()

    def forward(self, features: Tensor) -> Distribution:
        loc = at_least_float32(features)
        return DiagonalGaussian(loc, 2 * self._log_scale(), validate_args=False)

    def _log_scale(self) -> Tensor:
        return log_scale_above(self.floor, at_least_float32(self.log_scale))
