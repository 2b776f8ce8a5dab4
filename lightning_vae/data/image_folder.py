"""Images in a folder of the user's own, at any depth and in any format that Pillow decodes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from typing_extensions import override

from lightning_vae.arguments import one_of
from lightning_vae.data.images import (
    Corrupt,
    Images,
    Loader,
    Pair,
    Reading,
    Transform,
    extensions,
    list_images,
    open_image,
    readable,
)
from lightning_vae.data.split import Part, Sizes, SplitData

__all__ = ["ImageFolder", "labels_of"]

Target: TypeAlias = Literal["image", "label"]
Split: TypeAlias = Literal["seed", "folders"]

_PARTS = get_args(Part)
_SIZES = Sizes(val=0.1)


def labels_of(root: Path, paths: Sequence[Path], depth: int = 0) -> tuple[tuple[str, ...], Tensor]:
    """Return the names of the classes, and the class of each file, [N] int64.

    A class is a folder directly below `root`, or `depth` folders further down, where those of one
    name are one class; it has all files below it, at any depth.

    Raises:
        ValueError: If a file is in no such folder.
    """
    parts = [path.relative_to(root).parts[depth:] for path in paths]
    loose = [path for path, names in zip(paths, parts, strict=True) if len(names) == 1]
    if loose:
        raise ValueError(
            f'target="label" takes the folders below root={str(root)!r} for classes, but {loose[0]} '
            'is in none of them: move it to one, or pass target="image".'
        )
    classes = sorted({names[0] for names in parts})
    number = {name: k for k, name in enumerate(classes)}
    return tuple(classes), torch.tensor([number[names[0]] for names in parts])


def parts_of(root: Path, paths: Sequence[Path]) -> list[str]:
    """Return the folder directly below `root` that each file is in; "" where it is in none."""
    return [names[0] if len(names := path.relative_to(root).parts) > 1 else "" for path in paths]


class ImageFolder(SplitData[Pair]):
    """The images below a folder, in batches (x, x) or (x, y).

    x is [B, C, H, W] float32 in [0, 1] (8-bit values / 255, 16-bit values / 65,535), turned as its
    EXIF orientation says; y is the label [B] int64. They are decoded in workers, each time anew, and
    cropped and resized batch by batch. The same files and seed give the same parts on every machine.

    Args:
        root: The folder.
        size: Height and width to resize to, one number for both; None keeps those of the files.
        crop: Side of the square that is cut out of the centre first; None for the largest area of
            the shape of `size`.
        channels: 3 for colour, 1 for gray.
        target: "image" for batches (x, x), "label" for (x, y), whose classes are the folders
            directly below `root`, numbered by name.
        transform: What is done to each image, [C, H, W] float32 in [0, 1], before it is cut. What
            it draws by torch in a worker follows the seed and repeats when a run is resumed; with
            workers=0 it draws from torch's global generator.
        target_transform: What is done to the target: to each image as it was decoded, before it is
            cut, or to the labels of a batch, [B]. A target image without it is the image before
            `transform`, so that a transform that adds noise makes a denoising task.
        loader: What opens a file, Path -> PIL.Image.Image.
        extensions: Endings of the files to read, such as [".png"]; None for all that Pillow
            decodes.
        corrupt: "raise" to stop at a file that cannot be read, and name it; "skip" to leave such
            files out, for which each file is decoded once in `setup`, and a warning counts them.
        split: "seed" for parts of these sizes, chosen by the seed; "folders" for the parts that the
            folders `train`, `val` and `test` below `root` are, classes being the folders in them.
        train_size: Images to train on, a count or a share; None for all that are left.
        val_size: Images to validate on, a count or a share; 0 for none.
        test_size: Images to test on, a count or a share; 0 for none.
        workers: Processes that decode; 0 decodes in the main one.
        batch_size: Examples a batch and rank.
        drop_last: Whether training leaves out a last batch that is shorter.
        seed: Seed of the choice of images and of their order.

    Raises:
        ValueError: If an argument is out of its range; in use, if a file cannot be read, or if
            the folders are not what `split` takes them for.
        FileNotFoundError: In `setup`, if the folder is missing or has no such files.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for k in range(4):
        ...         Image.new("RGB", (80, 60 + k)).save(f"{folder}/{k}.png")
        ...     data = ImageFolder(folder, size=32, val_size=1, workers=0)
        ...     x, target = next(iter(data.train_dataloader()))
        >>> x.shape, target is x
        (torch.Size([3, 3, 32, 32]), True)
    """

    def __init__(
        self,
        root: str | Path,
        size: int | tuple[int, int] | None = 64,
        crop: int | None = None,
        channels: int = 3,
        target: Target = "image",
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        loader: Loader = open_image,
        extensions: Sequence[str] | None = None,
        corrupt: Corrupt = "raise",
        split: Split = "seed",
        train_size: float | None = None,
        val_size: float = _SIZES.val,
        test_size: float = _SIZES.test,
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
        self.extensions = _checked(extensions)
        self.corrupt = corrupt
        self.sizes = Sizes(train_size, val_size, test_size)
        self.split = one_of("split", split, get_args(Split))
        if split == "folders" and self.sizes != _SIZES:
            raise ValueError(
                'split="folders" takes all images of each folder: leave train_size, val_size and '
                "test_size out."
            )

    @override
    def part(self, name: Part) -> Images | None:
        paths = self._paths()
        rows = self._rows(name, paths)
        if not len(rows):
            return None
        labels = self._labelled(paths)[1] if self.target == "label" else None
        # After the split, so that what cannot be read moves no other image to another part.
        own = [paths[row] for row in rows.tolist()]
        good = readable(own, self.reading, self.corrupt, self.workers)
        return Images(
            [own[row] for row in good],
            self.reading,
            None if labels is None else labels[rows[good]],
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by their labels."""
        return self._labelled(self._paths())[0]

    def _paths(self) -> list[Path]:
        paths = list_images(self.root, self.extensions or extensions())
        found = set(parts_of(self.root, paths))
        are_parts = found <= set(_PARTS)
        if self.split == "folders" and not (are_parts and "train" in found):
            raise ValueError(
                f'split="folders" takes the folders {list(_PARTS)} below root={str(self.root)!r}, '
                f"of which train must be there, and nothing beside; it has {sorted(found)}."
            )
        if self.split == "seed" and are_parts and len(found) > 1:
            raise ValueError(
                f"root={str(self.root)!r} has the folders {sorted(found)}, which would be mixed: "
                'pass split="folders" to take them for the parts, or one of them for root.'
            )
        return paths

    def _rows(self, name: Part, paths: Sequence[Path]) -> Tensor:
        if self.split == "seed":
            return self.sizes.rows(name, len(paths), self.seed)
        parts = parts_of(self.root, paths)
        return torch.tensor([row for row, part in enumerate(parts) if part == name])

    def _labelled(self, paths: Sequence[Path]) -> tuple[tuple[str, ...], Tensor]:
        return labels_of(self.root, paths, depth=int(self.split == "folders"))


def _checked(endings: Sequence[str] | None) -> tuple[str, ...] | None:
    if endings is None:
        return None
    if isinstance(endings, str) or not all(e.startswith(".") and len(e) > 1 for e in endings):
        raise ValueError(f'extensions must be a list of endings such as [".png"], got {endings!r}.')
    return tuple(endings)
