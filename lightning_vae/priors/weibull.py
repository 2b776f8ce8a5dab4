"""The Weibull prior, of latents that are positive."""

import math
from collections.abc import Sequence

from torch import Tensor
from torch.distributions import Distribution, Independent

from lightning_vae import distributions
from lightning_vae.arguments import positive
from lightning_vae.priors.fixed import Fixed
from lightning_vae.priors.shape import latent_shape

__all__ = ["Weibull"]


class Weibull(Fixed):
    r"""A Weibull prior over every latent; at its defaults the standard exponential.

    .. math:: p(z) = \prod_d \tfrac{k}{\lambda} \bigl(\tfrac{z_d}{\lambda}\bigr)^{k-1}
              e^{-(z_d / \lambda)^k}, \quad z \ge 0

    The divergence of a Weibull or an exponential from it is closed, in nats for every latent.

    Args:
        shape: The latent shape of one example: ``20``, or ``(4, 8, 8)``.
        scale: λ.
        concentration: k; 1 is the exponential of mean λ.

    Raises:
        ValueError: if a size is not a positive whole number, or λ or k not positive.

    Source: Squires, Prügel-Bennett & Niranjan 2019, "A Variational Autoencoder for Probabilistic
    Non-Negative Matrix Factorisation".

    >>> import torch
    >>> Weibull(20)().log_prob(torch.ones(20))
    tensor(-20.)
    """

    def __init__(
        self, shape: int | Sequence[int], scale: float = 1.0, concentration: float = 1.0
    ) -> None:
        super().__init__()
        self.shape = latent_shape(shape)
        self.scale = positive("scale", scale)
        self.concentration = positive("concentration", concentration)

    def made(self, like: Tensor) -> Distribution:
        log_scale = like.new_full(self.shape, math.log(self.scale))
        log_concentration = like.new_full(self.shape, math.log(self.concentration))
        each = distributions.Weibull(log_scale, log_concentration, validate_args=False)
        return Independent(each, len(self.shape), validate_args=False)

    def extra_repr(self) -> str:
        shape = self.shape[0] if len(self.shape) == 1 else tuple(self.shape)
        return f"{shape}, scale={self.scale}, concentration={self.concentration}"
