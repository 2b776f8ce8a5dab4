r"""Divergences between distributions, elementwise in nats and never reduced."""

import math
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, Independent, kl_divergence

from lightning_vae.arguments import whole
from lightning_vae.distributions.hyperspherical_uniform import unit_vector
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.distributions.relaxed_categorical import RelaxedCategorical

__all__ = ["centre", "jensen_shannon", "kl"]


def kl(q: Distribution, p: Distribution, z: Tensor, batch_dims: int | None = None) -> Tensor:
    r"""The divergence of the posterior q from the prior p, element by element where it splits.

    .. math:: \mathrm{KL}(q \,\|\, p) = \mathbb E_{q}\left[\log q(z) - \log p(z)\right]

    ``Independent`` is taken off both sides first. Where torch knows a closed form for the pair it
    is used; where none is registered the result is **one-sample Monte Carlo**,
    :math:`\log q(z) - \log p(z)` at the given z, which may be negative. A divergence between two
    posteriors is one whose ``p`` has the batch's shape; one of a part of the latents is that part
    of a rate which splits: ``kl(q, p, z)[:, :3]``.

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
        ValueError: if prior and posterior have different shapes, z is no draw of this posterior, or
            one alone is over directions.
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
    _refuse_other_draw(q, z)
    if batch_dims is None:
        batch_dims = 1 + z.dim() - _dims(q, z)
    # Its own batch, or that of draws which the posterior itself is over.
    batch = z.shape[:batch_dims] if _dims(q, z) == z.dim() else z.shape[batch_dims - 1 : batch_dims]
    _refuse_mismatch(p, batch, z.shape[batch_dims:])
    q, p = _unwrap(q), _unwrap(p)
    try:
        rate = at_least_float32(kl_divergence(q, p))
    except NotImplementedError:
        _refuse_other_measure(q, p)
        return _monte_carlo(q, p, z, batch_dims)
    return _in_shape_of(z, rate, batch_dims)


def _shape(q: Distribution) -> Size:
    """The shape of one draw; empty where a distribution states none."""
    return Size(getattr(q, "batch_shape", ())) + Size(getattr(q, "event_shape", ()))


def _dims(q: Distribution, z: Tensor) -> int:
    """How many dimensions one batch of z has; a distribution without shapes is given one batch."""
    return len(_shape(q)) or z.dim()


def _refuse_other_draw(q: Distribution, z: Tensor) -> None:
    shape = _shape(q)
    if z.shape[max(0, z.dim() - len(shape)) :] != shape:
        raise ValueError(
            f"z has shape {tuple(z.shape)} but the posterior's draws have shape {tuple(shape)}; "
            f"write z = q.rsample()."
        )


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


def _refuse_other_measure(q: Distribution, p: Distribution) -> None:
    """A density on the sphere, one in space and probabilities have no ratio to one another."""
    q, p = _unwrap(q), _unwrap(p)
    if _on_sphere(q) != _on_sphere(p):
        raise ValueError(
            f"the posterior {type(q).__name__} and the prior {type(p).__name__} are not both over "
            f"directions; with VonMisesFisher write prior=priors.HypersphericalUniform(latent)."
        )
    if _over_classes(q) != _over_classes(p):
        raise ValueError(
            f"the posterior {type(q).__name__} and the prior {type(p).__name__} are not both over "
            f"classes; with RelaxedCategorical write prior=priors.UniformCategorical(variables, "
            f"classes)."
        )


def _over_classes(d: Distribution) -> bool:
    """Whether it gives probabilities, not a density; a relaxed one stands for its classes."""
    return isinstance(d, RelaxedCategorical) or bool(getattr(d, "has_enumerate_support", False))


def _on_sphere(d: Distribution) -> bool:
    try:
        support: Any = d.support
    except (AttributeError, NotImplementedError):
        return False  # it states none
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support is unit_vector


def _monte_carlo(q: Distribution, p: Distribution, z: Tensor, batch_dims: int) -> Tensor:
    log_q, log_p = at_least_float32(q.log_prob(z)), at_least_float32(p.log_prob(z))
    if log_q.shape == log_p.shape == z.shape:
        return log_q - log_p
    return (_per_example(log_q, batch_dims) - _per_example(log_p, batch_dims)).unsqueeze(-1)


def _per_example(log_density: Tensor, batch_dims: int) -> Tensor:
    batch = log_density.shape[:batch_dims]
    return log_density.reshape(*batch, math.prod(log_density.shape[batch_dims:])).sum(-1)


def jensen_shannon(q: Distribution, p: Distribution, samples: int = 1) -> Tensor:
    r"""The Jensen-Shannon divergence, symmetric, zero where q = p and log 2 where they are apart.

    .. math:: \mathrm{JS}(q, p) = \tfrac12 \mathrm{KL}(q \,\|\, m) + \tfrac12 \mathrm{KL}(p \,\|\, m),
              \quad m = \tfrac12 (q + p)

    Exact where both have finitely many values (categorical, Bernoulli); else **Monte Carlo**, by
    draws from both through which gradients flow, which may be negative. It does not split over
    latents as the KL does: of ``Independent`` distributions it is that of the whole event.

    Args:
        q: A distribution.
        p: Another of the same event shape. Its batch shape is that of q, or the last dimensions of
            it: a prior's, of one example.
        samples: How many draws from each a Monte Carlo estimate averages.

    Returns:
        Nats in the batch shape of q, at most log 2 on average.

    Raises:
        ValueError: if shapes differ (nothing else is broadcast), ``samples`` is below 1, or one
            alone is over directions or over classes.
        TypeError: if it is to be estimated, and one has no ``rsample``.

    Source: Lin 1991, equation 4.1 with equal weights.

    >>> from torch.distributions import Bernoulli
    >>> jensen_shannon(Bernoulli(torch.tensor([0.5, 1.0])), Bernoulli(torch.tensor([0.5, 0.0])))
    tensor([0.0000, 0.6931])
    """
    if q.event_shape != p.event_shape:
        raise ValueError(
            f"q and p are over events of shapes {tuple(q.event_shape)} and {tuple(p.event_shape)}; "
            f"wrap both in Independent, or neither."
        )
    whole("samples", samples)
    _refuse_other_measure(q, p)
    batch = q.batch_shape
    if p.batch_shape != batch[len(batch) - len(p.batch_shape) :]:
        raise ValueError(
            f"q and p have batch shapes {tuple(batch)} and {tuple(p.batch_shape)}; give p that of "
            f"q, or its last dimensions."
        )
    p = p.expand(batch)
    return 0.5 * (_kl_to_middle(q, p, samples) + _kl_to_middle(p, q, samples))


def _kl_to_middle(q: Distribution, p: Distribution, samples: int) -> Tensor:
    """KL(q ‖ (q + p) / 2): a sum over all values, or a mean over draws."""
    exact = q.has_enumerate_support and p.has_enumerate_support
    z = q.enumerate_support() if exact else _draws(q, samples)
    log_q, log_p = at_least_float32(q.log_prob(z)), at_least_float32(p.log_prob(z))
    if exact:  # where q never is, nothing is to be told apart
        never = log_q == -torch.inf
        log_q, log_p = log_q.masked_fill(never, 0.0), log_p.masked_fill(never, 0.0)
        return _to_middle(log_p - log_q).mul(log_q.exp().masked_fill(never, 0.0)).sum(0)
    return _to_middle(log_p - log_q).mean(0)


def _draws(q: Distribution, samples: int) -> Tensor:
    try:
        return q.rsample(Size([samples]))
    except NotImplementedError:
        raise TypeError(
            f"{type(q).__name__} has no rsample to estimate the divergence by; take Independent off "
            f"what has finitely many values, or give a reparameterised distribution."
        ) from None


def _to_middle(log_ratio: Tensor) -> Tensor:
    """log q - log (q + p) / 2, by log p - log q."""
    return math.log(2) - torch.logaddexp(torch.zeros_like(log_ratio), log_ratio)


def centre(rate: Tensor, size: int) -> Tensor:
    """The centre of the last two dimensions: the part of a rate that its image's middle costs.

    Args:
        rate: [..., H, W].
        size: The side of the square that is kept.

    Raises:
        ValueError: if the square is empty or does not fit.

    >>> centre(torch.arange(16.0).view(4, 4), 2)
    tensor([[ 5.,  6.],
            [ 9., 10.]])
    """
    height, width = rate.shape[-2:]
    if not 0 < size <= min(height, width):
        raise ValueError(
            f"size must be from 1 to {min(height, width)} for {height}x{width}, got {size}."
        )
    top, left = (height - size) // 2, (width - size) // 2
    return rate[..., top : top + size, left : left + size]
