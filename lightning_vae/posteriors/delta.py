"""The Gaussian posterior of a family in which none is near the prior: each latent has a rate."""

import math

import torch
from scipy.special import lambertw
from torch import Tensor
from torch.distributions import Distribution

from lightning_vae.arguments import positive
from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.posteriors.posterior import Posterior

__all__ = ["DeltaGaussian", "spreads"]


def spreads(delta: float) -> tuple[float, float]:
    r"""The least and greatest variance of a centred normal whose rate from N(0, 1) is δ nats.

    .. math:: \tfrac12 (v - \log v - 1) = \delta

    >>> low, high = spreads(0.5)
    >>> [round(0.5 * (v - math.log(v) - 1), 12) for v in (low, high)]
    [0.5, 0.5]
    """
    below, above = (-lambertw(-math.exp(-1 - 2 * delta), branch).real for branch in (0, -1))
    return float(below), float(above)


class DeltaGaussian(Posterior):
    r"""A diagonal Gaussian whose every latent has a rate of δ nats at least (δ-VAE).

    .. math:: \sigma = \sigma_- + (\sigma_+ - \sigma_-)\, \mathrm{sigmoid}(h'), \qquad
              \mu = \sqrt{2\delta + 1 + \log\sigma^2 - \sigma^2 + \max(0, h)}

    Between :math:`\sigma_\pm`, where a centred normal's rate from N(0, 1) is δ, the rate is
    :math:`R_i = \delta + \tfrac12 \max(0, h_i)`. So it holds for any features, in training and
    after, from the standard normal prior.

    Args:
        delta: δ > 0, in nats a latent.

    Raises:
        ValueError: if delta is not positive.

    Features: two a latent; first every h, then every h′.

    Source: Razavi et al. 2019, "Preventing Posterior Collapse with delta-VAEs", section 2.

    >>> head = DeltaGaussian(delta=0.1)
    >>> q = head(torch.randn(16, head.features(20)))
    >>> rate = 0.5 * (q.loc.square() + q.variance - q.log_variance - 1)
    >>> round(rate.min().item(), 4)
    0.1
    """

    def __init__(self, delta: float) -> None:
        super().__init__()
        self.delta = positive("delta", delta, write="delta=0.1")
        self.low, self.high = (math.sqrt(variance) for variance in spreads(self.delta))

    def features(self, latent: int) -> int:
        return 2 * latent

    def forward(self, features: Tensor) -> Distribution:
        above, place = at_least_float32(features).chunk(2, dim=1)
        log_variance = 2 * torch.log(self.low + (self.high - self.low) * place.sigmoid())
        left = 2 * self.delta + 1 + log_variance - log_variance.exp()
        # At the ends nothing is left, and a root of it would have no finite slope.
        loc = (left.clamp(min=0.0) + above.clamp(min=0.0)).clamp(min=1e-12).sqrt()
        return DiagonalGaussian(loc, log_variance, validate_args=False)

    def extra_repr(self) -> str:
        return f"delta={self.delta}"
