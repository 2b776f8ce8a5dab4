"""Callbacks: who moves the coefficients, and who watches."""

from lightning_vae.callbacks.actions import Action, LowerBeta, RaiseFloor, RestartCycle
from lightning_vae.callbacks.anneal import Anneal
from lightning_vae.callbacks.annealing import (
    BetaAnnealing,
    CapacityAnnealing,
    CyclicalAnnealing,
    FreeBitsAnnealing,
)
from lightning_vae.callbacks.code_interpolation import CodeInterpolation
from lightning_vae.callbacks.collapse import CollapseMonitor
from lightning_vae.callbacks.control import Controller
from lightning_vae.callbacks.decoded import Decoded
from lightning_vae.callbacks.disentanglement import DisentanglementEvaluation
from lightning_vae.callbacks.geco import GECO
from lightning_vae.callbacks.image_interpolation import ImageInterpolation
from lightning_vae.callbacks.lagging import LaggingInference
from lightning_vae.callbacks.latent_scatter import LatentScatter
from lightning_vae.callbacks.latent_traversal import LatentTraversal
from lightning_vae.callbacks.minimum_rate import MinimumRate
from lightning_vae.callbacks.picture import Picture
from lightning_vae.callbacks.plateau import Plateau
from lightning_vae.callbacks.prior_samples import PriorSamples
from lightning_vae.callbacks.quality import SampleQuality
from lightning_vae.callbacks.rate_controller import RateController
from lightning_vae.callbacks.rate_spectrum import RateSpectrumFigure
from lightning_vae.callbacks.reconstructions import Reconstructions
from lightning_vae.callbacks.report import EvaluationReport
from lightning_vae.callbacks.resetting import Reset, ResetAt
from lightning_vae.callbacks.rewo import REWO
from lightning_vae.callbacks.schedule_overlay import ScheduleOverlay
from lightning_vae.callbacks.soft_free_bits import SoftFreeBits
from lightning_vae.callbacks.trigger import Seen, Trigger

__all__ = [
    "GECO",
    "REWO",
    "Action",
    "Anneal",
    "BetaAnnealing",
    "CapacityAnnealing",
    "CodeInterpolation",
    "CollapseMonitor",
    "Controller",
    "CyclicalAnnealing",
    "Decoded",
    "DisentanglementEvaluation",
    "EvaluationReport",
    "FreeBitsAnnealing",
    "ImageInterpolation",
    "LaggingInference",
    "LatentScatter",
    "LatentTraversal",
    "LowerBeta",
    "MinimumRate",
    "Picture",
    "Plateau",
    "PriorSamples",
    "RaiseFloor",
    "RateController",
    "RateSpectrumFigure",
    "Reconstructions",
    "Reset",
    "ResetAt",
    "RestartCycle",
    "SampleQuality",
    "ScheduleOverlay",
    "Seen",
    "SoftFreeBits",
    "Trigger",
]
