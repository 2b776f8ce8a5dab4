"""The uniform prior on the sphere."""

from torch import Tensor
from torch.distributions import Distribution

from lightning_vae import distributions
from lightning_vae.arguments import whole
from lightning_vae.distributions.hyperspherical_uniform import at_least_two
from lightning_vae.priors.fixed import Fixed

__all__ = ["HypersphericalUniform"]


class HypersphericalUniform(Fixed):
    r"""The uniform prior over unit vectors, that of a von Mises-Fisher posterior (S-VAE).

    .. math:: p(z) = \frac{1}{|S^{d-1}|}, \quad \|z\| = 1

    The rate is one number an example, in closed form.

    Args:
        latent: d, the length of the vectors; 2 or more.

    Raises:
        ValueError: if d is not a whole number of 2 or more.

    Source: Davidson et al. 2018, "Hyperspherical Variational Auto-Encoders", section 3.2.

    >>> HypersphericalUniform(3)().sample((16,)).shape, HypersphericalUniform(3)().entropy()
    (torch.Size([16, 3]), tensor(2.5310))
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = at_least_two("latent", whole("latent", latent))

    def made(self, like: Tensor) -> Distribution:
        return distributions.HypersphericalUniform(self.latent, like=like, validate_args=False)

    def extra_repr(self) -> str:
        return str(self.latent)
