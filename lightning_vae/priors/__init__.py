"""Priors: modules that return p(z), a distribution over one example's latents."""

from lightning_vae.priors.autoregressive import AutoregressiveNormal
from lightning_vae.priors.conditional import Conditional
from lightning_vae.priors.diagonal import DiagonalNormal
from lightning_vae.priors.flow import RealNVP
from lightning_vae.priors.hyperspherical_uniform import HypersphericalUniform
from lightning_vae.priors.mixture import GaussianMixture
from lightning_vae.priors.prior import Prior, Product, as_prior
from lightning_vae.priors.standard import StandardNormal, standard_normal, standard_shapes
from lightning_vae.priors.uniform_categorical import UniformCategorical
from lightning_vae.priors.vamp import VampPrior
from lightning_vae.priors.weibull import Weibull

__all__ = [
    "AutoregressiveNormal",
    "Conditional",
    "DiagonalNormal",
    "GaussianMixture",
    "HypersphericalUniform",
    "Prior",
    "Product",
    "RealNVP",
    "StandardNormal",
    "UniformCategorical",
    "VampPrior",
    "Weibull",
    "as_prior",
    "standard_normal",
    "standard_shapes",
]
