"""FactorVAE: the total correlation by a discriminator that tells draws from shuffled ones."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus
from torch.optim import Adam, Optimizer

from lightning_vae.arguments import whole
from lightning_vae.coefficients import Coefficient
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.latents import VAEOutput
from lightning_vae.objectives.draws import refuse_several_draws
from lightning_vae.objectives.objective import Objective

__all__ = ["FactorVAE", "permuted"]


def permuted(z: Tensor) -> Tensor:
    r"""Every latent shuffled over the batch by itself: draws from :math:`\prod_d q(z_d)`.

    Args:
        z: [B, d] draws from q(z).

    Returns:
        [B, d], with every column's elements in an order of its own.

    Source: Kim & Mnih 2018, algorithm 1.

    >>> z = torch.arange(6.0).view(3, 2)
    >>> permuted(z).sort(0).values.equal(z)
    True
    """
    return z.gather(0, torch.rand(z.shape, device=z.device).argsort(0))


class FactorVAE(Objective):
    r"""The ELBO with the total correlation, as a discriminator of the draws sees it.

    .. math:: \mathcal L = D + R + \gamma\, \mathbb E_{q(z)}
              \left[\log \frac{\delta(z)}{1 - \delta(z)}\right]

    δ(z) is the probability that z comes from q(z) rather than from the product of its marginals.
    The discriminator has an optimizer of its own and minimises ``own_loss``, its cross-entropy on
    the batch's draws and their :func:`permuted` ones, which does not reach the encoder; nor does
    the loss reach the discriminator's weights. (The paper takes the permuted draws from a second
    batch.) Lightning counts the steps of both optimizers, so that ``max_steps`` and ``fast_dev_run``
    end after half as many batches. Several groups of latents are taken together. Its part
    ``total_correlation`` is the estimate, in nats, of the rank's own batch.

    Args:
        latents: d, how many latents an example has in all.
        gamma: γ, of the total correlation.
        hidden: The widths of the discriminator's hidden layers.
        discriminator: Another network, [B, d] to the two logits [B, 2] of q(z) and of the product.
        optimizer: The discriminator's: parameters → optimizer; by default Adam at 1e-4 with
            momenta (0.5, 0.9).

    Raises:
        ValueError: if latents is no whole number above 0; at the loss, if it is not what the
            posteriors have.

    Source: Kim & Mnih 2018, algorithm 2.

    >>> FactorVAE(latents=10, gamma=6.4, hidden=(256, 256)).coefficients
    {'gamma': 6.4}
    """

    gamma = Coefficient[float](grouped=False)

    def __init__(
        self,
        latents: int,
        gamma: float = 35.0,
        hidden: Sequence[int] = (1000,) * 6,
        discriminator: nn.Module | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
    ) -> None:
        super().__init__()
        self.latents, self.gamma = whole("latents", latents), gamma
        if discriminator is None:
            discriminator = _perceptron((latents, *hidden, 2))
        self.discriminator = discriminator
        self.optimizer = optimizer or partial(Adam, lr=1e-4, betas=(0.5, 0.9))

    def forward(self, output: VAEOutput) -> dict[str, Tensor]:
        refuse_several_draws(output)
        z = self._together(output)
        weights = {name: w.detach() for name, w in self.discriminator.named_parameters()}
        tc = _log_odds(functional_call(self.discriminator, weights, z)).mean()
        own_loss = self._cross_entropy(z.detach())
        loss = output.distortion.mean() + output.rate.mean() + self.gamma * tc
        return {"loss": loss, "own_loss": own_loss, "total_correlation": tc.detach()}

    def _together(self, output: VAEOutput) -> Tensor:
        """The draws of all groups, [B, d]."""
        z = torch.cat([latent.z.flatten(1) for latent in output.latents], 1)
        if z.shape[1] != self.latents:
            raise ValueError(
                f"latents={self.latents} but an example has {z.shape[1]} latents in all; write "
                f"latents={z.shape[1]}."
            )
        return z

    def _cross_entropy(self, z: Tensor) -> Tensor:
        """Of telling draws from permuted ones, one as likely as the other."""
        real, shuffled = (_log_odds(self.discriminator(draws)) for draws in (z, permuted(z)))
        return 0.5 * (softplus(-real).mean() + softplus(shuffled).mean())


def _log_odds(logits: Tensor) -> Tensor:
    """[B, 2] to [B]."""
    joint, product = at_least_float32(logits).unbind(1)
    return joint - product


def _perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with leaky ReLUs of slope 0.2 between."""
    layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.LeakyReLU(0.2))]
    return nn.Sequential(*layers[:-1])
