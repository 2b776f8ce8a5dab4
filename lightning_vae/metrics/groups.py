"""The latents of an output as one long vector an example."""

import torch
from torch import Tensor

from lightning_vae import posteriors
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.latents import Latent, VAEOutput

__all__ = ["chosen", "means", "rates"]


def chosen(output: VAEOutput, group: int | None) -> tuple[Latent, ...]:
    """All groups of latents, or the one with this number.

    Raises:
        ValueError: if there is no such group.
    """
    if group is None:
        return output.latents
    if not 0 <= group < len(output.latents):
        raise ValueError(
            f"group={group} of {len(output.latents)} groups of latents; count from 0, or write "
            f"group=None for all."
        )
    return (output.latents[group],)


def rates(output: VAEOutput, group: int | None = None) -> Tensor:
    r"""The rate of every latent, [B, d] nats, with a row for each of several draws.

    A group whose divergence does not split has one column.

    >>> import torch
    >>> from lightning_vae import VAEModule
    >>> from lightning_vae.networks import MLPDecoder, MLPEncoder
    >>> vae = VAEModule(MLPEncoder((8,), latent=2), MLPDecoder((8,), latent=2))
    >>> rates(vae(torch.rand(16, 8))).shape
    torch.Size([16, 2])
    """
    draws = output.distortion.numel()
    each = [latent.rate.reshape(draws, -1) for latent in chosen(output, group)]
    return at_least_float32(torch.cat(each, 1))


def means(output: VAEOutput, group: int | None = None) -> Tensor:
    r"""The posterior mean of every latent, [B, d].

    >>> import torch
    >>> from lightning_vae import VAEModule
    >>> from lightning_vae.networks import MLPDecoder, MLPEncoder
    >>> vae = VAEModule(MLPEncoder((8,), latent=2), MLPDecoder((8,), latent=2))
    >>> means(vae(torch.rand(16, 8))).shape
    torch.Size([16, 2])
    """
    batch_dims = output.distortion.dim()
    each = [
        posteriors.mean(latent.posterior).reshape(-1, latent.z.shape[batch_dims:].numel())
        for latent in chosen(output, group)
    ]
    return at_least_float32(torch.cat(each, 1))
