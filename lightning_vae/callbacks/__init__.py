"""Callbacks: who moves the coefficients, and who watches."""

from lightning_vae.callbacks.actions import Action, LowerBeta, RaiseFloor, RestartCycle
from lightning_vae.callbacks.anneal import Anneal
from lightning_vae.callbacks.annealing import (
    BetaAnnealing,
    CapacityAnnealing,
    CyclicalAnnealing,
    FreeBitsAnnealing,
)
from lightning_vae.callbacks.collapse import CollapseMonitor
from lightning_vae.callbacks.report import EvaluationReport

__all__ = [
    "Action",
    "Anneal",
    "BetaAnnealing",
    "CapacityAnnealing",
    "CollapseMonitor",
    "CyclicalAnnealing",
    "EvaluationReport",
    "FreeBitsAnnealing",
    "LowerBeta",
    "RaiseFloor",
    "RestartCycle",
]
