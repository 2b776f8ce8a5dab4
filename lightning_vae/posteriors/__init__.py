"""Encoder heads: modules that turn an encoder's last features into the posterior q(z|x).

And what is asked of any posterior: a draw with gradient, and a mean.
"""

from lightning_vae.posteriors.asked import draw, each, mean
from lightning_vae.posteriors.batch_norm import BatchNormGaussian
from lightning_vae.posteriors.coupling_flow import CouplingFlow
from lightning_vae.posteriors.delta import DeltaGaussian
from lightning_vae.posteriors.exponential import Exponential
from lightning_vae.posteriors.full_gaussian import FullGaussian
from lightning_vae.posteriors.gaussian import Gaussian
from lightning_vae.posteriors.laplace import Laplace
from lightning_vae.posteriors.low_rank_gaussian import LowRankGaussian
from lightning_vae.posteriors.planar_flow import PlanarFlow
from lightning_vae.posteriors.posterior import Posterior
from lightning_vae.posteriors.relaxed_categorical import RelaxedCategorical
from lightning_vae.posteriors.uniform import Uniform
from lightning_vae.posteriors.von_mises_fisher import VonMisesFisher
from lightning_vae.posteriors.weibull import Weibull

__all__ = [
    "BatchNormGaussian",
    "CouplingFlow",
    "DeltaGaussian",
    "Exponential",
    "FullGaussian",
    "Gaussian",
    "Laplace",
    "LowRankGaussian",
    "PlanarFlow",
    "Posterior",
    "RelaxedCategorical",
    "Uniform",
    "VonMisesFisher",
    "Weibull",
    "draw",
    "each",
    "mean",
]
