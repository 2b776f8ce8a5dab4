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
from lightning_vae.callbacks.control import Controller
from lightning_vae.callbacks.geco import GECO
from lightning_vae.callbacks.minimum_rate import MinimumRate
from lightning_vae.callbacks.plateau import Plateau
from lightning_vae.callbacks.rate_controller import RateController
from lightning_vae.callbacks.report import EvaluationReport
from lightning_vae.callbacks.rewo import REWO
from lightning_vae.callbacks.soft_free_bits import SoftFreeBits
from lightning_vae.callbacks.trigger import Seen, Trigger

__all__ = [
    "GECO",
    "REWO",
    "Action",
    "Anneal",
    "BetaAnnealing",
    "CapacityAnnealing",
    "CollapseMonitor",
    "Controller",
    "CyclicalAnnealing",
    "EvaluationReport",
    "FreeBitsAnnealing",
    "LowerBeta",
    "MinimumRate",
    "Plateau",
    "RaiseFloor",
    "RateController",
    "RestartCycle",
    "Seen",
    "SoftFreeBits",
    "Trigger",
]
