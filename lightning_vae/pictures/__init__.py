"""Pictures as pure functions: codes to decode, grids drawn in torch, figures, and files.

A picture is a tensor of uint8, [C, H, W], or [T, C, H, W] for an animation; of text it is
:class:`Sentences`.
"""

from lightning_vae.pictures.animation import there_and_back
from lightning_vae.pictures.examples import Examples
from lightning_vae.pictures.files import Drawn, encoded, write
from lightning_vae.pictures.grid import grid
from lightning_vae.pictures.interpolation import interpolation, lerp, paths, slerp
from lightning_vae.pictures.pixels import as_images, pixels
from lightning_vae.pictures.principal import principal
from lightning_vae.pictures.quantiles import quantiles
from lightning_vae.pictures.ranking import most_active
from lightning_vae.pictures.sentences import Sentences, sentences
from lightning_vae.pictures.traversal import traversal

__all__ = [
    "Drawn",
    "Examples",
    "Sentences",
    "as_images",
    "encoded",
    "grid",
    "interpolation",
    "lerp",
    "most_active",
    "paths",
    "pixels",
    "principal",
    "quantiles",
    "sentences",
    "slerp",
    "there_and_back",
    "traversal",
    "write",
]
