"""Feed-forward networks: perceptrons, and the convolutions of the β-VAE literature."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import linear

from lightning_vae.likelihoods import Bernoulli, Likelihood
from lightning_vae.posteriors import Gaussian, Posterior

__all__ = ["ConvDecoder", "ConvEncoder", "MLPDecoder", "MLPEncoder"]

_KERNEL, _STRIDE, _PADDING = 4, 2, 1


def _widths(name: str, widths: Sequence[int]) -> tuple[int, ...]:
    if isinstance(widths, int):
        raise TypeError(f"{name} must be a sequence, got {widths}; write {name}=({widths},).")
    return tuple(widths)


def _linears(*widths: int) -> nn.ModuleList:
    if not all(isinstance(width, int) and width > 0 for width in widths):
        raise ValueError(
            f"latent, hidden and shape must be positive whole numbers, got layers of {widths}."
        )
    return nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))


class _NonNegative(nn.Linear):
    """A linear layer without bias, whose weights are squares."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight.square())


def _through(layers: nn.ModuleList, x: Tensor) -> Tensor:
    """Layer after layer with a ReLU between, none after the last."""
    *hidden, last = layers
    for layer in hidden:
        x = layer(x).relu_()  # in place: no layer needs its own output to go backwards
    features: Tensor = last(x)
    return features


def _head(likelihood: Likelihood | None) -> Likelihood:
    if likelihood is None:
        return Bernoulli()
    if not isinstance(likelihood, Likelihood):
        raise TypeError(
            f"likelihood must be a decoder head of lightning_vae.likelihoods, got {likelihood!r}; "
            f"write likelihood=likelihoods.Gaussian()."
        )
    return likelihood


def _last(posterior: Posterior | None) -> Posterior:
    if posterior is None:
        return Gaussian()
    if not isinstance(posterior, Posterior):
        raise TypeError(
            f"posterior must be an encoder head of lightning_vae.posteriors, got {posterior!r}; "
            f"write posterior=posteriors.Gaussian()."
        )
    return posterior


class MLPEncoder(nn.Module):
    r"""A multilayer perceptron x → q(z|x), by default a diagonal Gaussian.

    Args:
        shape: The shape of one example, flattened first.
        latent: The number of latents d.
        hidden: The widths of the hidden layers.
        posterior: The head that makes a distribution of the last features.
        log1p: Whether it reads log(1 + x), as is usual for counts, whose likelihood stays that of x.

    Source: Kingma & Welling 2014, appendix C.2; for the logarithm, Lopez et al. 2018 (scVI).

    >>> import torch
    >>> MLPEncoder((1, 28, 28), latent=20)(torch.rand(16, 1, 28, 28)).batch_shape
    torch.Size([16, 20])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        hidden: Sequence[int] = (400,),
        posterior: Posterior | None = None,
        log1p: bool = False,
    ) -> None:
        super().__init__()
        self.posterior, self.log1p = _last(posterior), log1p
        size, hidden = math.prod(_widths("shape", shape)), _widths("hidden", hidden)
        self.linears = _linears(size, *hidden, self.posterior.features(latent))

    def forward(self, x: Tensor) -> Distribution:
        read = x.log1p() if self.log1p else x
        posterior: Distribution = self.posterior(_through(self.linears, read.flatten(1)))
        return posterior


class MLPDecoder(nn.Module):
    r"""A multilayer perceptron z → p(x|z).

    Args:
        shape: The shape of one example of x.
        latent: The number of latents d.
        hidden: The widths of the hidden layers, from z towards x.
        likelihood: The head that makes a distribution of the last features.
        nonnegative: Whether the last layer has no bias and no weight below zero: of positive
            latents and ``hidden=()``, non-negative matrix factorisation.

    >>> import torch
    >>> MLPDecoder((1, 28, 28), latent=20)(torch.randn(16, 20)).mean.shape
    torch.Size([16, 1, 28, 28])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        hidden: Sequence[int] = (400,),
        likelihood: Likelihood | None = None,
        nonnegative: bool = False,
    ) -> None:
        super().__init__()
        self.likelihood = _head(likelihood)
        first, *others = _widths("shape", shape)
        self.shape = (self.likelihood.features * first, *others)
        widths = latent, *_widths("hidden", hidden), math.prod(self.shape)
        self.linears = _linears(*widths)
        if nonnegative:
            self.linears[-1] = _NonNegative(widths[-2], widths[-1], bias=False)

    def forward(self, z: Tensor) -> Distribution:
        features = _through(self.linears, z.flatten(1)).view(-1, *self.shape)
        likelihood: Distribution = self.likelihood(features)
        return likelihood


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
    return tuple(channels)


def _image(shape: Sequence[int]) -> tuple[int, int, int]:
    if isinstance(shape, int) or len(shape) != 3:
        raise ValueError(f"shape must be (channels, height, width), got {shape}.")
    colours, height, width = shape
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
        self.posterior = _last(posterior)
        colours, height, width = _image(shape)
        channels = _channels(channels)
        rows, columns = (_halvings(side, len(channels))[-1] for side in (height, width))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, _KERNEL, _STRIDE, _PADDING)
            for before, after in pairwise((colours, *channels))
        )
        features = self.posterior.features(latent)
        self.linears = _linears(channels[-1] * rows * columns, *_widths("hidden", hidden), features)

    def forward(self, x: Tensor) -> Distribution:
        maps = _through(self.convolutions, x).relu_()
        posterior: Distribution = self.posterior(_through(self.linears, maps.flatten(1)))
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
        self.likelihood = _head(likelihood)
        colours, height, width = _image(shape)
        channels = _channels(channels)
        rows, columns = (_halvings(side, len(channels)) for side in (height, width))
        sides = list(zip(reversed(rows), reversed(columns), strict=True))
        widths = (*reversed(channels), self.likelihood.features * colours)
        self.shape = (channels[-1], *sides[0])
        self.linears = _linears(latent, *reversed(_widths("hidden", hidden)), math.prod(self.shape))
        self.convolutions = nn.ModuleList(
            _upsample(before, after, side, next_side)
            for (before, after), (side, next_side) in zip(
                pairwise(widths), pairwise(sides), strict=True
            )
        )

    def forward(self, z: Tensor) -> Distribution:
        maps = _through(self.linears, z.flatten(1)).relu_().view(-1, *self.shape)
        likelihood: Distribution = self.likelihood(_through(self.convolutions, maps))
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
