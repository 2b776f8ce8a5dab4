"""Callbacks: who moves the coefficients, and who watches."""

from lightning_vae.callbacks.anneal import Anneal
from lightning_vae.callbacks.annealing import (
    BetaAnnealing,
    CapacityAnnealing,
    CyclicalAnnealing,
    FreeBitsAnnealing,
)

__all__ = [
    "Anneal",
    "BetaAnnealing",
    "CapacityAnnealing",
    "CyclicalAnnealing",
    "FreeBitsAnnealing",
]
