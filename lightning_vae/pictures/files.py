"""Pictures as files: PNG, GIF for what moves, Markdown for sentences."""

import os
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor

from lightning_vae.pictures.sentences import Sentences

__all__ = ["Drawn", "as_pillow", "encoded", "write"]

Drawn: TypeAlias = Tensor | Sentences  # uint8 [C, H, W], or [T, C, H, W] frames

_MILLISECONDS = 120  # a frame


def as_pillow(image: Tensor) -> Image.Image:
    """A picture [C, H, W] as Pillow has it."""
    array: np.ndarray = image.cpu().permute(1, 2, 0).numpy()
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def encoded(drawn: Drawn) -> tuple[bytes, str]:
    """The bytes of a picture's file, and the suffix that says what they are.

    >>> import torch
    >>> png, suffix = encoded(torch.zeros(1, 8, 8, dtype=torch.uint8))
    >>> png[1:4], suffix
    (b'PNG', '.png')
    """
    if isinstance(drawn, Sentences):
        return drawn.markdown().encode(), ".md"
    buffer = BytesIO()
    if drawn.dim() == 3:
        as_pillow(drawn).save(buffer, "PNG", optimize=True)
        return buffer.getvalue(), ".png"
    first, *others = map(as_pillow, drawn)
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=_MILLISECONDS, loop=0)
    return buffer.getvalue(), ".gif"


def write(drawn: Drawn, path: str | os.PathLike[str]) -> Path:
    """Write a picture, atomically; the path gets the suffix that says what it is.

    >>> import tempfile, torch
    >>> folder = tempfile.mkdtemp()
    >>> write(torch.zeros(1, 8, 8, dtype=torch.uint8), f"{folder}/black").name
    'black.png'
    """
    content, suffix = encoded(drawn)
    path = Path(path)
    path = path if path.suffix == suffix else path.with_name(path.name + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(path)
    return path
