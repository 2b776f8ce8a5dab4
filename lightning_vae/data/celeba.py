"""CelebA: 202,599 aligned faces with forty attributes and an identity each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from typing_extensions import override

from lightning_vae.arguments import one_of
from lightning_vae.data.archives import unpack
from lightning_vae.data.images import (
    Corrupt,
    Images,
    Loader,
    Pair,
    Reading,
    Transform,
    open_image,
    readable,
)
from lightning_vae.data.split import Part, SplitData

__all__ = ["CelebA", "Table", "read_table"]

Target: TypeAlias = Literal["image", "attributes", "identity"]

IMAGES = "img_align_celeba"
PARTITION, ATTRIBUTES, IDENTITY = "list_eval_partition", "list_attr_celeba", "identity_CelebA"
PARTS: dict[Part, int] = {"train": 0, "val": 1, "test": 2}
COUNTS: dict[Part, int] = {"train": 162_770, "val": 19_867, "test": 19_962}
UNPACKED = 4 << 30  # bytes; the images have 1.7 GB


@dataclass(frozen=True)
class Table:
    """The numbers that one of CelebA's text files has of each image.

    Args:
        names: Names of the columns, where the file gives them.
        files: Names of the images.
        values: The numbers, [N, columns] int64.
    """

    names: tuple[str, ...]
    files: tuple[str, ...]
    values: Tensor

    def of(self, files: Sequence[str]) -> Tensor:
        """Return the rows of these images, [n, columns] int64."""
        row = {file: k for k, file in enumerate(self.files)}
        return self.values[[row[file] for file in files]]


def read_table(path: Path) -> Table:
    """Read one of CelebA's text files: as published, or with commas as others have it.

    Raises:
        ValueError: If it has no rows, or not equally many numbers in each.
    """
    lines = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
    rows = [fields for line in lines if (fields := line.split())]
    images = [fields for fields in rows if Path(fields[0]).suffix]
    above = rows[: len(rows) - len(images)]
    try:
        values = torch.tensor([[int(number) for number in fields[1:]] for fields in images])
        if not values.numel() or rows[len(above) :] != images:
            raise ValueError("there are no rows, or other lines between them")
    except ValueError as error:
        raise ValueError(f"{path} is no list of images and numbers ({error}).") from error
    columns = values.shape[1]
    names = above[-1][-columns:] if above and len(above[-1]) >= columns > 1 else ()
    return Table(tuple(names), tuple(fields[0] for fields in images), values)


class CelebA(SplitData[Pair]):
    """Faces, in batches (x, y): x [B, C, H, W] float32 in [0, 1] (pixel / 255).

    y is x, the forty attributes, [B, 40] int64 0 or 1, or the identity, [B] int64. The parts are
    the published ones: 162,770 images to train on, 19,867 to validate and 19,962 to test on. The
    images are decoded in workers, each time anew, and cropped and resized batch by batch.

    The data may not be passed on, so nothing is downloaded. From its home page, put in `root`, or
    in `root/celeba`: `img_align_celeba.zip` (or the folder `img_align_celeba` that is in it),
    `list_eval_partition.txt`, and for those targets `list_attr_celeba.txt` and
    `identity_CelebA.txt`; the same tables with commas, as `.csv`, are read too.

    Args:
        root: The folder; images still in their zip are unpacked in it.
        size: Height and width to resize to, one number for both; None keeps them.
        crop: Side of the square that is cut out of the centre of the 178 x 218 pixels first; None
            for the largest area of the shape of `size`.
        channels: 3 for colour, 1 for gray.
        target: "image", "attributes" or "identity", for y.
        transform: What is done to each image, [C, H, W] float32 in [0, 1], before it is cut.
        target_transform: What is done to the target: to each image, before it is cut, or to the
            attributes or identities of a batch.
        loader: What opens a file, Path -> PIL.Image.Image.
        corrupt: "raise" to stop at a file that cannot be read, and name it; "skip" to leave such
            files out, for which each file is decoded once in `setup`, and a warning counts them.
        workers: Processes that decode; 0 decodes in the main one.
        batch_size: Examples a batch and rank.
        drop_last: Whether training leaves out a last batch that is shorter.
        seed: Seed of the order.

    Raises:
        ValueError: If an argument is out of its range; in `setup`, if the lists do not have the
            published parts, or images are missing.
        FileNotFoundError: In `setup`, if a file is missing.

    Source: Liu, Luo, Wang and Tang (2015), Deep Learning Face Attributes in the Wild,
    arXiv:1411.7766, http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html.

    Example:
        >>> CelebA("data", size=64, crop=148, target="attributes").counts
        {'train': 162770, 'val': 19867, 'test': 19962}
    """

    counts: ClassVar[dict[Part, int]] = COUNTS

    def __init__(
        self,
        root: str | Path = "data",
        size: int | tuple[int, int] | None = 64,
        crop: int | None = 148,
        channels: int = 3,
        target: Target = "image",
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        loader: Loader = open_image,
        corrupt: Corrupt = "raise",
        workers: int = 2,
        batch_size: int = 64,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, drop_last, seed, workers)
        one_of("target", target, get_args(Target))
        one_of("corrupt", corrupt, get_args(Corrupt))
        self.root = Path(root)
        self.reading = Reading(size, crop, channels, loader, transform, target_transform)
        self.target = target
        self.corrupt = corrupt

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """The names of the forty attributes, in the order of their columns."""
        return read_table(self._list(ATTRIBUTES)).names

    @override
    def prepare_data(self) -> None:
        folder = self._list(PARTITION).parent
        archive = folder / f"{IMAGES}.zip"
        if not (folder / IMAGES).exists() and archive.exists():
            unpack(archive, folder / IMAGES, limit=UNPACKED)

    @override
    def part(self, name: Part) -> Images:
        partition = read_table(self._list(PARTITION))
        self._check_counts(partition)
        kept = (partition.values[:, 0] == PARTS[name]).nonzero().squeeze(1)
        files = [partition.files[row] for row in kept.tolist()]
        paths = self._paths(files)
        good = readable(paths, self.reading, self.corrupt, self.workers)
        labels = self._labels(files)
        return Images(
            [paths[row] for row in good],
            self.reading,
            None if labels is None else labels[good],
        )

    def _check_counts(self, partition: Table) -> None:
        found = {name: int((partition.values[:, 0] == k).sum()) for name, k in PARTS.items()}
        if found != self.counts:
            raise ValueError(
                f"{PARTITION} has the parts {found} rather than the published {self.counts}: fetch "
                "it again, or read a folder with some of the images by ImageFolder."
            )

    def _paths(self, files: Sequence[str]) -> list[Path]:
        top = self._list(PARTITION).parent / IMAGES
        inner = top / IMAGES  # unpacked to a folder of its own name
        folder = inner if inner.is_dir() else top
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        missing = [file for file in files if file not in there]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(files)} images are not in {folder}, the first of them "
                f"{missing[0]}: put {IMAGES}.zip beside it, unpacked or not."
            )
        return [folder / file for file in files]

    def _labels(self, files: Sequence[str]) -> Tensor | None:
        if self.target == "image":
            return None
        if self.target == "identity":
            return read_table(self._list(IDENTITY)).of(files).squeeze(1)
        return (read_table(self._list(ATTRIBUTES)).of(files) > 0).long()  # published as -1 and 1

    def _list(self, stem: str) -> Path:
        folders = (self.root, self.root / "celeba", self.root / "CelebA")
        paths = [folder / f"{stem}{ending}" for folder in folders for ending in (".txt", ".csv")]
        found = next((path for path in paths if path.is_file()), None)
        if found is None:
            raise FileNotFoundError(
                f"{stem}.txt is neither in root={str(self.root)!r} nor in celeba/ below it: put "
                "CelebA's files there, from http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html."
            )
        return found
