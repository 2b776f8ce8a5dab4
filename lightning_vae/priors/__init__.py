"""Priors: modules that return p(z), a distribution over one example's latents."""

from lightning_vae.priors.prior import Prior, Product, as_prior
from lightning_vae.priors.standard import StandardNormal, standard_normal, standard_shapes

__all__ = ["Prior", "Product", "StandardNormal", "as_prior", "standard_normal", "standard_shapes"]
