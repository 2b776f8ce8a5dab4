"""The posterior of nearly every VAE: a diagonal Gaussian."""

from torch import Tensor
from torch.distributions import Distribution

from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.posteriors.posterior import Posterior

__all__ = ["Gaussian"]


class Gaussian(Posterior):
    r"""The diagonal Gaussian posterior.

    .. math:: q(z|x) = N\bigl(z;\, \mu(x),\, \operatorname{diag} e^{s(x)}\bigr)

    Features: two a latent; first every μ, then every s = log σ².

    Source: Kingma & Welling 2014, appendix C.2.

    >>> import torch
    >>> Gaussian()(torch.zeros(16, Gaussian().features(20))).batch_shape
    torch.Size([16, 20])
    """

    def features(self, latent: int) -> int:
        return 2 * latent

    def forward(self, features: Tensor) -> Distribution:
        loc, log_variance = features.chunk(2, dim=1)
        return DiagonalGaussian(loc, log_variance, validate_args=False)
