"""Metrics, one a file: what the latents mean, and how good the samples are."""

from lightning_vae.metrics.beta_vae_score import BetaVAEScore, beta_vae_score
from lightning_vae.metrics.codes import CodeMetric
from lightning_vae.metrics.dci import DCI, binned_boosted_trees, boosted_trees, dci
from lightning_vae.metrics.factor_vae_score import FactorVAEScore, factor_vae_score
from lightning_vae.metrics.frechet import FrechetDistance, frechet_distance
from lightning_vae.metrics.irs import IRS, irs
from lightning_vae.metrics.mig import MIG, mig
from lightning_vae.metrics.modularity import Explicitness, Modularity, explicitness, modularity
from lightning_vae.metrics.posterior_mig import PosteriorMIG, posterior_mig
from lightning_vae.metrics.precision_recall import PrecisionRecall, precision_recall
from lightning_vae.metrics.reconstruction_quality import ReconstructionQuality
from lightning_vae.metrics.sap import SAP, sap
from lightning_vae.metrics.udr import UDR, lasso_weights, rank_correlation, udr
from lightning_vae.metrics.unsupervised import (
    GaussianTotalCorrelation,
    GaussianWassersteinCorrelation,
    gaussian_total_correlation,
    gaussian_wasserstein_correlation,
)

__all__ = [
    "DCI",
    "IRS",
    "MIG",
    "SAP",
    "UDR",
    "BetaVAEScore",
    "CodeMetric",
    "Explicitness",
    "FactorVAEScore",
    "FrechetDistance",
    "GaussianTotalCorrelation",
    "GaussianWassersteinCorrelation",
    "Modularity",
    "PosteriorMIG",
    "PrecisionRecall",
    "ReconstructionQuality",
    "beta_vae_score",
    "binned_boosted_trees",
    "boosted_trees",
    "dci",
    "explicitness",
    "factor_vae_score",
    "frechet_distance",
    "gaussian_total_correlation",
    "gaussian_wasserstein_correlation",
    "irs",
    "lasso_weights",
    "mig",
    "modularity",
    "posterior_mig",
    "precision_recall",
    "rank_correlation",
    "sap",
    "udr",
]
