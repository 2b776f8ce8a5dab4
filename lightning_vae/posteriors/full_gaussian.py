"""The Gaussian posterior whose latents are correlated in every way."""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.posteriors.posterior import Posterior

__all__ = ["FullGaussian"]


class FullGaussian(Posterior):
    r"""The Gaussian posterior with a full covariance, by its Cholesky factor.

    .. math:: q(z|x) = N\bigl(z;\, \mu(x),\, L(x) L(x)^\top\bigr), \quad
              L_{dd} = e^{h_d}, \quad L_{de} = 0 \text{ for } e > d

    From the standard normal the rate is closed, one number of nats an example: it does not split
    over latents, and free bits are per group.

    Features: d(d+3)/2 for d latents; first every μ, then every log L of the diagonal, then L below
    it, row after row.

    Source: Kingma & Welling 2019, "An Introduction to Variational Autoencoders", section 2.5.1.

    >>> q = FullGaussian()(torch.zeros(16, FullGaussian().features(20)))
    >>> q.batch_shape, q.event_shape
    (torch.Size([16]), torch.Size([20]))
    """

    def features(self, latent: int) -> int:
        return latent * (latent + 3) // 2

    def forward(self, features: Tensor) -> Distribution:
        d = _latents(features.shape[1])
        loc, log_diagonal, below = at_least_float32(features).split([d, d, d * (d - 1) // 2], 1)
        rows, columns = torch.tril_indices(d, d, -1, device=features.device)
        lower = torch.diag_embed(log_diagonal.exp())
        lower[:, rows, columns] = below
        return MultivariateNormal(loc, scale_tril=lower, validate_args=False)


def _latents(features: int) -> int:
    """d, of d(d+3)/2 features."""
    return (math.isqrt(9 + 8 * features) - 3) // 2
