"""dSprites from its published file: 737,280 images of sprites, kept as one bit a pixel.

`Sprites` draws the same images from their factors and needs no file; the two differ in one pixel of
a few images in ten thousand.

Source: Matthey, Higgins, Hassabis and Lerchner (2017), dSprites: Disentanglement testing Sprites
dataset, https://github.com/google-deepmind/dsprites-dataset.
"""

import os
import zipfile
import zlib
from pathlib import Path
from typing import IO, ClassVar, TypeAlias

import numpy as np
import torch
from filelock import FileLock
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from typing_extensions import override

from lightning_vae.data.published import Published
from lightning_vae.data.split import Part, Sizes, SplitData
from lightning_vae.data.sprites import (
    COUNT,
    FACTORS,
    SIDE,
    SIZES,
    Drawn,
    check_factors,
    factors_of,
    index_of,
)

__all__ = ["DSprites", "Packed", "pack"]

Pair: TypeAlias = tuple[Tensor, Tensor]

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
CHUNK = 4096  # images unpacked at a time
BYTES = SIDE * SIDE // 8  # of an image, packed


def pack(path: Path, count: int = COUNT) -> np.ndarray:
    """Return the images in an npz file of dSprites as bits, [count, 512] uint8.

    They are unpacked a few at a time and without pickle: never are the 3 GB in memory.

    Raises:
        ValueError: If the file is damaged, or does not have `count` images of 64 x 64 zeros and
            ones under `imgs`.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open("imgs.npy") as file:
            _check_header(file, count)
            bits = np.empty((count, BYTES), np.uint8)
            for start in range(0, count, CHUNK):
                bits[start : start + CHUNK] = _next_images(file, min(CHUNK, count - start))
            return bits
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not dSprites, or is damaged ({error}).") from error


def _check_header(file: IO[bytes], count: int) -> None:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, by_column, dtype = read[version](file)
    if shape != (count, SIDE, SIDE) or by_column or dtype not in (np.uint8, np.bool_):
        raise ValueError(f"imgs is {dtype} {shape} rather than uint8 {(count, SIDE, SIDE)}")


def _next_images(file: IO[bytes], count: int) -> np.ndarray:
    pixels = np.frombuffer(file.read(count * SIDE * SIDE), np.uint8)
    if len(pixels) < count * SIDE * SIDE:
        raise EOFError("imgs breaks off")
    if pixels.max() > 1:
        raise ValueError(f"imgs has the value {pixels.max()} rather than zeros and ones")
    return np.packbits(pixels.reshape(count, -1), axis=1)


class Packed:
    """Images of dSprites by their rows, unpacked from bits when asked for.

    `packed[k]`, for k [B] int64, is (x, factors): x [B, 1, 64, 64] float32, factors [B, 5] int64.

    Args:
        rows: Rows in the published file, [N] int64.
        bits: The images, [737280, 512] uint8; an array, in memory or memory-mapped.
    """

    def __init__(self, rows: Tensor, bits: np.ndarray) -> None:
        self.rows = rows
        self.bits = bits

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor) -> Pair:
        rows = self.rows[index]
        pixels = torch.from_numpy(np.unpackbits(self.bits[rows.numpy()], axis=1))
        return pixels.float().view(-1, 1, SIDE, SIDE), factors_of(rows)


class DSprites(SplitData[Pair]):
    """dSprites, in batches (x, factors): x [B, 1, 64, 64] float32 0 or 1, factors [B, 5] int64.

    The factors are the classes of (shape, scale, orientation, x, y). The images are kept as bits:
    377 MB, or memory-mapped from a file that all processes share. The parts are those of `Sprites`
    with the same arguments.

    Nothing is downloaded where `root` or `root/dsprites` has the published npz file. The data is not
    part of this package.

    Args:
        root: Folder of the file; it is downloaded to `root/dsprites` where it is missing.
        batch_size: Examples a batch and rank.
        train_size: Images to train on, a count or a share; None for all that are left.
        val_size: Images to validate on; 0 for none.
        test_size: Images to test on; 0 for none.
        memory_map: File to keep the bits in, such as "data/dsprites/bits.npy"; written once, and
            memory-mapped from then on. None keeps them in the memory of each process.
        download: Whether to download the file if it is missing.
        draw: Whether to draw the images, as `Sprites` does, where the file is missing and is not or
            cannot be downloaded; a warning says so.
        verify: Whether the file must have the published checksum. False takes any file that has all
            images.
        drop_last: Whether training leaves out a last batch that is shorter.
        seed: Seed of the choice of images and of their order.

    Raises:
        ValueError: If an argument is out of its range, or the file is not the published one.
        FileNotFoundError: If the file is missing, and neither `download` nor `draw` is asked for.
        OSError: If the download fails.

    Source: https://github.com/google-deepmind/dsprites-dataset.

    Example:
        >>> DSprites("data", memory_map="data/dsprites/bits.npy").factor_sizes
        (3, 6, 40, 32, 32)
    """

    factor_names = FACTORS
    factor_sizes = SIZES
    published: ClassVar[Published] = Published(
        folders=("dsprites",),
        mirrors=("https://github.com/google-deepmind/dsprites-dataset/raw/master/",),
        # The MD5 others have on record; the published file was not at hand to check it here.
        checksums={FILE: "7da33b31b13a06f4b04a70402ce90c2e"},
    )

    def __init__(
        self,
        root: str | Path = "data",
        batch_size: int = 64,
        train_size: float | None = None,
        val_size: float = 10_000,
        test_size: float = 10_000,
        memory_map: str | Path | None = None,
        download: bool = True,
        draw: bool = False,
        verify: bool = True,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, drop_last, seed)
        self.sizes = Sizes(train_size, val_size, test_size)
        self.sizes.counts(COUNT)
        self.root = Path(root)
        self.memory_map = None if memory_map is None else Path(memory_map)
        self.download = download
        self.draw = draw
        self.verify = verify
        self._bits: np.ndarray | None = None

    @override
    def prepare_data(self) -> None:
        if not self.download or self._is_mapped():
            return
        try:
            self.published.download(self.root, FILE)
        except OSError:
            if not self.draw:
                raise

    @override
    def part(self, name: Part) -> Packed | Drawn | None:
        rows = self.sizes.rows(name, COUNT, self.seed)
        return self._images(rows) if len(rows) else None

    def image(self, classes: Tensor) -> Tensor:
        """Return the images of these classes, [*, 64, 64] float32 0 or 1.

        Args:
            classes: (colour, shape, scale, orientation, x, y), [*, 6] int64, of which there is one
                colour, 0; or without the colour, [*, 5].

        Raises:
            ValueError: If a class is out of range.
        """
        if classes.ndim and classes.shape[-1] == len(SIZES) + 1:
            if classes[..., 0].any():
                raise ValueError("classes[..., 0] is the colour, of which there is only 0.")
            classes = classes[..., 1:]
        factors = classes.reshape(-1, classes.shape[-1]) if classes.ndim else classes
        check_factors(factors)
        images, _ = self._images(index_of(factors))[torch.arange(len(factors))]
        return images.view(*classes.shape[:-1], SIDE, SIDE)

    def render(self, factors: Tensor) -> Tensor:
        """Return the images of these classes, as batches have them; [n, 5] int64 -> [n, 1, 64, 64].

        Raises:
            ValueError: If a class is out of range.
        """
        return self.image(factors).unsqueeze(1)

    def _images(self, rows: Tensor) -> Packed | Drawn:
        if self._bits is None and not self._is_mapped() and self._find() is None and self.draw:
            rank_zero_warn(
                f"{FILE} is not in root={str(self.root)!r}: its images are drawn instead."
            )
            return Drawn(rows)
        if self._bits is None:
            self._bits = self._read()
        return Packed(rows, self._bits)

    def _find(self) -> Path | None:
        return self.published.find(self.root, FILE)

    def _is_mapped(self) -> bool:
        return self.memory_map is not None and self.memory_map.exists()

    def _read(self) -> np.ndarray:
        if self.memory_map is None:
            return pack(self._path())
        self.memory_map.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.memory_map}.lock"):
            if not self.memory_map.exists():
                _save(self.memory_map, pack(self._path()))
        bits: np.ndarray = np.load(self.memory_map, mmap_mode="r", allow_pickle=False)
        if bits.shape != (COUNT, BYTES) or bits.dtype != np.uint8:
            raise ValueError(
                f"memory_map={str(self.memory_map)!r} is {bits.dtype} {bits.shape} rather than "
                f"uint8 {(COUNT, BYTES)}: name another file, or delete it."
            )
        return bits

    def _path(self) -> Path:
        found = self._find()
        if found is not None and not self.verify:
            return found
        return self.published.verified(self.root, FILE)


def _save(path: Path, bits: np.ndarray) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        np.save(file, bits)
    os.replace(part, path)
