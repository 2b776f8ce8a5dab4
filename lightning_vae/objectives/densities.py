"""Log-densities of draws: under each example's own distribution, and under every other's."""

from torch import Tensor
from torch.distributions import Distribution, Independent

from lightning_vae.distributions.precision import at_least_float32

__all__ = ["log_density", "pairwise"]


def log_density(distribution: Distribution, z: Tensor, batch_dims: int = 1) -> Tensor:
    """log p(z) of every draw, summed over its latents: [B, *factors] to [B] nats.

    >>> import torch
    >>> from torch.distributions import Normal
    >>> log_density(Normal(torch.zeros(2), 1.0), torch.zeros(4, 2))
    tensor([-1.8379, -1.8379, -1.8379, -1.8379])
    """
    terms = at_least_float32(distribution.log_prob(at_least_float32(z)))
    return terms.reshape(*z.shape[:batch_dims], -1).sum(-1)


def pairwise(posterior: Distribution, z: Tensor) -> Tensor:
    r"""The log-density of every draw under every posterior, latent by latent.

    .. math:: \log q(z_{id} \mid x_j)

    Args:
        posterior: q(z|x) of B examples.
        z: A draws, [A, \*factors].

    Returns:
        [A, B, d] nats, where d counts all latents of an example.

    Raises:
        ValueError: if the density does not split over the latents.

    >>> import torch
    >>> from torch.distributions import Normal
    >>> pairwise(Normal(torch.zeros(3, 2), 1.0), torch.zeros(5, 2)).shape
    torch.Size([5, 3, 2])
    """
    while isinstance(posterior, Independent):
        posterior = posterior.base_dist
    log_q = posterior.log_prob(at_least_float32(z).unsqueeze(1))
    if log_q.shape[:1] + log_q.shape[2:] != z.shape:
        raise ValueError(
            f"posterior {type(posterior).__name__} gives no log-density for every latent, which "
            f"the marginals of q(z) need; return an elementwise one, such as DiagonalGaussian."
        )
    return at_least_float32(log_q).flatten(2) if z.dim() > 1 else log_q.unsqueeze(-1)
