"""The Gaussian likelihood with a scale for every element."""

from torch import Tensor
from torch.distributions import Distribution

from lightning_vae.arguments import positive
from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.likelihoods.floors import log_scale_above
from lightning_vae.likelihoods.likelihood import Likelihood, parameters

__all__ = ["HeteroscedasticGaussian"]


class HeteroscedasticGaussian(Likelihood):
    r"""The Gaussian likelihood whose decoder gives every element its own scale.

    .. math:: -\log p(x|z) = \tfrac12 \sum_i \left[\frac{(x_i-\mu_i)^2}{\sigma_i^2} +
              \log 2\pi\sigma_i^2\right]

    A pixel that never changes would have σ = 0 and an infinite density: the floor bounds what one
    element can gain. ``at_floor(likelihood.scale, head.floor)`` shows where it holds.

    Args:
        floor: The scale that every σ stays above, in the units of x; e⁻⁶ by default.

    Features: two, μ and log σ (before the floor).

    Source: Kingma & Welling 2014, appendix C.2; the floor: Rybkin et al. 2021.

    >>> import torch
    >>> p = HeteroscedasticGaussian()(torch.tensor([[1.0, 2.0, -100.0, 0.0]]))
    >>> p.mean, p.stddev
    (tensor([[1., 2.]]), tensor([[0.0025, 1.0025]]))
    """

    features = 2

    def __init__(self, floor: float = 0.0025) -> None:
        super().__init__()
        self.floor = positive("floor", floor)

    def forward(self, features: Tensor) -> Distribution:
        loc, raw = parameters(features, 2)
        return DiagonalGaussian(loc, 2 * log_scale_above(self.floor, raw), validate_args=False)

    def extra_repr(self) -> str:
        return f"floor={self.floor}"
