"""The posterior that is an interval: a uniform distribution for each latent."""

from torch import Tensor
from torch.distributions import Distribution

from lightning_vae import distributions
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.posteriors.posterior import Posterior

__all__ = ["Uniform"]


class Uniform(Posterior):
    r"""The uniform posterior, an interval a latent: every code in it means the same.

    .. math:: q(z|x) = \prod_d \frac{1}{w_d(x)}, \quad
              |z_d - c_d(x)| \le \tfrac12 w_d(x)

    From the standard normal the rate is closed, in nats for every latent.

    Features: two a latent; first every centre c, then every log w.

    >>> import torch
    >>> q = Uniform()(torch.zeros(16, Uniform().features(20)))
    >>> q.low[0, 0], q.high[0, 0]
    (tensor(-0.5000), tensor(0.5000))
    """

    def features(self, latent: int) -> int:
        return 2 * latent

    def forward(self, features: Tensor) -> Distribution:
        centre, log_width = at_least_float32(features).chunk(2, dim=1)
        half = 0.5 * log_width.exp()
        return distributions.Uniform(centre - half, centre + half, validate_args=False)
