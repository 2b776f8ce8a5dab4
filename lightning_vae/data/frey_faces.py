"""Frey faces: 1,965 gray frames of one face, from a film."""

import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from torch import Tensor
from typing_extensions import override

from lightning_vae.data.batches import Stored
from lightning_vae.data.split import Part, Sizes, SplitData

__all__ = ["FreyFaces", "read_frey_faces"]

FILE = "frey_rawface.mat"
COUNT, HEIGHT, WIDTH = 1965, 28, 20


def read_frey_faces(path: Path) -> Tensor:
    """Return the images in the MATLAB file, [N, 1, 28, 20] uint8, in the order of the film.

    Raises:
        ValueError: If the file is damaged, or does not have 560 bytes an image under `ff`.
    """
    try:
        pixels = loadmat(path, variable_names=["ff"])["ff"]
    except (KeyError, ValueError, TypeError, OSError, MatReadError, NotImplementedError) as error:
        raise ValueError(f"{path} is no file of Frey faces, or is damaged ({error}).") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or len(pixels) != HEIGHT * WIDTH:
        raise ValueError(
            f"{path} has ff {pixels.dtype} {pixels.shape} rather than uint8 ({HEIGHT * WIDTH}, "
            f"{COUNT}): it is no file of Frey faces."
        )
    return torch.from_numpy(np.ascontiguousarray(pixels.T)).view(-1, 1, HEIGHT, WIDTH)


class FreyFaces(SplitData[Tensor]):
    """Frey faces, in batches x [B, 1, 28, 20] float32 in [0, 1] (pixel / 255).

    No split is published; the usual sizes, 1,565 to train, 200 to validate and 200 to test on, are
    the default, and the seed says which. (Tomczak and Welling scale to (pixel + 1/2) / 256.)

    Nothing is downloaded, as no checksum of the published file is on record. From
    https://cs.nyu.edu/~roweis/data/frey_rawface.mat, put it in `root` or in `root/frey_faces`: its
    pixels are checked.

    Args:
        root: Folder of `frey_rawface.mat`.
        batch_size: Examples a batch and rank.
        train_size: Images to train on, a count or a share; None for all that are left.
        val_size: Images to validate on; 0 for none.
        test_size: Images to test on; 0 for none.
        drop_last: Whether training leaves out a last batch that is shorter.
        seed: Seed of the choice of images and of their order.

    Raises:
        ValueError: If an argument is out of its range, or the file has other pixels.
        FileNotFoundError: If the file is missing.

    Source: B. Frey, through S. Roweis, https://cs.nyu.edu/~roweis/data.html.

    Example:
        >>> FreyFaces("data").sizes.counts(1965)
        {'train': 1565, 'val': 200, 'test': 200}
    """

    checksum: ClassVar = "2438ba4f0d2a6bd8bac43de756141eaa33c8d248dd613d464bdb1210d9b7af78"

    def __init__(
        self,
        root: str | Path = "data",
        batch_size: int = 100,
        train_size: float | None = None,
        val_size: float = 200,
        test_size: float = 200,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, drop_last, seed)
        self.root = Path(root)
        self.sizes = Sizes(train_size, val_size, test_size)
        self._images: Tensor | None = None

    @override
    def part(self, name: Part) -> Stored[Tensor] | None:
        if self._images is None:
            self._images = self._read()
        rows = self.sizes.rows(name, len(self._images), self.seed)
        return Stored(self._images[rows]) if len(rows) else None

    def _read(self) -> Tensor:
        paths = [self.root / FILE, self.root / "frey_faces" / FILE]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f"{FILE} is neither in root={str(self.root)!r} nor in frey_faces/ below: put it "
                f"there, from https://cs.nyu.edu/~roweis/data/{FILE}."
            )
        images = read_frey_faces(path)
        if hashlib.sha256(images.numpy().tobytes()).hexdigest() != self.checksum:
            raise ValueError(f"{path} does not have the pixels of the Frey faces: fetch it again.")
        return images
