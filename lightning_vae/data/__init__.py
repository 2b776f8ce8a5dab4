"""Data sets, one a file, each a LightningDataModule that gives whole batches."""

from lightning_vae.data.arrays import Arrays
from lightning_vae.data.batches import Batches, Stored
from lightning_vae.data.binarized_mnist import BinarizedMNIST
from lightning_vae.data.celeba import CelebA
from lightning_vae.data.celeba_hq import CelebAHQ
from lightning_vae.data.counts import Counts
from lightning_vae.data.dsprites import DSprites
from lightning_vae.data.factored import Factored
from lightning_vae.data.frey_faces import FreyFaces
from lightning_vae.data.image_folder import ImageFolder
from lightning_vae.data.linear_gaussian import LinearGaussian
from lightning_vae.data.mnist import MNIST, FashionMNIST
from lightning_vae.data.omniglot import Omniglot
from lightning_vae.data.pbmc3k import PBMC3k
from lightning_vae.data.split import SplitData
from lightning_vae.data.sprites import Sprites
from lightning_vae.data.text import Text, Vocabulary
from lightning_vae.data.toy_text import ToyText

__all__ = [
    "MNIST",
    "Arrays",
    "Batches",
    "BinarizedMNIST",
    "CelebA",
    "CelebAHQ",
    "Counts",
    "DSprites",
    "Factored",
    "FashionMNIST",
    "FreyFaces",
    "ImageFolder",
    "LinearGaussian",
    "Omniglot",
    "PBMC3k",
    "SplitData",
    "Sprites",
    "Stored",
    "Text",
    "ToyText",
    "Vocabulary",
]
