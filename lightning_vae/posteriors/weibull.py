"""The posterior of positive latents: a Weibull distribution for each."""

from torch import Tensor
from torch.distributions import Distribution

from lightning_vae import distributions
from lightning_vae.posteriors.posterior import Posterior

__all__ = ["Weibull"]


class Weibull(Posterior):
    r"""The Weibull posterior, of latents that are positive: parts that add up.

    .. math:: z = \lambda(x)\, \bigl(-\log(1 - u)\bigr)^{1 / k(x)}, \quad u \sim U(0, 1)

    Its prior is ``priors.Weibull(latent)``, which at its defaults is Exp(1), the paper's.

    Features: two a latent; first every log λ, then every log k.

    Source: Squires, Prügel-Bennett & Niranjan 2019, "A Variational Autoencoder for Probabilistic
    Non-Negative Matrix Factorisation".

    >>> import torch
    >>> q = Weibull()(torch.zeros(16, Weibull().features(20)))
    >>> q.mean[0, 0], bool((q.rsample() > 0).all())
    (tensor(1.), True)
    """

    def features(self, latent: int) -> int:
        return 2 * latent

    def forward(self, features: Tensor) -> Distribution:
        log_scale, log_concentration = features.chunk(2, dim=1)
        return distributions.Weibull(log_scale, log_concentration, validate_args=False)
