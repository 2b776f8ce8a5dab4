"""The normal prior with a learned mean and variance for every latent."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution, Independent

from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.priors.prior import Prior
from lightning_vae.priors.shape import latent_shape

__all__ = ["DiagonalNormal"]


class DiagonalNormal(Prior):
    r"""A normal prior whose mean and log-variance are learned, one of each a latent.

    .. math:: p(z) = N\bigl(z;\, \mu,\, \operatorname{diag} e^{s}\bigr), \quad s = \log\sigma^2

    It starts as the standard normal. The divergence of a diagonal Gaussian from it is closed, in
    nats for every latent. Beside a decoder that can scale z itself it adds nothing to the model,
    but it takes the scale of z off the decoder.

    Args:
        shape: The latent shape of one example: ``20``, or ``(4, 8, 8)``.

    Raises:
        ValueError: if a size is not a positive whole number.

    Source: Kingma & Welling 2014, section 3, with the prior's parameters part of θ.

    >>> prior = DiagonalNormal(20)
    >>> prior().sample((16,)).shape, sorted(prior.state_dict())
    (torch.Size([16, 20]), ['loc', 'log_variance'])
    """

    def __init__(self, shape: int | Sequence[int]) -> None:
        super().__init__()
        self.shape = latent_shape(shape)
        self.loc = nn.Parameter(torch.zeros(self.shape))
        self.log_variance = nn.Parameter(torch.zeros(self.shape))

    def forward(self, **context: Any) -> Distribution:
        normal = DiagonalGaussian(self.loc, self.log_variance, validate_args=False)
        return Independent(normal, len(self.shape), validate_args=False)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.shape))
