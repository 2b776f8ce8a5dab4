"""Variational autoencoders that do not collapse, for PyTorch Lightning."""

from lightning_vae import distributions, divergences, likelihoods, networks, priors, schedules
from lightning_vae.callbacks import (
    Anneal,
    BetaAnnealing,
    CapacityAnnealing,
    CyclicalAnnealing,
    FreeBitsAnnealing,
)
from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.divergences import kl
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.likelihoods import distortion
from lightning_vae.module import VAEModule
from lightning_vae.objectives import ELBO, Coefficient, Objective, elbo, free_bits
from lightning_vae.priors import Prior, Product, StandardNormal
from lightning_vae.schedules import (
    Chain,
    Constant,
    Cosine,
    Cyclic,
    Exponential,
    Linear,
    Logistic,
    LogUniform,
    Piecewise,
    Schedule,
    Sigmoid,
)

__version__ = "0.1.0"

__all__ = [
    "ELBO",
    "Anneal",
    "BetaAnnealing",
    "CapacityAnnealing",
    "Chain",
    "Coefficient",
    "Constant",
    "Cosine",
    "Cyclic",
    "CyclicalAnnealing",
    "DiagonalGaussian",
    "Exponential",
    "FreeBitsAnnealing",
    "Latent",
    "Linear",
    "LogUniform",
    "Logistic",
    "Objective",
    "Piecewise",
    "Prior",
    "Product",
    "Schedule",
    "Sigmoid",
    "StandardNormal",
    "VAEModule",
    "VAEOutput",
    "distortion",
    "distributions",
    "divergences",
    "elbo",
    "free_bits",
    "kl",
    "likelihoods",
    "networks",
    "priors",
    "schedules",
]
