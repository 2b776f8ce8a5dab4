"""Callbacks: who moves the coefficients, and who watches."""

from lightning_vae.callbacks.anneal import Anneal
from lightning_vae.callbacks.annealing import (
    BetaAnnealing,
    CapacityAnnealing,
    CyclicalAnnealing,
    FreeBitsAnnealing,
)
from lightning_vae.callbacks.lagging import LaggingInference
from lightning_vae.callbacks.resetting import Reset, ResetAt

__all__ = [
    "Anneal",
    "BetaAnnealing",
    "CapacityAnnealing",
    "CyclicalAnnealing",
    "FreeBitsAnnealing",
    "LaggingInference",
    "Reset",
    "ResetAt",
]
