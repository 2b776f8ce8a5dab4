"""Callbacks: who moves the coefficients, and who watches."""

from lightning_vae.callbacks.annealing import (
    Anneal,
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
