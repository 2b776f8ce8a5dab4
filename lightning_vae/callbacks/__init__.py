"""Callbacks: who moves the coefficients, and who watches."""

from lightning_vae.callbacks.anneal import Anneal
from lightning_vae.callbacks.annealing import (
    BetaAnnealing,
    CapacityAnnealing,
    CyclicalAnnealing,
    FreeBitsAnnealing,
)
from lightning_vae.callbacks.disentanglement import DisentanglementEvaluation

__all__ = [
    "Anneal",
    "BetaAnnealing",
    "CapacityAnnealing",
    "CyclicalAnnealing",
    "DisentanglementEvaluation",
    "FreeBitsAnnealing",
]
