"""The prior that is a normalising flow."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.distributions import (
    Distribution,
    Independent,
    ReshapeTransform,
)

from lightning_vae.arguments import whole
from lightning_vae.distributions import AffineCoupling, Pushforward, StandardGaussian
from lightning_vae.distributions.affine_coupling import kept
from lightning_vae.distributions.conditioner import Conditioner
from lightning_vae.priors.prior import Prior
from lightning_vae.priors.shape import latent_shape

__all__ = ["RealNVP"]


class RealNVP(Prior):
    r"""A flow of affine coupling layers over the standard normal, which it starts as.

    .. math:: z = f_L \circ \dots \circ f_1(\epsilon), \quad \epsilon \sim N(0, I)

    Layers keep the first and the last half of the latents by turns; latents of several dimensions
    are flattened for them. Density and draw are exact and inverse to each other. The rate is
    one-sample Monte Carlo, one number an example in nats, and does not split over latents: free
    bits are per group.

    Args:
        shape: The latent shape of one example: ``20``, or ``(4, 8, 8)``; two latents at least.
        layers: L; every latent is moved from two on.
        hidden: The widths of each layer's perceptron.

    Raises:
        ValueError: if a size or L is not a positive whole number, or there is one latent alone.

    Source: Dinh, Sohl-Dickstein & Bengio 2017, "Density estimation using Real NVP"; as a prior,
    Chen et al. 2017, "Variational Lossy Autoencoder", section 3.2.

    >>> RealNVP((4, 8), layers=2)().sample((16,)).shape
    torch.Size([16, 4, 8])
    """

    def __init__(
        self, shape: int | Sequence[int], layers: int = 4, hidden: Sequence[int] = (64,)
    ) -> None:
        super().__init__()
        self.shape = latent_shape(shape)
        size, turns = self.shape.numel(), range(whole("layers", layers))
        if size < 2:
            raise ValueError(
                f"shape must have two latents at least, for one half moves the other, got {shape}; "
                f"for a single latent write GaussianMixture(1)."
            )
        places = [kept(size, flip=turn % 2 == 1) for turn in turns]
        self.conditioners = nn.ModuleList(Conditioner(k, size - k, hidden) for k in places)

    def forward(self, **context: Any) -> Distribution:
        noise = StandardGaussian([self.shape.numel()], like=next(self.parameters()))
        layers = [AffineCoupling(c, flip=turn % 2 == 1) for turn, c in enumerate(self.conditioners)]
        shaped = ReshapeTransform(noise.batch_shape, self.shape)
        base = Independent(noise, 1, validate_args=False)
        return Pushforward(base, [*layers, shaped], validate_args=False)

    def extra_repr(self) -> str:
        shape = self.shape[0] if len(self.shape) == 1 else tuple(self.shape)
        return f"{shape}, layers={len(self.conditioners)}"
