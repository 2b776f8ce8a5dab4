"""MNIST and Fashion-MNIST: gray images of ten classes, from their published idx files."""

from pathlib import Path
from typing import ClassVar, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from lightning_vae.arguments import one_of
from lightning_vae.data.batches import FIXED, Stored, stream
from lightning_vae.data.idx import read_idx
from lightning_vae.data.published import Published
from lightning_vae.data.split import Part, SplitData

__all__ = ["MNIST", "FashionMNIST", "bernoulli", "binarise"]

Binarisation = Literal["gray", "dynamic", "static"]
Split = Literal["60k/10k", "50k/10k/10k"]
File = Literal["train", "t10k"]
Pair: TypeAlias = tuple[Tensor, Tensor]

HELD_OUT = 10_000  # of the training images, in the split 50k/10k/10k


def binarise(images: Tensor, generator: np.random.Generator) -> Tensor:
    """Draw 0 or 1 for each uint8 pixel x, 1 with probability x / 255; bool, of the same shape."""
    # u is uniform on 0 ... 254, so P(u < x) is x / 255 exactly.
    u = generator.integers(0, 255, tuple(images.shape), dtype=np.uint8)
    return torch.from_numpy(u) < images


def bernoulli(batch: Pair, generator: np.random.Generator) -> Pair:
    """Replace the images x in [0, 1] of a batch (x, y) by draws from Bernoulli(x), float32."""
    x, y = batch
    u = torch.from_numpy(generator.random(tuple(x.shape), dtype=np.float32))
    return (u < x).float(), y


class MNIST(SplitData[Pair]):
    """Handwritten digits, in batches (x, y): x [B, 1, 28, 28] float32 in [0, 1], y [B] int64.

    Nothing is downloaded where `root`, `root/mnist` or `root/MNIST/raw` has the four files, gzipped
    or unpacked. The data is not part of this package.

    Args:
        root: Folder of the files; those that are missing are downloaded to `root/mnist`.
        binarisation: "gray" for x = pixel / 255; "static" for one draw from Bernoulli(pixel / 255),
            fixed by `seed`; "dynamic" for a new draw each time an image is seen in training, and
            the static one in validation and test.
        split: "60k/10k" validates and tests on the 10,000 test images; "50k/10k/10k" validates on
            the last 10,000 training images.
        batch_size: Examples a batch and rank.
        drop_last: Whether training leaves out a last batch that is shorter.
        download: Whether to download the files that are missing.
        seed: Seed of the order and of the draws.

    Raises:
        ValueError: If an argument is out of its range, or a file lacks its published checksum.
        FileNotFoundError: If a file is missing and `download` is False.
        OSError: If a download fails.

    Source: LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/. Static binarisation:
    Larochelle and Murray (2011), whose own draw is another one; dynamic: Burda et al. (2016),
    arXiv:1509.00519.

    Example:
        >>> MNIST("data", binarisation="dynamic", split="50k/10k/10k").batch_size
        128
    """

    published: ClassVar[Published] = Published(
        folders=("mnist", "MNIST/raw"),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        checksums={
            "train-images-idx3-ubyte.gz": (
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
            ),
            "train-labels-idx1-ubyte.gz": (
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
            ),
            "train-images-idx3-ubyte": (
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
            ),
            "train-labels-idx1-ubyte": (
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
            ),
            "t10k-images-idx3-ubyte": (
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
            ),
            "t10k-labels-idx1-ubyte": (
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
            ),
        },
    )

    def __init__(
        self,
        root: str | Path = "data",
        binarisation: Binarisation = "gray",
        split: Split = "60k/10k",
        batch_size: int = 128,
        drop_last: bool = False,
        download: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, drop_last, seed)
        one_of("binarisation", binarisation, get_args(Binarisation))
        one_of("split", split, get_args(Split))
        self.root = Path(root)
        self.binarisation = binarisation
        self.split = split
        self.download = download
        self.noise = bernoulli if binarisation == "dynamic" else None
        self._loaded: dict[tuple[File, bool], Pair] = {}

    @override
    def prepare_data(self) -> None:
        if self.download:
            for part in get_args(File):
                self.published.download(self.root, f"{part}-images-idx3-ubyte")
                self.published.download(self.root, f"{part}-labels-idx1-ubyte")

    @override
    def part(self, name: Part) -> Stored[Pair]:
        gray = self.binarisation == "gray"
        whole = self.split == "60k/10k"
        if name == "train":
            # Dynamic binarisation draws from the gray values, batch by batch.
            rows = slice(None) if whole else slice(None, -HELD_OUT)
            return self._stored("train", rows, gray=self.binarisation != "static")
        if name == "val" and not whole:
            return self._stored("train", slice(-HELD_OUT, None), gray)
        return self._stored("t10k", slice(None), gray)

    def _stored(self, part: File, rows: slice, gray: bool) -> Stored[Pair]:
        if (part, gray) not in self._loaded:
            self._loaded[part, gray] = self._load(part, gray)
        images, labels = self._loaded[part, gray]
        return Stored((images[rows], labels[rows]))

    def _load(self, part: File, gray: bool) -> Pair:
        images = self._read(f"{part}-images-idx3-ubyte").unsqueeze(1)
        labels = self._read(f"{part}-labels-idx1-ubyte").long()
        if not gray:
            images = binarise(images, stream(self.seed, FIXED, get_args(File).index(part)))
        return images, labels

    def _read(self, name: str) -> Tensor:
        return read_idx(self.published.verified(self.root, name))


class FashionMNIST(MNIST):
    """Pictures of clothes, in the format of `MNIST`, whose arguments it takes.

    Nothing is downloaded where `root`, `root/fashion_mnist` or `root/FashionMNIST/raw` has the four
    files, gzipped. The data is not part of this package.

    Source: Xiao, Rasul and Vollgraf (2017), arXiv:1708.07747,
    https://github.com/zalandoresearch/fashion-mnist.

    Example:
        >>> FashionMNIST("data").published.folders
        ('fashion_mnist', 'FashionMNIST/raw')
    """

    published: ClassVar[Published] = Published(
        folders=("fashion_mnist", "FashionMNIST/raw"),
        mirrors=(
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        # The publisher lists MD5; that these SHA-256 belong to them is on record elsewhere, and was
        # checked here for the test files. Of the unpacked training files none is known.
        checksums={
            "train-images-idx3-ubyte.gz": (
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
            ),
            "train-labels-idx1-ubyte.gz": (
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
            ),
            "t10k-images-idx3-ubyte": (
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
            ),
            "t10k-labels-idx1-ubyte": (
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
            ),
        },
    )
