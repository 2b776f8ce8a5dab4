"""Matplotlib figures as pictures, without pyplot and the state it keeps."""

from io import BytesIO

import torch
from matplotlib.figure import Figure
from torch import Tensor

__all__ = ["blank", "rendered"]


def blank(width: float = 6.4, height: float = 4.0) -> Figure:
    """An empty figure of so many inches, in the style that is set."""
    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def rendered(figure: Figure) -> Tensor:
    """The figure as a picture, [3, H, W] uint8.

    >>> rendered(blank(3.0, 2.0)).shape
    torch.Size([3, 200, 300])
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="rgba", dpi=figure.dpi)
    height, width = (round(inches * figure.dpi) for inches in figure.get_size_inches()[::-1])
    colours = torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)
    return colours.view(height, width, 4)[..., :3].permute(2, 0, 1)
