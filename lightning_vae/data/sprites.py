"""Sprites: the 737,280 images of dSprites, drawn from their five factors rather than downloaded.

An image is a function of the classes of (shape, scale, orientation, x, y). The pixels are those
that LOVE drew for the published file, up to its rounding: of the 64,834 published images that were
compared, 64,825 agree in every pixel and the others in all but one.

Source: Matthey, Higgins, Hassabis and Lerchner (2017), dSprites: Disentanglement testing Sprites
dataset, https://github.com/google-deepmind/dsprites-dataset.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from lightning_vae.data.split import Part, Sizes, SplitData

__all__ = [
    "FACTORS",
    "SIZES",
    "Drawn",
    "Sprites",
    "check_factors",
    "draw",
    "factors_of",
    "index_of",
    "values_of",
]

FACTORS = ("shape", "scale", "orientation", "x", "y")
SIZES = (3, 6, 40, 32, 32)  # classes of each; shapes are square, ellipse, heart
STEPS = (245_760, 40_960, 1_024, 32, 1)  # rows from one class to the next
COUNT = 737_280
SIDE = 64  # pixels

SCALES = np.linspace(0.5, 1, 6)
ANGLES = np.linspace(0, 2 * np.pi, 40)  # the first and the last are the same angle
POSITIONS = np.linspace(0, 1, 32)


def index_of(factors: Tensor) -> Tensor:
    """Return the row of the published file that has these classes; [*, 5] int64 -> [*] int64.

    Example:
        >>> index_of(torch.tensor([1, 2, 3, 4, 5]))
        tensor(330885)
    """
    return (factors * torch.tensor(STEPS)).sum(-1)


def factors_of(index: Tensor) -> Tensor:
    """Return the classes of (shape, scale, orientation, x, y); [*] int64 -> [*, 5] int64.

    Example:
        >>> factors_of(torch.tensor(330885))
        tensor([1, 2, 3, 4, 5])
    """
    return torch.stack(torch.unravel_index(index, SIZES), -1)


def values_of(factors: Tensor) -> Tensor:
    """Return the values that the classes stand for; [*, 5] int64 -> [*, 5] float64.

    Shape is 1 (square), 2 (ellipse) or 3 (heart), scale is in [0.5, 1], orientation in [0, 2 pi]
    radians, x and y in [0, 1].

    Example:
        >>> values_of(torch.tensor([0, 5, 0, 31, 0]))
        tensor([1., 1., 0., 1., 0.], dtype=torch.float64)
    """
    tables = (np.arange(1.0, 4.0), SCALES, ANGLES, POSITIONS, POSITIONS)
    columns = zip(tables, factors.unbind(-1), strict=True)
    return torch.stack([torch.from_numpy(table)[column] for table, column in columns], -1)


def draw(factors: Tensor) -> Tensor:
    """Draw the images of these classes; [n, 5] int64 -> [n, 64, 64] uint8, 0 or 1.

    The outline is a polygon whose corners are rounded to 1/256 pixel; a pixel is filled where its
    centre is inside. The y axis points down.

    Raises:
        ValueError: If the shape or a class is out of range.

    Example:
        >>> draw(torch.tensor([[0, 0, 0, 16, 16]])).sum()
        tensor(81)
    """
    check_factors(factors)
    x, y = np.moveaxis(_corners(factors.numpy()), -1, 0)
    image, row, column = _crossings(x, y)
    # Each crossing flips all pixels to its right, 64 at once in the bits of one integer. Sprites
    # keep clear of the border, so that rows and columns are always those of a pixel.
    rows = np.zeros(len(factors) * SIDE, np.uint64)
    flips = np.left_shift(np.uint64(2**64 - 1), column.astype(np.uint64))
    np.bitwise_xor.at(rows, image * SIDE + row, flips)
    bits = np.unpackbits(rows.astype("<u8").view(np.uint8), bitorder="little")
    return torch.from_numpy(bits).view(-1, SIDE, SIDE)


def check_factors(factors: Tensor) -> None:
    """Raise a ValueError unless these are classes, [n, 5] int64."""
    if factors.ndim != 2 or factors.shape[1] != len(SIZES) or factors.dtype != torch.int64:
        raise ValueError(
            f"factors must be [n, {len(SIZES)}] int64, got {list(factors.shape)} {factors.dtype}."
        )
    if ((factors < 0) | (factors >= torch.tensor(SIZES))).any():
        raise ValueError(f"factors must be classes below {SIZES}, got one out of range.")


def _corners(classes: np.ndarray) -> np.ndarray:
    """The corners of each outline, [n, 150, 2] int64 in 1/256 pixel."""
    shape, scale, orientation, x, y = classes.T
    centres = 16 + 32 * POSITIONS[np.stack([x, y], -1)]
    outlines = _outlines()[shape, scale, orientation]
    corners: np.ndarray = np.rint(256 * (outlines + centres[:, None]))
    return corners.astype(np.int64)


@cache
def _outlines() -> np.ndarray:
    """The outlines about their centre, in pixels: [3, 6, 40, 150, 2]."""
    # Repeated corners make edges without height, which cross no row.
    shapes = np.stack([np.pad(s, ((0, 150 - len(s)), (0, 0)), "edge") for s in _shapes()])
    cos, sin = np.cos(ANGLES), np.sin(ANGLES)
    turn = np.array([[cos, sin], [-sin, cos]])  # counterclockwise, as y points down
    outlines: np.ndarray = np.einsum("s,ijo,nvj->nsovi", SCALES, turn, shapes)
    return outlines


def _shapes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    square = 9.6 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    t = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    ellipse = 9.6 * np.stack([1.33 * np.cos(t), np.sin(t) / 1.33], -1)
    t = np.linspace(0, 2 * np.pi, 150, endpoint=False)
    rise = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    heart = np.stack([9.6 * np.sin(t) ** 3, -9.6 / 14.5 * rise - 1.44], -1)
    return square, ellipse, heart


def _crossings(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where outlines cross the centre lines of rows: (image, row, first column to the right).

    In integers, so that what lies exactly on a corner or a centre is decided the same everywhere.
    """
    x_next, y_next = np.roll(x, -1, 1), np.roll(y, -1, 1)
    # Row r has its centre line at 256 r + 128, and is crossed where lower end < centre <= upper.
    first, stop = (y + 128) >> 8, (y_next + 128) >> 8
    first, stop = np.minimum(first, stop), np.maximum(first, stop)
    height = (stop - first).ravel()
    edge = np.repeat(np.arange(height.size), height)
    row = np.arange(edge.size) - np.repeat(height.cumsum() - height, height) + first.ravel()[edge]
    x, y = x.ravel()[edge], y.ravel()[edge]
    dx, dy = x_next.ravel()[edge] - x, y_next.ravel()[edge] - y
    # The first column whose centre, 256 c + 128, is not left of x + (centre line - y) dx / dy.
    numerator = (x - 128) * dy + (256 * row + 128 - y) * dx
    column = -(-numerator * np.sign(dy) // (256 * np.abs(dy)))
    return edge // first.shape[1], row, column


class Drawn:
    """Sprites by their rows in the published file, drawn when asked for.

    `drawn[k]`, for k [B] int64, is (x, factors): x [B, 1, 64, 64] float32, factors [B, 5] int64.

    Args:
        rows: Rows in the published file, [N] int64.
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        factors = factors_of(self.rows[index])
        return draw(factors).float().unsqueeze(1), factors


class Sprites(SplitData[tuple[Tensor, Tensor]]):
    """Sprites, in batches (x, factors): x [B, 1, 64, 64] float32 0 or 1, factors [B, 5] int64.

    Combinations of the factors are chosen without replacement, so that training, validation and
    test share none (but the first and the last orientation are the same angle, as published).
    Images are drawn batch by batch; none is kept.

    Args:
        batch_size: Examples a batch and rank.
        train_size: Images to train on; None for all that are left.
        val_size: Images to validate on; 0 for none.
        test_size: Images to test on; 0 for none.
        drop_last: Whether training leaves out a last batch that is shorter.
        seed: Seed of the choice of images and of their order.

    Raises:
        ValueError: If an argument is out of its range, or the sizes exceed 737,280 together.

    Example:
        >>> data = Sprites(train_size=256)
        >>> x, factors = next(iter(data.train_dataloader()))
        >>> x.shape, factors.shape
        (torch.Size([64, 1, 64, 64]), torch.Size([64, 5]))
    """

    factor_names = FACTORS
    factor_sizes = SIZES

    def __init__(
        self,
        batch_size: int = 64,
        train_size: int | None = None,
        val_size: int = 10_000,
        test_size: int = 10_000,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, drop_last, seed)
        self.sizes = Sizes(train_size, val_size, test_size)
        self.sizes.counts(COUNT)

    @override
    def part(self, name: Part) -> Drawn | None:
        rows = self.sizes.rows(name, COUNT, self.seed)
        return Drawn(rows) if len(rows) else None

    def render(self, factors: Tensor) -> Tensor:
        """Return the images of these classes, as batches have them; [n, 5] int64 -> [n, 1, 64, 64].

        Raises:
            ValueError: If the shape or a class is out of range.
        """
        return draw(factors).float().unsqueeze(1)
