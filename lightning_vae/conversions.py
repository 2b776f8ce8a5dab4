"""Conversions from this package's units, nats and the β of the ELBO, to those that papers report."""

import math
from typing import TypeVar

from torch import Tensor

from lightning_vae.arguments import whole

__all__ = ["beta_from_normalised", "bits_per_dimension", "normalised_beta"]

Number = TypeVar("Number", float, Tensor)


def bits_per_dimension(nats: Number, dimensions: int, levels: int = 1) -> Number:
    r"""Nats per example as bits per dimension.

    .. math:: \mathrm{bpd} = \frac{D_\mathrm{nats}}{D \ln 2} + \log_2 \text{levels}

    A probability of discrete data, such as ``DiscretisedLogisticMixture`` gives, needs no more than
    the first term. A *density* of 8-bit data that were dequantised and scaled to [0, 1],
    :math:`(k + u) / 256`, is one per bin of width 1/256; in units of one level it is 256 times
    smaller, so that ``levels=256`` adds the 8 bits. Scaled to [-1, 1] the bins are 2/256 wide:
    ``levels=128``. Without noise on the data a density bounds nothing.

    Args:
        nats: A negative log-likelihood, or minus the ELBO, summed over the dimensions.
        dimensions: D, the elements of one example: 3072 for CIFAR.
        levels: How many levels of the data fit into one unit of x; 1 for discrete data.

    Raises:
        ValueError: if dimensions or levels are no whole numbers above 0.

    Source: Theis, van den Oord & Bethge 2016, "A note on the evaluation of generative models",
    section 3.1.

    >>> bits_per_dimension(3072 * math.log(2), dimensions=3072)
    1.0
    >>> bits_per_dimension(0.0, dimensions=3072, levels=256)
    8.0
    """
    whole("dimensions", dimensions)
    whole("levels", levels)
    return nats / (dimensions * math.log(2)) + math.log2(levels)


def normalised_beta(beta: Number, latent: int, dimensions: int) -> Number:
    r"""Higgins' normalised β, which compares models of different sizes.

    .. math:: \beta_\mathrm{norm} = \beta \, d / D

    Args:
        beta: β of nats summed over latents and over dimensions, as everywhere in this package.
        latent: d, the number of latents.
        dimensions: D, the elements of one example of x.

    Raises:
        ValueError: if latent or dimensions are no whole numbers above 0.

    Source: Higgins et al. 2017, section 4.2.

    >>> normalised_beta(4.0, latent=10, dimensions=4096)
    0.009765625
    """
    whole("latent", latent)
    whole("dimensions", dimensions)
    return beta * latent / dimensions


def beta_from_normalised(beta: Number, latent: int, dimensions: int) -> Number:
    r"""β of the ELBO from the normalised one, or from a loss of means.

    .. math:: \beta = \beta_\mathrm{norm} \, D / d

    Code that averages the distortion over the dimensions and the rate over the latents trains at
    this β, whatever it calls its own.

    Args:
        beta: The normalised β.
        latent: d, the number of latents.
        dimensions: D, the elements of one example of x.

    Raises:
        ValueError: if latent or dimensions are no whole numbers above 0.

    Source: Higgins et al. 2017, section 4.2.

    >>> beta_from_normalised(1.0, latent=10, dimensions=4096)
    409.6
    """
    whole("latent", latent)
    whole("dimensions", dimensions)
    return beta * dimensions / latent
