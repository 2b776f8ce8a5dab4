"""The posterior on the sphere: a von Mises-Fisher distribution."""

from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import normalize, softplus

from lightning_vae import distributions
from lightning_vae.arguments import positive
from lightning_vae.distributions.hyperspherical_uniform import at_least_two
from lightning_vae.posteriors.posterior import Posterior

__all__ = ["VonMisesFisher"]


class VonMisesFisher(Posterior):
    r"""The von Mises-Fisher posterior, of latents that are a unit vector (S-VAE).

    .. math:: \mu = \frac{h}{\|h\|}, \quad \kappa = 1 + \operatorname{softplus}(h_0)

    Its prior is ``priors.HypersphericalUniform(latent)``. d latents are a point on the sphere of
    d - 1 dimensions, which is what the S-VAE's authors count.

    Args:
        concentration: κ > 0, the same for every x: the rate is then one constant, which no
            training can lower. By default the encoder's.

    Raises:
        ValueError: if the concentration is not positive; at construction of the encoder, if there
            are fewer than two latents.

    Features: one a latent, the direction h, and h₀ after them; without h₀ where κ is fixed.

    Source: Davidson et al. 2018, "Hyperspherical Variational Auto-Encoders"; fixed: Xu & Durrett
    2018, "Spherical Latent Spaces for Stable Variational Autoencoders".

    >>> import torch
    >>> head = VonMisesFisher()
    >>> q = head(torch.randn(16, head.features(20)))
    >>> q.batch_shape, q.event_shape, bool((q.concentration > 1).all())
    (torch.Size([16]), torch.Size([20]), True)
    """

    def __init__(self, concentration: float | None = None) -> None:
        super().__init__()
        instead = "concentration=50.0, or None to let the encoder choose"
        self.concentration = (
            None if concentration is None else positive("concentration", concentration, instead)
        )

    def features(self, latent: int) -> int:
        return at_least_two("latent", latent) + (self.concentration is None)

    def forward(self, features: Tensor) -> Distribution:
        if self.concentration is not None:
            return _fisher(features, self.concentration)
        return _fisher(features[:, :-1], 1 + softplus(features[:, -1]))

    def extra_repr(self) -> str:
        return "" if self.concentration is None else f"concentration={self.concentration}"


def _fisher(direction: Tensor, concentration: Tensor | float) -> Distribution:
    loc = normalize(direction, dim=1)
    return distributions.VonMisesFisher(loc, concentration, validate_args=False)
