"""Multilayer perceptrons."""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import linear

from lightning_vae.arguments import whole, wholes
from lightning_vae.likelihoods import Likelihood
from lightning_vae.networks.heads import likelihood_head, posterior_head
from lightning_vae.networks.layers import linears, through
from lightning_vae.posteriors import Posterior

__all__ = ["MLPDecoder", "MLPEncoder"]


class _NonNegative(nn.Linear):
    """A linear layer without bias, whose weights are squares."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight.square())


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
        self.posterior, self.log1p = posterior_head(posterior), log1p
        size, hidden = math.prod(wholes("shape", shape)), wholes("hidden", hidden)
        features = self.posterior.features(whole("latent", latent))
        self.linears = linears(size, *hidden, features)

    def forward(self, x: Tensor) -> Distribution:
        read = x.log1p() if self.log1p else x
        posterior: Distribution = self.posterior(through(self.linears, read.flatten(1)))
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
        self.likelihood = likelihood_head(likelihood)
        first, *others = wholes("shape", shape)
        self.shape = (self.likelihood.features * first, *others)
        every = whole("latent", latent), *wholes("hidden", hidden), math.prod(self.shape)
        self.linears = linears(*every)
        if nonnegative:
            self.linears[-1] = _NonNegative(every[-2], every[-1], bias=False)

    def forward(self, z: Tensor) -> Distribution:
        features = through(self.linears, z.flatten(1)).view(-1, *self.shape)
        likelihood: Distribution = self.likelihood(features)
        return likelihood
