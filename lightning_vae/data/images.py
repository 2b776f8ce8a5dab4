"""Images in files: decoded by Pillow in workers, then cropped and resized in torch, batch by batch.

A decoded image is [C, H, W] float32 in [0, 1]: 8-bit values are divided by 255, 16-bit ones by
65,535. It is turned as its EXIF orientation says.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image, ImageOps
from torch import Tensor, nn

from lightning_vae.arguments import one_of, whole

__all__ = [
    "Corrupt",
    "Images",
    "Loader",
    "Pair",
    "Reading",
    "Transform",
    "as_image",
    "extensions",
    "framed",
    "list_images",
    "open_image",
    "readable",
]

Pair: TypeAlias = tuple[Tensor, Tensor]
Loader: TypeAlias = Callable[[Path], Image.Image]
# Tensor -> Tensor. Said to return a Tensor, a configuration could name no module: a class would have
# to be a subclass of Tensor.
Transform: TypeAlias = Callable[[Tensor], Any]
Corrupt: TypeAlias = Literal["raise", "skip"]

# What Pillow names but does not decode, and EPS, for which it runs Ghostscript.
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}


def extensions() -> frozenset[str]:
    """Return the endings of the files that Pillow can decode, in lower case, with their dots.

    Example:
        >>> {".jpg", ".png", ".tiff", ".webp"} <= extensions()
        True
    """
    known = Image.registered_extensions().items()
    return frozenset(
        ending for ending, kind in known if kind in Image.OPEN and kind not in NOT_DECODED
    )


def list_images(root: Path, endings: Iterable[str]) -> list[Path]:
    """Return the files below a folder that have one of these endings, in the same order everywhere.

    Raises:
        FileNotFoundError: If there is no such folder, or no such file in it.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"root={str(root)!r} is no folder: name the one that has the files."
        )
    wanted = {ending.lower() for ending in endings}
    found = [p for p in root.rglob("*") if p.suffix.lower() in wanted and p.is_file()]
    if not found:
        raise FileNotFoundError(
            f"root={str(root)!r} has no file that ends in one of {sorted(wanted)}, at any depth: "
            "name the folder that has them, or other extensions."
        )
    # By code point: a locale or a file system would order otherwise elsewhere.
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def open_image(path: Path) -> Image.Image:
    """Open an image file of any format that Pillow decodes."""
    return Image.open(path)


def as_image(image: Image.Image, channels: int) -> Tensor:
    """Return a Pillow image as [C, H, W] float32 in [0, 1], turned upright.

    Gray becomes colour by three equal channels, colour gray by its luma (ITU-R 601); an alpha
    channel is dropped.

    Raises:
        ValueError: If the values are neither of 8 nor of 16 bits, nor floats in [0, 1].

    Example:
        >>> as_image(Image.new("I;16", (2, 1), 13107), channels=1)
        tensor([[[0.2000, 0.2000]]])
    """
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        deep = _scaled(np.asarray(upright).astype(np.int64), 65_535)
    elif upright.mode == "F":
        deep = _scaled(np.asarray(upright), 1)
    else:
        plain = np.array(upright.convert("L" if channels == 1 else "RGB"))
        return torch.from_numpy(plain).view(*plain.shape[:2], -1).permute(2, 0, 1) / 255
    return deep.expand(channels, -1, -1)


def _scaled(values: np.ndarray, top: int) -> Tensor:
    if not (values.min() >= 0 and values.max() <= top):
        raise ValueError(
            f"its values go from {values.min()} to {values.max()}, beyond 0 to {top}: pass a loader "
            "that scales them"
        )
    return torch.from_numpy((values / top).astype(np.float32)).unsqueeze(0)


def framed(images: Sequence[Tensor], size: tuple[int, int] | None, crop: int | None) -> Tensor:
    """Cut images to their centres and resize them: B of [C, H, W] -> [B, C, *size] float32.

    Those of equal shapes are resized as one batch, bilinear with antialiasing.

    Args:
        images: Images of any shapes.
        size: Height and width to resize to; None to keep what was cut out, which must then have
            one shape.
        crop: Side of the square to cut out; None for the largest area of the shape of `size`.

    Raises:
        ValueError: If an image is smaller than the crop, or sizes differ and `size` is None.

    Example:
        >>> framed([torch.rand(3, 218, 178), torch.rand(3, 90, 60)], (64, 64), None).shape
        torch.Size([2, 3, 64, 64])
    """
    cut = [_centre(image, _area(image, size, crop)) for image in images]
    shapes = [tuple(image.shape) for image in cut]
    if size is None and len(set(shapes)) > 1:
        raise ValueError(f"images have the shapes {sorted(set(shapes))}: pass size=... or crop=...")
    batch = cut[0].new_empty(len(cut), len(cut[0]), *(size or shapes[0][1:]))
    for shape in dict.fromkeys(shapes):
        rows = [row for row, other in enumerate(shapes) if other == shape]
        batch[rows] = _resized(torch.stack([cut[row] for row in rows]), size)
    return batch


def _area(image: Tensor, size: tuple[int, int] | None, crop: int | None) -> tuple[int, int]:
    height, width = image.shape[1:]
    if crop is not None:
        if crop > min(height, width):
            raise ValueError(f"crop={crop} is larger than an image of {height} x {width} pixels.")
        return crop, crop
    if size is None:
        return height, width
    scale = min(height / size[0], width / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _centre(image: Tensor, area: tuple[int, int]) -> Tensor:
    top, left = ((side - wanted) // 2 for side, wanted in zip(image.shape[1:], area, strict=True))
    return image[:, top : top + area[0], left : left + area[1]]


def _resized(batch: Tensor, size: tuple[int, int] | None) -> Tensor:
    if size is None or batch.shape[2:] == size:
        return batch
    resized = nn.functional.interpolate(
        batch, size, mode="bilinear", antialias=True, align_corners=False
    )
    # A mean of pixels is one of them up to rounding, which must not leave [0, 1].
    return resized.clamp_(batch.amin(), batch.amax())


@dataclass(frozen=True)
class Reading:
    """How files become images, and images become a batch.

    Args:
        size: Height and width, one number for both; None keeps them.
        crop: Side of the square that is cut out of the centre first; None for the largest area of
            the shape of `size`.
        channels: 3 for colour, 1 for gray.
        loader: What opens a file, Path -> PIL.Image.Image.
        transform: What is done to an image, [C, H, W] float32 in [0, 1], before it is cut.
        target_transform: What is done to the target: to the image as it was decoded, before it is
            cut, or to the labels of a batch, [B].

    Raises:
        ValueError: If an argument is out of its range.
    """

    size: int | tuple[int, int] | None = 64
    crop: int | None = None
    channels: int = 3
    loader: Loader = open_image
    transform: Transform | None = None
    target_transform: Transform | None = None

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 (gray) or 3 (colour), got {self.channels!r}.")
        if self.crop is not None:
            whole("crop", self.crop, 1)
        for side in self.sides or ():
            whole("size", side, 1)

    @property
    def sides(self) -> tuple[int, int] | None:
        """Height and width, or None to keep them."""
        if isinstance(self.size, int):
            return self.size, self.size
        return None if self.size is None else (self.size[0], self.size[1])

    def decode(self, path: Path) -> Tensor:
        """Return the image in a file, [C, H, W] float32 in [0, 1].

        Raises:
            ValueError: If it cannot be read; names the file.
        """
        try:
            with self.loader(path) as image:
                return as_image(image, self.channels)
        except Exception as error:  # a damaged file raises whatever its format's decoder meets
            raise ValueError(
                f"{path} cannot be read as an image ({error}): mend or delete it, or pass "
                'corrupt="skip" to leave such files out.'
            ) from error

    def framed(self, paths: Sequence[Path], images: Sequence[Tensor]) -> Tensor:
        """Return images as one batch; an error names the files."""
        try:
            return framed(images, self.sides, self.crop)
        except ValueError as error:
            raise ValueError(f"{error} (Among {', '.join(map(str, paths[:3]))}, ...)") from error


class Images:
    """Images on disk, decoded when asked for: `images[k]`, for k [B] int64, is (x, y).

    x is [B, C, H, W] float32, in [0, 1] unless a transform changes that. y is the labels [B, *],
    where there are some, or the image.

    Args:
        paths: The files.
        reading: How they become a batch.
        labels: Labels of the files, [N, *], or None for targets that are the images.
    """

    def __init__(
        self, paths: Sequence[Path], reading: Reading, labels: Tensor | None = None
    ) -> None:
        self.paths = paths
        self.reading = reading
        self.labels = labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Tensor) -> Pair:
        paths = [self.paths[row] for row in index.tolist()]
        decoded = [self.reading.decode(path) for path in paths]
        x = self.reading.framed(paths, _each(self.reading.transform, decoded))
        return x, self._targets(index, paths, decoded, x)

    def _targets(
        self, index: Tensor, paths: list[Path], decoded: list[Tensor], x: Tensor
    ) -> Tensor:
        change = self.reading.target_transform
        if self.labels is not None:
            labels: Tensor = self.labels[index] if change is None else change(self.labels[index])
            return labels
        if change is None and self.reading.transform is None:
            return x
        return self.reading.framed(paths, _each(change, decoded))


def _each(change: Transform | None, images: list[Tensor]) -> list[Tensor]:
    return images if change is None else [change(image) for image in images]


def readable(paths: Sequence[Path], reading: Reading, corrupt: Corrupt, workers: int) -> list[int]:
    """Return which of these files are left: all, or with corrupt="skip" those that can be decoded.

    To skip them, each is decoded once, and a warning counts those that are left out.
    """
    one_of("corrupt", corrupt, ("raise", "skip"))
    if corrupt == "raise":
        return list(range(len(paths)))
    with ThreadPoolExecutor(max(1, workers)) as pool:  # decoding releases the interpreter's lock
        good = list(pool.map(lambda path: _is_readable(path, reading), paths))
    if not all(good):
        first = paths[good.index(False)]
        rank_zero_warn(
            f"{good.count(False)} of {len(paths)} images cannot be read and are left out, the first "
            f"of them {first}."
        )
    return [row for row, is_good in enumerate(good) if is_good]


def _is_readable(path: Path, reading: Reading) -> bool:
    try:
        reading.decode(path)
    except ValueError:
        return False
    return True
