"""The binarised MNIST of Larochelle and Murray: one published draw, for numbers that compare."""

from pathlib import Path
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lightning_vae.data.amat import read_amat
from lightning_vae.data.batches import Stored
from lightning_vae.data.published import Published
from lightning_vae.data.split import Part, SplitData

__all__ = ["BinarizedMNIST"]

FILES: dict[Part, str] = {
    "train": "binarized_mnist_train.amat",
    "val": "binarized_mnist_valid.amat",
    "test": "binarized_mnist_test.amat",
}


class BinarizedMNIST(SplitData[Tensor]):
    """Handwritten digits in black and white, in batches x [B, 1, 28, 28] float32 0 or 1.

    The parts are the published ones: 50,000 images to train on, 10,000 to validate and 10,000 to
    test on, in an order of their own, and without labels. For draws of one's own, and labels, there
    is `MNIST(binarisation=...)`.

    Nothing is downloaded where `root` or `root/binarized_mnist` has the three files, gzipped or
    not. The data is not part of this package.

    Args:
        root: Folder of the files; those that are missing are downloaded to `root/binarized_mnist`.
        batch_size: Examples a batch and rank.
        drop_last: Whether training leaves out a last batch that is shorter.
        download: Whether to download the files that are missing.
        seed: Seed of the order.

    Raises:
        ValueError: If an argument is out of its range, or a file lacks its published checksum.
        FileNotFoundError: If a file is missing and `download` is False.
        OSError: If a download fails.

    Source: Larochelle and Murray (2011), The Neural Autoregressive Distribution Estimator; the draw
    is that of Salakhutdinov and Murray (2008).

    Example:
        >>> BinarizedMNIST("data").batch_size
        128
    """

    published: ClassVar[Published] = Published(
        folders=("binarized_mnist",),
        mirrors=("http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",),
        # All three were checked on the published texts.
        checksums={
            "binarized_mnist_train.amat": (
                "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d"
            ),
            "binarized_mnist_valid.amat": (
                "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"
            ),
            "binarized_mnist_test.amat": (
                "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"
            ),
        },
    )

    def __init__(
        self,
        root: str | Path = "data",
        batch_size: int = 128,
        drop_last: bool = False,
        download: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, drop_last, seed)
        self.root = Path(root)
        self.download = download

    @override
    def prepare_data(self) -> None:
        if self.download:
            for file in FILES.values():
                self.published.download(self.root, file)

    @override
    def part(self, name: Part) -> Stored[Tensor]:
        bits = read_amat(self.published.verified(self.root, FILES[name]), columns=784)
        return Stored(bits.view(-1, 1, 28, 28))
