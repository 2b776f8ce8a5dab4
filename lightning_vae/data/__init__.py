"""Data sets, one a file, each a LightningDataModule that gathers whole batches."""

from lightning_vae.data.arrays import Arrays
from lightning_vae.data.batches import Batches, Stored
from lightning_vae.data.linear_gaussian import LinearGaussian
from lightning_vae.data.mnist import MNIST, FashionMNIST
from lightning_vae.data.sprites import Sprites
from lightning_vae.data.text import Text, Vocabulary
from lightning_vae.data.toy_text import ToyText

__all__ = [
    "MNIST",
    "Arrays",
    "Batches",
    "FashionMNIST",
    "LinearGaussian",
    "Sprites",
    "Stored",
    "Text",
    "ToyText",
    "Vocabulary",
]
