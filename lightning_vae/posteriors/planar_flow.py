"""The posterior bent along one direction at a time: planar flows over another."""

from collections.abc import Sequence

from torch import Tensor
from torch.distributions import Transform

from lightning_vae import distributions
from lightning_vae.arguments import whole
from lightning_vae.posteriors.flow import Flow
from lightning_vae.posteriors.posterior import Posterior

__all__ = ["PlanarFlow"]


class PlanarFlow(Flow):
    r"""A posterior bent by planar flows, all of whose parameters are the encoder's.

    .. math:: z = f_L \circ \dots \circ f_1(z_0), \quad
              f_l(z) = z + \hat u_l(x) \tanh\bigl(w_l(x)^\top z + b_l(x)\bigr), \quad
              z_0 \sim q_0(z|x)

    The rate is one-sample Monte Carlo, one number of nats an example: free bits are per group. It
    has no mean to embed with: write ``vae.embed(x, sample=True)``.

    Args:
        latent: The number of latents d.
        layers: L.
        base: The head of :math:`q_0`; by default a diagonal Gaussian.

    Raises:
        ValueError: if a number is no whole one above 0, the base has no density in space, or the
            encoder has another number of latents.

    Features: those of the base, then of every layer u, w and b: 2d + 1.

    Source: Rezende & Mohamed 2015, "Variational Inference with Normalizing Flows".

    >>> import torch
    >>> head = PlanarFlow(latent=20, layers=4)
    >>> q = head(torch.randn(16, head.features(20)))
    >>> q.log_prob(q.rsample()).shape
    torch.Size([16])
    """

    def __init__(self, latent: int, layers: int = 4, base: Posterior | None = None) -> None:
        super().__init__(latent, base)
        self.layers = whole("layers", layers)

    @property
    def bends(self) -> int:
        return self.layers * (2 * self.latent + 1)

    def flows(self, bends: Tensor) -> Sequence[Transform]:
        d = self.latent
        parameters = (layer.split([d, d, 1], 1) for layer in bends.chunk(self.layers, 1))
        return [distributions.PlanarFlow(u, w, b.squeeze(1)) for u, w, b in parameters]

    def extra_repr(self) -> str:
        return f"latent={self.latent}, layers={self.layers}"
