"""Omniglot: handwritten characters of fifty alphabets, each drawn by twenty people."""

import io
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, TypeAlias, get_args

import torch
from PIL import Image
from torch import Tensor
from typing_extensions import override

from lightning_vae.arguments import one_of, whole
from lightning_vae.data.batches import Stored
from lightning_vae.data.images import as_image, framed
from lightning_vae.data.published import Published
from lightning_vae.data.split import Part, Sizes, SplitData

__all__ = ["Omniglot", "read_characters"]

Pair: TypeAlias = tuple[Tensor, Tensor]
Alphabets: TypeAlias = Literal["background", "small1", "small2"]

TRAIN = {
    "background": "images_background.zip",
    "small1": "images_background_small1.zip",
    "small2": "images_background_small2.zip",
}
TEST = "images_evaluation.zip"
MEMBER = 1 << 20  # bytes of a drawing at most; they have some 300


def read_characters(path: Path, size: int) -> tuple[Tensor, tuple[str, ...]]:
    """Return the drawings in one of Omniglot's archives, and the character of each.

    Nothing is unpacked to the disk. Strokes are 255 on 0, unlike in the files.

    Returns:
        [N, 1, size, size] uint8, in the order of their names; names like "Latin/character26".

    Raises:
        ValueError: If the archive is damaged or has no drawings.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".png"))
            images = torch.stack([_drawing(archive, name, size) for name in names])
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is no archive of Omniglot, or is damaged ({error}).") from error
    return images, tuple("/".join(PurePosixPath(name).parts[-3:-1]) for name in names)


def _drawing(archive: zipfile.ZipFile, name: str, size: int) -> Tensor:
    with archive.open(name) as file:
        content = file.read(MEMBER + 1)
    if len(content) > MEMBER:
        raise ValueError(f"{name} has more than {MEMBER} bytes")
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        white = framed([as_image(image, channels=1)], (size, size), None)[0]
    return (255 * (1 - white)).round().to(torch.uint8)


class Omniglot(SplitData[Pair]):
    """Handwritten characters, in batches (x, y): x [B, 1, H, W] float32 in [0, 1], y [B] int64.

    Strokes are 1 on 0, unlike in the files; they are gray after resizing. y is the character,
    numbered by the names of alphabet and character in its archive. To train there are the 964
    characters of the background set, or the 136 or 156 of one of its small ones; the test images are
    those of 659 other characters. Validation has images of the characters trained on.

    Nothing is downloaded where `root` or `root/omniglot` has the archives. The data is not part of
    this package.

    Args:
        root: Folder of the archives; those that are missing are downloaded to `root/omniglot`.
        alphabets: What to train on: "background", "small1" or "small2".
        size: Height and width to resize the 105 x 105 pixels to.
        batch_size: Examples a batch and rank.
        train_size: Images to train on, a count or a share; None for all that are left.
        val_size: Images to validate on, a count or a share; 0 for none.
        drop_last: Whether training leaves out a last batch that is shorter.
        download: Whether to download the archives that are missing.
        seed: Seed of the choice of images and of their order.

    Raises:
        ValueError: If an argument is out of its range, or a file lacks its published checksum.
        FileNotFoundError: If a file is missing and `download` is False.
        OSError: If a download fails.

    Source: Lake, Salakhutdinov and Tenenbaum (2015), Human-level concept learning through
    probabilistic program induction, https://github.com/brendenlake/omniglot.

    Example:
        >>> Omniglot("data", alphabets="small1").size
        28
    """

    published: ClassVar[Published] = Published(
        folders=("omniglot",),
        mirrors=("https://github.com/brendenlake/omniglot/raw/master/python/",),
        # Those of the two small sets were checked on the published files. The other two are on record
        # elsewhere: the archives were not at hand.
        checksums={
            "images_background.zip": (
                "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640"
            ),
            "images_background_small1.zip": (
                "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4"
            ),
            "images_background_small2.zip": (
                "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f"
            ),
            "images_evaluation.zip": (
                "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee"
            ),
        },
    )

    def __init__(
        self,
        root: str | Path = "data",
        alphabets: Alphabets = "background",
        size: int = 28,
        batch_size: int = 128,
        train_size: float | None = None,
        val_size: float = 0.1,
        drop_last: bool = False,
        download: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, drop_last, seed)
        one_of("alphabets", alphabets, get_args(Alphabets))
        whole("size", size, 1)
        self.root = Path(root)
        self.alphabets = alphabets
        self.size = size
        self.sizes = Sizes(train_size, val_size)
        self.download = download
        self._loaded: dict[str, Pair] = {}

    @override
    def prepare_data(self) -> None:
        if self.download:
            for file in (TRAIN[self.alphabets], TEST):
                self.published.download(self.root, file)

    @override
    def part(self, name: Part) -> Stored[Pair] | None:
        if name == "test":
            return Stored(self._load(TEST))
        images, labels = self._load(TRAIN[self.alphabets])
        rows = self.sizes.rows(name, len(labels), self.seed)
        return Stored((images[rows], labels[rows])) if len(rows) else None

    def _load(self, file: str) -> Pair:
        if file not in self._loaded:
            images, names = read_characters(self.published.verified(self.root, file), self.size)
            number = {name: k for k, name in enumerate(sorted(set(names)))}
            self._loaded[file] = images, torch.tensor([number[name] for name in names])
        return self._loaded[file]
