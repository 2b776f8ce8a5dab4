r"""Divergences between distributions, elementwise in nats and never reduced."""

import math

from torch import Size, Tensor, nn
from torch.distributions import Distribution, Independent, kl_divergence

from lightning_vae.distributions.precision import at_least_float32

__all__ = ["kl"]


def kl(q: Distribution, p: Distribution, z: Tensor, batch_dims: int | None = None) -> Tensor:
    r"""The divergence of the posterior q from the prior p, element by element where it splits.

    .. math:: \mathrm{KL}(q \,\|\, p) = \mathbb E_{q}\left[\log q(z) - \log p(z)\right]

    ``Independent`` is taken off both sides first. Where torch knows a closed form for the pair it
    is used; where none is registered the result is **one-sample Monte Carlo**,
    :math:`\log q(z) - \log p(z)` at the given z, which may be negative.

    Args:
        q: The posterior, with batch shape [B, ...].
        p: The prior, in the shape of one example or of the whole batch.
        z: A draw from q, [B, \*factors], or [K, B, \*factors] for K draws.
        batch_dims: How many dimensions of z are not latent: 1, or 2 for K draws. By default what
            the shapes of q leave over, and 1 where it states none.

    Returns:
        The rate in nats: in z's shape where the divergence splits over the elements of z, else
        [B, 1] ([K, B, 1]). It sums over all but the batch dimensions to the KL. In float32 at
        least: a sum in bfloat16 keeps three digits.

    Raises:
        ValueError: if prior and posterior have different shapes.
        TypeError: if p is the prior's module rather than the distribution that it returns.

    Source: Kullback & Leibler 1951; Kingma & Welling 2014, appendix B.

    >>> import torch
    >>> from lightning_vae.distributions import DiagonalGaussian, StandardGaussian
    >>> q = DiagonalGaussian(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))
    >>> kl(q, StandardGaussian(torch.Size([2])), q.rsample())
    tensor([[0.5000, 0.0000]])
    """
    if isinstance(p, nn.Module):
        raise TypeError(
            f"p is the module {p}, not a distribution; call it: {type(p).__name__}(...)()."
        )
    if batch_dims is None:
        batch_dims = 1 + z.dim() - _dims(q, z)
    # Its own batch, or that of draws which the posterior itself is over.
    batch = z.shape[:batch_dims] if _dims(q, z) == z.dim() else z.shape[batch_dims - 1 : batch_dims]
    _refuse_mismatch(p, batch, z.shape[batch_dims:])
    q, p = _unwrap(q), _unwrap(p)
    try:
        rate = at_least_float32(kl_divergence(q, p))
    except NotImplementedError:
        return _monte_carlo(q, p, z, batch_dims)
    return _in_shape_of(z, rate, batch_dims)


def _dims(q: Distribution, z: Tensor) -> int:
    """How many dimensions one batch of z has; a distribution without shapes is given one batch."""
    try:
        return len(q.batch_shape) + len(q.event_shape) or z.dim()
    except AttributeError:
        return z.dim()


def _unwrap(d: Distribution) -> Distribution:
    while isinstance(d, Independent):
        d = d.base_dist
    return d


def _refuse_mismatch(p: Distribution, batch: Size, factors: Size) -> None:
    shape = Size(getattr(p, "batch_shape", ())) + Size(getattr(p, "event_shape", factors))
    if shape not in (factors, batch[-1:] + factors, batch + factors):
        wanted = factors[0] if len(factors) == 1 else tuple(factors)
        raise ValueError(
            f"prior has shape {tuple(shape)} but the posterior's latents have shape "
            f"{tuple(factors)}; write prior=StandardNormal({wanted})."
        )


def _in_shape_of(z: Tensor, rate: Tensor, batch_dims: int) -> Tensor:
    """[B, *] to [K, B, *factors], or [K, B, 1] where the divergence does not split."""
    if rate.shape == z.shape:
        return rate
    factors = z.shape[batch_dims:]
    if rate.shape[1:] != factors:
        factors = Size([1])
        rate = rate.reshape(rate.shape[0], -1).sum(1, keepdim=True)
    return rate.expand(z.shape[:batch_dims] + factors)


def _monte_carlo(q: Distribution, p: Distribution, z: Tensor, batch_dims: int) -> Tensor:
    log_q, log_p = at_least_float32(q.log_prob(z)), at_least_float32(p.log_prob(z))
    if log_q.shape == log_p.shape == z.shape:
        return log_q - log_p
    return (_per_example(log_q, batch_dims) - _per_example(log_p, batch_dims)).unsqueeze(-1)


def _per_example(log_density: Tensor, batch_dims: int) -> Tensor:
    batch = log_density.shape[:batch_dims]
    return log_density.reshape(*batch, math.prod(log_density.shape[batch_dims:])).sum(-1)
