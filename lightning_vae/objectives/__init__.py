r"""Objectives: what a VAE minimises, with a few named coefficients that callbacks may move.

The central one is one formula with three coefficients, in nats:

.. math:: \mathcal L = D + \sum_g \beta_g\,\bigl|\max(\text{free\_bits}_g, R_g) - \text{capacity}_g\bigr|
"""

from lightning_vae.coefficients import Coefficient
from lightning_vae.objectives.bound import ELBO, elbo
from lightning_vae.objectives.dip import DIP
from lightning_vae.objectives.floors import free_bits
from lightning_vae.objectives.importance import ImportanceWeighted, importance_bound
from lightning_vae.objectives.mmd import MMD, mmd
from lightning_vae.objectives.objective import Objective
from lightning_vae.objectives.total_correlation import TotalCorrelation, decompose

__all__ = [
    "DIP",
    "ELBO",
    "MMD",
    "Coefficient",
    "ImportanceWeighted",
    "Objective",
    "TotalCorrelation",
    "decompose",
    "elbo",
    "free_bits",
    "importance_bound",
    "mmd",
]
