"""Variational autoencoders that do not collapse, for PyTorch Lightning."""

from lightning_vae import (
    distributions,
    divergences,
    likelihoods,
    networks,
    objectives,
    posteriors,
    priors,
    schedules,
)
from lightning_vae.callbacks import (
    Anneal,
    BetaAnnealing,
    CapacityAnnealing,
    CyclicalAnnealing,
    FreeBitsAnnealing,
)
from lightning_vae.conversions import beta_from_normalised, bits_per_dimension, normalised_beta
from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.divergences import jensen_shannon, kl
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.likelihoods import distortion
from lightning_vae.module import VAEModule
from lightning_vae.objectives import (
    DIP,
    ELBO,
    MMD,
    Balanced,
    Coefficient,
    FactorVAE,
    ImportanceWeighted,
    MultiRate,
    Objective,
    Regularised,
    TotalCorrelation,
    elbo,
    free_bits,
)
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
    "DIP",
    "ELBO",
    "MMD",
    "Anneal",
    "Balanced",
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
    "FactorVAE",
    "FreeBitsAnnealing",
    "ImportanceWeighted",
    "Latent",
    "Linear",
    "LogUniform",
    "Logistic",
    "MultiRate",
    "Objective",
    "Piecewise",
    "Prior",
    "Product",
    "Regularised",
    "Schedule",
    "Sigmoid",
    "StandardNormal",
    "TotalCorrelation",
    "VAEModule",
    "VAEOutput",
    "beta_from_normalised",
    "bits_per_dimension",
    "distortion",
    "distributions",
    "divergences",
    "elbo",
    "free_bits",
    "jensen_shannon",
    "kl",
    "likelihoods",
    "networks",
    "normalised_beta",
    "objectives",
    "posteriors",
    "priors",
    "schedules",
]
