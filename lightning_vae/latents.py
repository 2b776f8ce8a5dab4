"""What one pass through a VAE yields: the latents of each group, and the output that holds them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from lightning_vae.distributions.precision import at_least_float32

__all__ = ["Latent", "RunningRate", "VAEOutput"]


@dataclass(frozen=True)
class Latent:
    """One group of latents: a latent space, or a layer of a hierarchy."""

    posterior: Distribution  # q(z|x)
    prior: Distribution  # p(z)
    z: Tensor  # [B, *factors], a draw from the posterior; [K, B, *factors] for K draws
    rate: Tensor  # [B, *factors] nats, or [B, 1] where the divergence does not split


@dataclass(frozen=True)
class VAEOutput:
    r"""What a forward pass yields: every term of the ELBO, per example and in nats.

    .. math:: \mathrm{ELBO}(x) = -D - R, \quad D = -\log p(x|z), \quad R = \sum_g R_g

    With K draws of z, ``z``, ``distortion`` and ``rate`` have a leading K, and ``likelihood`` a
    batch of K·B examples.

    >>> import torch
    >>> from lightning_vae import distortion
    >>> from lightning_vae.distributions import Bernoulli, DiagonalGaussian, StandardGaussian
    >>> q, p = DiagonalGaussian(torch.ones(2, 3), torch.zeros(2, 3)), StandardGaussian((3,))
    >>> latent = Latent(q, p, q.rsample(), rate=torch.full((2, 3), 0.5))
    >>> x, likelihood = torch.ones(2, 4), Bernoulli(torch.zeros(2, 4))
    >>> VAEOutput(x, likelihood, (latent,), distortion(x, likelihood)).elbo
    tensor([-4.2726, -4.2726])
    """

    x: Tensor
    likelihood: Distribution  # p(x|z)
    latents: tuple[Latent, ...]
    distortion: Tensor  # [B] nats
    context: Mapping[str, Any] = field(default_factory=dict)  # what encode and decode were given

    @property
    def rates(self) -> tuple[Tensor, ...]:
        """The KL of every example in each group, summed over its latents; [B] nats.

        Raises:
            ValueError: if a group has another batch than the distortion.
        """
        self.refuse_mismatch()
        batch = self.distortion.shape
        return tuple(latent.rate.reshape(*batch, -1).sum(-1) for latent in self.latents)

    def refuse_mismatch(self) -> None:
        """Refuse a group of another batch than the distortion's: nothing is broadcast.

        Raises:
            ValueError: if there is one.
        """
        batch = self.distortion.shape
        for g, latent in enumerate(self.latents):
            if latent.rate.shape[: len(batch)] != batch:
                raise ValueError(
                    f"the rate of group {g} has shape {tuple(latent.rate.shape)} for a distortion "
                    f"of shape {tuple(batch)}; every group needs the batch of x."
                )

    @property
    def rate(self) -> Tensor:
        """The KL of every example, summed over groups and latents; [B] nats."""
        first, *others = self.rates
        return sum(others, start=first)

    @property
    def elbo(self) -> Tensor:
        """The evidence lower bound of every example: β = 1, no free bits, no capacity; [B] nats."""
        return -self.distortion - self.rate


class RunningRate:
    """The mean rate of every latent over the examples since the last reset.

    It keeps sums where the rates are, so reading costs a wait and updating none. Each rank has
    its own; those of several are added.

    >>> running = RunningRate()
    >>> running.mean()
    ()
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._sums: tuple[Tensor, ...] = ()
        self._examples = 0

    def update(self, output: VAEOutput) -> None:
        batch_dims = tuple(range(output.distortion.dim()))
        # A sum in bfloat16 stops growing at 256.
        rates = [at_least_float32(latent.rate.detach()) for latent in output.latents]
        sums = [rate.sum(batch_dims) for rate in rates]
        self._sums = tuple(map(torch.add, self._sums, sums)) or tuple(sums)
        self._examples += output.distortion.numel()

    def __add__(self, other: "RunningRate") -> "RunningRate":
        """The same over the examples of both, of which one may have none."""
        both = RunningRate()
        both._sums = tuple(map(torch.add, self._sums, other._sums)) or self._sums or other._sums
        both._examples = self._examples + other._examples
        return both

    def cpu(self) -> "RunningRate":
        """A copy on the CPU."""
        copy = RunningRate()
        copy._sums, copy._examples = tuple(total.cpu() for total in self._sums), self._examples
        return copy

    def mean(self) -> tuple[Tensor, ...]:
        """[*factors] nats for every group; nothing before the first update."""
        return tuple(total / self._examples for total in self._sums)
