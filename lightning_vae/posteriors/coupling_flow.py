"""The posterior whose latents move each other: affine couplings over another."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Transform

from lightning_vae.arguments import whole
from lightning_vae.distributions import AffineCoupling
from lightning_vae.distributions.affine_coupling import kept
from lightning_vae.distributions.conditioner import Conditioner
from lightning_vae.posteriors.flow import Flow
from lightning_vae.posteriors.posterior import Posterior

__all__ = ["CouplingFlow"]


class CouplingFlow(Flow):
    r"""A posterior moved by affine coupling layers, each told of the example by features of it.

    .. math:: z = f_L \circ \dots \circ f_1(z_0), \quad
              f_l(z)_2 = z_2 \odot e^{s_l(z_1, h(x))} + t_l(z_1, h(x)), \quad z_0 \sim q_0(z|x)

    The layers' perceptrons are the head's own, and start as the identity: the posterior starts as
    its base. The rate is one-sample Monte Carlo, one number of nats an example: free bits are per
    group. It has no mean to embed with: write ``vae.embed(x, sample=True)``.

    Args:
        latent: The number of latents d, two at least.
        layers: L; every latent is moved from two on.
        hidden: The widths of each layer's perceptron.
        context: The features h of an example that all layers share.
        base: The head of :math:`q_0`; by default a diagonal Gaussian.

    Raises:
        ValueError: if a number is no whole one above 0, there is one latent alone, the base has no
            density in space, or the encoder has another number of latents.

    Features: those of the base, then h.

    Source: Dinh, Sohl-Dickstein & Bengio 2017, "Density estimation using Real NVP"; as a posterior
    that is told of x, Kingma et al. 2016, section 3.

    >>> head = CouplingFlow(latent=20, layers=2)
    >>> q = head(torch.randn(16, head.features(20)))
    >>> q.log_prob(q.rsample()).shape
    torch.Size([16])
    """

    def __init__(
        self,
        latent: int,
        layers: int = 4,
        hidden: Sequence[int] = (64,),
        context: int = 16,
        base: Posterior | None = None,
    ) -> None:
        super().__init__(whole("latent", latent, 2), base)
        self.context = whole("context", context)
        places = [kept(latent, flip=turn % 2 == 1) for turn in range(whole("layers", layers))]
        self.conditioners = nn.ModuleList(
            Conditioner(place + context, latent - place, hidden) for place in places
        )

    @property
    def bends(self) -> int:
        return self.context

    def flows(self, bends: Tensor) -> Sequence[Transform]:
        return [
            AffineCoupling(partial(_told, conditioner, bends), flip=turn % 2 == 1)
            for turn, conditioner in enumerate(self.conditioners)
        ]

    def extra_repr(self) -> str:
        return f"latent={self.latent}, context={self.context}"


def _told(conditioner: nn.Module, context: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
    """What a conditioner makes of latents [..., B, k] and of the examples' context [B, c]."""
    everywhere = context.to(latents.dtype).expand(*latents.shape[:-1], -1)
    log_scale, shift = conditioner(torch.cat((latents, everywhere), -1))
    return log_scale, shift
