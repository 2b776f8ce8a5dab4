"""CelebA-HQ: 30,000 faces of 1024 x 1024 pixels, as images or as numpy arrays."""

from pathlib import Path

import numpy as np
from PIL import Image

from lightning_vae.data.image_folder import ImageFolder
from lightning_vae.data.images import Corrupt, Transform, open_image

__all__ = ["CelebAHQ", "open_npy"]


def open_npy(path: Path) -> Image.Image:
    """Open an array of bytes as an image: [3, H, W], [1, 3, H, W] or [H, W, 3] uint8.

    Raises:
        ValueError: If it is another array.
    """
    array = np.load(path, allow_pickle=False)
    pixels = array[0] if array.ndim == 4 and len(array) == 1 else array
    if pixels.ndim == 3 and pixels.shape[0] == 3 and pixels.shape[2] != 3:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"it is {array.dtype} of shape {array.shape} rather than uint8 [3, H, W]")
    return Image.fromarray(np.ascontiguousarray(pixels))


class CelebAHQ(ImageFolder):
    """Faces in high quality, in batches (x, x): x [B, 3, H, W] float32 in [0, 1] (pixel / 255).

    The folder is one of images, or, with `as_npy`, of the arrays that the authors' script writes.
    Nothing is downloaded. No split is published: which images are held out follows the seed. What
    is not named here is as in `ImageFolder`.

    Args:
        root: The folder.
        as_npy: Whether the files are `.npy` arrays, uint8 [1, 3, H, W], [3, H, W] or [H, W, 3].
        size: Height and width to resize to, one number for both; None keeps them.
        crop: Side of the square that is cut out of the centre first; None for the largest area of
            the shape of `size`.
        transform: What is done to each image, [3, H, W] float32 in [0, 1], before it is cut.
        target_transform: What is done to each target image, before it is cut.
        corrupt: "raise" to stop at a file that cannot be read; "skip" to leave such files out.
        train_size: Images to train on, a count or a share; None for all that are left.
        val_size: Images to validate on, a count or a share; 0 for none.
        test_size: Images to test on, a count or a share; 0 for none.
        workers: Processes that decode; 0 decodes in the main one.
        batch_size: Examples a batch and rank.
        drop_last: Whether training leaves out a last batch that is shorter.
        seed: Seed of the choice of images and of their order.

    Raises:
        ValueError: If an argument is out of its range; in use, if a file cannot be read.
        FileNotFoundError: In `setup`, if the folder is missing or has no such files.

    Source: Karras, Aila, Laine and Lehtinen (2018), Progressive Growing of GANs, appendix C,
    arXiv:1710.10196.

    Example:
        >>> CelebAHQ("data/celeba_hq", as_npy=True, size=256).extensions
        ('.npy',)
    """

    def __init__(
        self,
        root: str | Path = "data/celeba_hq",
        as_npy: bool = False,
        size: int | tuple[int, int] | None = 256,
        crop: int | None = None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        corrupt: Corrupt = "raise",
        train_size: float | None = None,
        val_size: float = 0.1,
        test_size: float = 0,
        workers: int = 2,
        batch_size: int = 16,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            root,
            size,
            crop,
            transform=transform,
            target_transform=target_transform,
            loader=open_npy if as_npy else open_image,
            extensions=[".npy"] if as_npy else None,
            corrupt=corrupt,
            train_size=train_size,
            val_size=val_size,
            test_size=test_size,
            workers=workers,
            batch_size=batch_size,
            drop_last=drop_last,
            seed=seed,
        )
