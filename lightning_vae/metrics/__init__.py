"""Metrics: whether the latents live, what they mean, how likely the data is, how good the samples."""

from lightning_vae.metrics.active_units import ActiveUnits, active_units
from lightning_vae.metrics.aggregate_posterior import log_aggregate, log_marginals
from lightning_vae.metrics.beta_vae_score import BetaVAEScore, beta_vae_score
from lightning_vae.metrics.codes import CodeMetric
from lightning_vae.metrics.dci import DCI, binned_boosted_trees, boosted_trees, dci
from lightning_vae.metrics.elbo_decomposition import ELBODecomposition, elbo_decomposition
from lightning_vae.metrics.factor_vae_score import FactorVAEScore, factor_vae_score
from lightning_vae.metrics.frechet import FrechetDistance, frechet_distance
from lightning_vae.metrics.irs import IRS, irs
from lightning_vae.metrics.marginal_likelihood import (
    MarginalLikelihood,
    log_marginal_likelihood,
    passes,
)
from lightning_vae.metrics.metric import OutputMetric
from lightning_vae.metrics.mig import MIG, mig
from lightning_vae.metrics.modularity import Explicitness, Modularity, explicitness, modularity
from lightning_vae.metrics.mutual_information import MutualInformation, mutual_information
from lightning_vae.metrics.posterior_mig import PosteriorMIG, posterior_mig
from lightning_vae.metrics.precision_recall import PrecisionRecall, precision_recall
from lightning_vae.metrics.rate_spectrum import RateSpectrum, rate_spectrum
from lightning_vae.metrics.reconstruction_quality import ReconstructionQuality
from lightning_vae.metrics.sap import SAP, sap
from lightning_vae.metrics.shuffled_gap import ShuffledGap, shuffled_gap
from lightning_vae.metrics.udr import UDR, lasso_weights, rank_correlation, udr
from lightning_vae.metrics.unsupervised import (
    GaussianTotalCorrelation,
    GaussianWassersteinCorrelation,
    gaussian_total_correlation,
    gaussian_wasserstein_correlation,
)
from lightning_vae.metrics.variance_saturation import VarianceSaturation, variance_ratio

__all__ = [
    "DCI",
    "IRS",
    "MIG",
    "SAP",
    "UDR",
    "ActiveUnits",
    "BetaVAEScore",
    "CodeMetric",
    "ELBODecomposition",
    "Explicitness",
    "FactorVAEScore",
    "FrechetDistance",
    "GaussianTotalCorrelation",
    "GaussianWassersteinCorrelation",
    "MarginalLikelihood",
    "Modularity",
    "MutualInformation",
    "OutputMetric",
    "PosteriorMIG",
    "PrecisionRecall",
    "RateSpectrum",
    "ReconstructionQuality",
    "ShuffledGap",
    "VarianceSaturation",
    "active_units",
    "beta_vae_score",
    "binned_boosted_trees",
    "boosted_trees",
    "dci",
    "elbo_decomposition",
    "explicitness",
    "factor_vae_score",
    "frechet_distance",
    "gaussian_total_correlation",
    "gaussian_wasserstein_correlation",
    "irs",
    "lasso_weights",
    "log_aggregate",
    "log_marginal_likelihood",
    "log_marginals",
    "mig",
    "modularity",
    "mutual_information",
    "passes",
    "posterior_mig",
    "precision_recall",
    "rank_correlation",
    "rate_spectrum",
    "sap",
    "shuffled_gap",
    "udr",
    "variance_ratio",
]
