"""The posterior of positive latents with one parameter each: an exponential distribution."""

from torch import Tensor
from torch.distributions import Distribution

from lightning_vae import distributions
from lightning_vae.posteriors.posterior import Posterior

__all__ = ["Exponential"]


class Exponential(Posterior):
    r"""The exponential posterior, of latents that are positive and mostly small.

    .. math:: q(z|x) = \textstyle\prod_d \lambda_d(x)\, e^{-\lambda_d(x)\, z_d}, \quad z \ge 0

    Its prior is ``priors.Weibull(latent)``, which at its defaults is Exp(1); the rate is closed, in
    nats for every latent.

    Features: one a latent, log λ.

    Source: Squires, Prügel-Bennett & Niranjan 2019, "A Variational Autoencoder for Probabilistic
    Non-Negative Matrix Factorisation", for the Weibull that it is a case of.

    >>> import torch
    >>> q = Exponential()(torch.zeros(16, Exponential().features(20)))
    >>> q.mean[0, 0], bool((q.rsample() >= 0).all())
    (tensor(1.), True)
    """

    def features(self, latent: int) -> int:
        return latent

    def forward(self, features: Tensor) -> Distribution:
        return distributions.Exponential(features, validate_args=False)
