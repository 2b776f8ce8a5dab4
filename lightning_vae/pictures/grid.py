"""Many images as one."""

from torch import Tensor
from torch.nn.functional import pad

__all__ = ["grid"]

_GRAY = 128


def grid(images: Tensor, row_size: int, gap: int = 2) -> Tensor:
    """Images side by side, ``row_size`` in a row, with a gray line between and around them.

    Args:
        images: [N, C, H, W] uint8, row after row; the last row may be shorter.
        row_size: How many are in a row.
        gap: The pixels between two.

    Returns:
        [C, rows·(H + gap) + gap, row_size·(W + gap) + gap] uint8.

    >>> import torch
    >>> grid(torch.zeros(5, 1, 8, 8, dtype=torch.uint8), row_size=3).shape
    torch.Size([1, 22, 32])
    """
    missing = -len(images) % row_size
    images = pad(images, (gap, 0, gap, 0, 0, 0, 0, missing), value=_GRAY)
    rows = images.unflatten(0, (-1, row_size)).permute(2, 0, 3, 1, 4)
    channels, n, height, _, width = rows.shape
    whole = rows.reshape(channels, n * height, row_size * width)
    if missing:  # the empty places are of the gaps' gray
        whole[:, (n - 1) * height :, (row_size - missing) * width :] = _GRAY
    return pad(whole, (0, gap, 0, gap), value=_GRAY)
