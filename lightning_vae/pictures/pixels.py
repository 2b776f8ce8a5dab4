"""Images, and the bytes that show them."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["as_images", "pixels", "refuse_outside"]


def as_images(values: Tensor, shape: Sequence[int] | None = None) -> Tensor:
    """Values as images, [N, C, H, W] with one channel or three.

    Args:
        values: [N, H, W] or [N, C, H, W]; anything that ``shape`` says how to read.
        shape: The shape of one image, (C, H, W) or (H, W), where the values are flat.

    Raises:
        ValueError: if they are no images.

    >>> as_images(torch.zeros(2, 784), shape=(28, 28)).shape
    torch.Size([2, 1, 28, 28])
    """
    images = values if shape is None else _reshaped(values, shape)
    if images.dim() == 3:
        images = images.unsqueeze(1)
    if images.dim() != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point():
        raise ValueError(
            f"values of shape {tuple(values.shape)} and {values.dtype} are no images: one is "
            f"(C, H, W) with 1 or 3 channels, or (H, W). Write shape=(1, 28, 28) for flat images, "
            f"detokenise=... for tokens."
        )
    return images


def _reshaped(values: Tensor, shape: Sequence[int]) -> Tensor:
    try:
        return values.reshape(len(values), *shape)
    except RuntimeError:
        raise ValueError(
            f"shape={tuple(shape)} does not hold examples of shape {tuple(values.shape[1:])}; "
            f"give the (C, H, W) of one image."
        ) from None


def pixels(images: Tensor, value_range: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """The bytes of images: black at one end of the range, white at the other; uint8, same shape.

    A mean may lie outside the range, as a Gaussian's does: it is shown as the nearer end.

    >>> pixels(torch.tensor([-0.1, 0.0, 0.5, 1.0]))
    tensor([  0,   0, 128, 255], dtype=torch.uint8)
    """
    low, high = value_range
    return ((images.float() - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8)


def refuse_outside(x: Tensor, value_range: tuple[float, float]) -> None:
    """Data outside the range would be shown wrong, without a word.

    Raises:
        ValueError: if a value of x is outside.
    """
    low, high = (extreme.item() for extreme in torch.aminmax(x))
    slack = 1e-3 * (value_range[1] - value_range[0])
    if low < value_range[0] - slack or high > value_range[1] + slack:
        raise ValueError(
            f"x has values from {low:.4g} to {high:.4g}, outside value_range={value_range}; write "
            f"value_range=({low:.2g}, {high:.2g}), or what your data is scaled to."
        )
