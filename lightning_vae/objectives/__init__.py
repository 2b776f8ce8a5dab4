r"""Objectives: what a VAE minimises, with a few named coefficients that callbacks may move.

The central one is one formula with three coefficients, in nats:

.. math:: \mathcal L = D + \sum_g \beta_g\,\bigl|\max(\text{free\_bits}_g, R_g) - \text{capacity}_g\bigr|
"""

from lightning_vae.coefficients import Coefficient
from lightning_vae.objectives.balanced import Balanced, balance
from lightning_vae.objectives.bound import ELBO, elbo
from lightning_vae.objectives.dip import DIP
from lightning_vae.objectives.factor import FactorVAE
from lightning_vae.objectives.floors import free_bits
from lightning_vae.objectives.gate import RateGate
from lightning_vae.objectives.importance import ImportanceWeighted, importance_bound
from lightning_vae.objectives.mmd import MMD, mmd
from lightning_vae.objectives.multi_rate import MultiRate
from lightning_vae.objectives.objective import Objective
from lightning_vae.objectives.regularised import Regularised
from lightning_vae.objectives.similarity import similarity
from lightning_vae.objectives.total_correlation import TotalCorrelation, decompose

__all__ = [
    "DIP",
    "ELBO",
    "MMD",
    "Balanced",
    "Coefficient",
    "FactorVAE",
    "ImportanceWeighted",
    "MultiRate",
    "Objective",
    "RateGate",
    "Regularised",
    "TotalCorrelation",
    "balance",
    "decompose",
    "elbo",
    "free_bits",
    "importance_bound",
    "mmd",
    "similarity",
]
