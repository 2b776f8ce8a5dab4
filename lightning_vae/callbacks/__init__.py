"""Callbacks: who moves the coefficients, and who watches."""

from lightning_vae.callbacks.anneal import Anneal
from lightning_vae.callbacks.annealing import (
    BetaAnnealing,
    CapacityAnnealing,
    CyclicalAnnealing,
    FreeBitsAnnealing,
)
from lightning_vae.callbacks.code_interpolation import CodeInterpolation
from lightning_vae.callbacks.decoded import Decoded
from lightning_vae.callbacks.image_interpolation import ImageInterpolation
from lightning_vae.callbacks.latent_scatter import LatentScatter
from lightning_vae.callbacks.latent_traversal import LatentTraversal
from lightning_vae.callbacks.picture import Picture
from lightning_vae.callbacks.prior_samples import PriorSamples
from lightning_vae.callbacks.rate_spectrum import RateSpectrumFigure
from lightning_vae.callbacks.reconstructions import Reconstructions
from lightning_vae.callbacks.schedule_overlay import ScheduleOverlay

__all__ = [
    "Anneal",
    "BetaAnnealing",
    "CapacityAnnealing",
    "CodeInterpolation",
    "CyclicalAnnealing",
    "Decoded",
    "FreeBitsAnnealing",
    "ImageInterpolation",
    "LatentScatter",
    "LatentTraversal",
    "Picture",
    "PriorSamples",
    "RateSpectrumFigure",
    "Reconstructions",
    "ScheduleOverlay",
]
