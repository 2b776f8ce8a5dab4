"""The convolutional networks of the β-VAE literature."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.distributions import Distribution

from lightning_vae.arguments import whole, wholes
from lightning_vae.likelihoods import Likelihood
from lightning_vae.networks.heads import likelihood_head, posterior_head
from lightning_vae.networks.layers import linears, through
from lightning_vae.posteriors import Posterior

__all__ = ["ConvDecoder", "ConvEncoder"]

_KERNEL, _STRIDE, _PADDING = 4, 2, 1


def _halvings(size: int, times: int) -> list[int]:
    """The side of the image before and after every convolution: [64, 32, 16, 8, 4]."""
    sizes = [size]
    for _ in range(times):
        sizes.append((sizes[-1] + 2 * _PADDING - _KERNEL) // _STRIDE + 1)
    if sizes[-1] < 1:
        raise ValueError(
            f"shape has a side of {size} pixels, too few for {times} convolutions that halve it; "
            f"give fewer channels, such as channels=(32, 64)."
        )
    return sizes


def _channels(channels: Sequence[int]) -> tuple[int, ...]:
    if isinstance(channels, int) or not channels:
        raise ValueError(f"channels must name every convolution's, got {channels}; write (32, 64).")
    return wholes("channels", channels, write="channels=(32, 64)")


def _image(shape: Sequence[int]) -> tuple[int, int, int]:
    if isinstance(shape, int) or len(shape) != 3:
        raise ValueError(
            f"shape must be (channels, height, width), got {shape}; write shape=(1, 28, 28)."
        )
    colours, height, width = wholes("shape", shape, write="shape=(1, 28, 28)")
    return colours, height, width


class ConvEncoder(nn.Module):
    r"""The convolutional encoder of the β-VAE literature: 4×4 kernels, stride 2, ReLU.

    Args:
        shape: (channels, height, width) of one image, such as (1, 64, 64) or (1, 28, 28).
        latent: The number of latents d.
        channels: The channels after every convolution. Higgins et al. use (32, 32, 64, 64) and
            hidden (256,), Burgess et al. (32, 32, 32, 32) and (256, 256).
        hidden: The widths of the fully connected layers between.
        posterior: The head that makes a distribution of the last features; by default a diagonal
            Gaussian.

    Source: Higgins et al. 2017, appendix A.1; Burgess et al. 2018, section A.1.

    >>> import torch
    >>> ConvEncoder((1, 64, 64), latent=10)(torch.rand(2, 1, 64, 64)).batch_shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        channels: Sequence[int] = (32, 32, 64, 64),
        hidden: Sequence[int] = (256,),
        posterior: Posterior | None = None,
    ) -> None:
        super().__init__()
        self.posterior = posterior_head(posterior)
        colours, height, width = _image(shape)
        channels = _channels(channels)
        rows, columns = (_halvings(side, len(channels))[-1] for side in (height, width))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, _KERNEL, _STRIDE, _PADDING)
            for before, after in pairwise((colours, *channels))
        )
        features = self.posterior.features(whole("latent", latent))
        self.linears = linears(channels[-1] * rows * columns, *wholes("hidden", hidden), features)

    def forward(self, x: Tensor) -> Distribution:
        maps = through(self.convolutions, x).relu_()
        posterior: Distribution = self.posterior(through(self.linears, maps.flatten(1)))
        return posterior


class ConvDecoder(nn.Module):
    r"""The mirror of :class:`ConvEncoder`: z → p(x|z) by transposed convolutions.

    Args:
        shape: (channels, height, width) of one image.
        latent: The number of latents d.
        channels: As for the encoder, in the encoder's order.
        hidden: The same, in the encoder's order.
        likelihood: The head that makes a distribution of the last features.

    Source: Higgins et al. 2017, appendix A.1; Burgess et al. 2018, section A.1.

    >>> import torch
    >>> ConvDecoder((1, 28, 28), latent=10)(torch.randn(2, 10)).mean.shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        channels: Sequence[int] = (32, 32, 64, 64),
        hidden: Sequence[int] = (256,),
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__()
        self.likelihood = likelihood_head(likelihood)
        colours, height, width = _image(shape)
        channels = _channels(channels)
        rows, columns = (_halvings(side, len(channels)) for side in (height, width))
        sides = list(zip(reversed(rows), reversed(columns), strict=True))
        maps = (*reversed(channels), self.likelihood.features * colours)
        self.shape = (channels[-1], *sides[0])
        self.linears = linears(
            whole("latent", latent), *reversed(wholes("hidden", hidden)), math.prod(self.shape)
        )
        self.convolutions = nn.ModuleList(
            _upsample(before, after, side, next_side)
            for (before, after), (side, next_side) in zip(
                pairwise(maps), pairwise(sides), strict=True
            )
        )

    def forward(self, z: Tensor) -> Distribution:
        maps = through(self.linears, z.flatten(1)).relu_().view(-1, *self.shape)
        likelihood: Distribution = self.likelihood(through(self.convolutions, maps))
        return likelihood


def _upsample(
    before: int, after: int, side: tuple[int, int], next_side: tuple[int, int]
) -> nn.ConvTranspose2d:
    """A transposed convolution that lands on the next side exactly, odd sides included."""
    extra = [
        n - ((s - 1) * _STRIDE - 2 * _PADDING + _KERNEL)
        for s, n in zip(side, next_side, strict=True)
    ]
    return nn.ConvTranspose2d(before, after, _KERNEL, _STRIDE, _PADDING, (extra[0], extra[1]))
