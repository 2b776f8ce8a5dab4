"""Metrics: whether the latents live, and how likely the data is; functions, and torchmetrics."""

from lightning_vae.metrics.active_units import ActiveUnits, active_units
from lightning_vae.metrics.aggregate_posterior import log_aggregate, log_marginals
from lightning_vae.metrics.elbo_decomposition import ELBODecomposition, elbo_decomposition
from lightning_vae.metrics.marginal_likelihood import (
    MarginalLikelihood,
    log_marginal_likelihood,
    passes,
)
from lightning_vae.metrics.metric import OutputMetric
from lightning_vae.metrics.mutual_information import MutualInformation, mutual_information
from lightning_vae.metrics.rate_spectrum import RateSpectrum, rate_spectrum
from lightning_vae.metrics.shuffled_gap import ShuffledGap, shuffled_gap
from lightning_vae.metrics.variance_saturation import VarianceSaturation, variance_ratio

__all__ = [
    "ActiveUnits",
    "ELBODecomposition",
    "MarginalLikelihood",
    "MutualInformation",
    "OutputMetric",
    "RateSpectrum",
    "ShuffledGap",
    "VarianceSaturation",
    "active_units",
    "elbo_decomposition",
    "log_aggregate",
    "log_marginal_likelihood",
    "log_marginals",
    "mutual_information",
    "passes",
    "rate_spectrum",
    "shuffled_gap",
    "variance_ratio",
]
