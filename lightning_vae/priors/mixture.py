"""The prior that is a mixture of normals."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.distributions import Categorical, Distribution, Independent

from lightning_vae.arguments import whole
from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.distributions.mixture import Mixture
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.priors.prior import Prior
from lightning_vae.priors.shape import latent_shape

__all__ = ["GaussianMixture"]


class GaussianMixture(Prior):
    r"""A mixture of diagonal normals with learned means, log-variances and weights.

    .. math:: p(z) = \sum_{k=1}^K \pi_k\, N\bigl(z;\, \mu_k,\, \operatorname{diag} e^{s_k}\bigr),
              \quad \pi = \operatorname{softmax}(\ell)

    The means start as draws from the standard normal (equal ones would stay equal), the variances
    at one, the weights equal. The rate is one-sample Monte Carlo, one number an example in nats,
    and does not split over latents: free bits are per group.

    Args:
        shape: The latent shape of one example: ``20``, or ``(4, 8, 8)``.
        components: K.

    Raises:
        ValueError: if a size or K is not a positive whole number.

    Source: Dilokthanakul et al. 2016, "Deep Unsupervised Clustering with Gaussian Mixture
    Variational Autoencoders", for the idea; Tomczak & Welling 2018 compare this prior.

    >>> GaussianMixture(20, components=500)().sample((16,)).shape
    torch.Size([16, 20])
    """

    def __init__(self, shape: int | Sequence[int], components: int = 10) -> None:
        super().__init__()
        self.shape = latent_shape(shape)
        self.components = whole("components", components)
        self.loc = nn.Parameter(torch.randn(components, *self.shape))
        self.log_variance = nn.Parameter(torch.zeros(components, *self.shape))
        self.logits = nn.Parameter(torch.zeros(components))

    def forward(self, **context: Any) -> Distribution:
        normals = DiagonalGaussian(self.loc, self.log_variance, validate_args=False)
        components = Independent(normals, len(self.shape), validate_args=False)
        weights = Categorical(logits=at_least_float32(self.logits), validate_args=False)
        return Mixture(weights, components, validate_args=False)

    def extra_repr(self) -> str:
        shape = self.shape[0] if len(self.shape) == 1 else tuple(self.shape)
        return f"{shape}, components={self.components}"
