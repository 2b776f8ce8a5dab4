"""Encoder heads: modules that turn an encoder's last features into the posterior q(z|x).

And what is asked of any posterior: a draw with gradient, and a mean.
"""

from lightning_vae.posteriors.asked import draw, each, mean
from lightning_vae.posteriors.batch_norm import BatchNormGaussian
from lightning_vae.posteriors.delta import DeltaGaussian
from lightning_vae.posteriors.gaussian import Gaussian
from lightning_vae.posteriors.posterior import Posterior
from lightning_vae.posteriors.relaxed_categorical import RelaxedCategorical
from lightning_vae.posteriors.von_mises_fisher import VonMisesFisher
from lightning_vae.posteriors.weibull import Weibull

__all__ = [
    "BatchNormGaussian",
    "DeltaGaussian",
    "Gaussian",
    "Posterior",
    "RelaxedCategorical",
    "VonMisesFisher",
    "Weibull",
    "draw",
    "each",
    "mean",
]
