"""Names beside the rows of a picture."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

__all__ = ["margin"]

_SPACE = 4


def margin(picture: Tensor, names: Sequence[str]) -> Tensor:
    """The picture with a name left of each of its equally high rows; [C, H, W'] uint8.

    >>> wider = margin(torch.zeros(1, 40, 40, dtype=torch.uint8), ["z0", "z1"])
    >>> wider.shape[1], wider.shape[2] > 40
    (40, True)
    """
    channels, height, _ = picture.shape
    font = ImageFont.load_default()
    width = int(max(font.getlength(name) for name in names)) + 2 * _SPACE
    column = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(column)
    for row, name in enumerate(names):
        middle = (row + 0.5) * height / len(names)
        draw.text((_SPACE, middle), name, fill=0, font=font, anchor="lm")
    beside = torch.from_numpy(np.array(column)).expand(channels, -1, -1)
    return torch.cat([beside.to(picture.device), picture], 2)
