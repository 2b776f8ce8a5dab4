"""The posterior with heavier tails than a Gaussian's: a Laplace distribution for each latent."""

from torch import Tensor, distributions
from torch.distributions import Distribution

from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.posteriors.posterior import Posterior

__all__ = ["Laplace"]


class Laplace(Posterior):
    r"""The Laplace posterior, one location and one scale a latent.

    .. math:: q(z|x) = \prod_d \frac{1}{2 b_d(x)}\, e^{-|z_d - \mu_d(x)| / b_d(x)}

    From the standard normal the rate is closed, in nats for every latent.

    Features: two a latent; first every μ, then every log b.

    >>> import torch
    >>> q = Laplace()(torch.zeros(16, Laplace().features(20)))
    >>> q.batch_shape, q.scale[0, 0]
    (torch.Size([16, 20]), tensor(1.))
    """

    def features(self, latent: int) -> int:
        return 2 * latent

    def forward(self, features: Tensor) -> Distribution:
        loc, log_scale = at_least_float32(features).chunk(2, dim=1)
        return distributions.Laplace(loc, log_scale.exp(), validate_args=False)
