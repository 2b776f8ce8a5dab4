r"""The aggregate posterior of a data set, and its marginals, at the draws of its examples.

.. math:: q(z) = \frac1N \sum_j q(z \mid x_j), \qquad q(z_d) = \frac1N \sum_j q(z_d \mid x_j)

N² densities, in blocks of rows: at most some millions of numbers are held at a time. Normal
posteriors take one matrix product a block, and their marginals a grid where it is dense enough.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from lightning_vae.distributions.gaussian import log_variance_of
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.objectives.densities import log_density, pairwise

__all__ = ["log_aggregate", "log_marginals"]

BLOCK = 1 << 21  # numbers at a time: 8 MB of float32, a processor's cache
_LEAST = -80.0  # exp of less is slow where it is no longer a normal float32, and adds nothing
_PER_SIGMA = 8  # grid points in the narrowest posterior's σ
_DENSE = 4  # examples a grid point from which on the grid is quicker

Rows = Callable[[slice], Tensor]  # the log-densities of some draws under every posterior: [r, N]


def log_aggregate(
    posteriors: Sequence[Distribution], draws: Sequence[Tensor], block: int = BLOCK
) -> Tensor:
    r"""log q(z) of every example's own draw, summed over groups: [N] nats.

    .. math:: \log q(z_i) = \log \frac1N \sum_j q(z_i \mid x_j)

    The example's own term is written exactly, whatever the precision of the others'.

    Args:
        posteriors: q(z|x) of N examples, one for every group; the groups are independent given x.
        draws: A draw from each, [N, \*factors].
        block: How many numbers to hold at a time.

    >>> from torch.distributions import Normal
    >>> q = Normal(torch.tensor([[-9.0], [9.0]]), 1.0)
    >>> log_aggregate([q], [q.loc])  # half a density
    tensor([-1.6121, -1.6121])
    """
    own = _own(posteriors, draws)
    scores = [_rows(q, z) for q, z in zip(posteriors, draws, strict=True)]
    widest = max([1, *(_width(q) for q in posteriors if _normal(q) is None)])
    log_q = torch.empty_like(own)  # small results kept between large blocks would part the memory
    for rows in _blocks(len(own), len(own) * widest, block):
        log_pairs = scores[0](rows)
        for score in scores[1:]:
            log_pairs = log_pairs + score(rows)
        log_pairs.diagonal(rows.start).copy_(own[rows])
        log_q[rows] = _log_mean_exp(log_pairs)
    return log_q


def log_marginals(posterior: Distribution, z: Tensor, block: int = BLOCK) -> Tensor:
    r"""log q(z_d) of every latent of every example's own draw: [N, d] nats.

    .. math:: \log q(z_{id}) = \log \frac1N \sum_j q(z_{id} \mid x_j)

    Args:
        posterior: q(z|x) of N examples, elementwise.
        z: A draw from each, [N, \*factors].
        block: How many numbers to hold at a time.

    Raises:
        ValueError: if the posterior's density does not split over its latents.

    >>> from torch.distributions import Normal
    >>> q = Normal(torch.tensor([[-9.0], [9.0]]), 1.0)
    >>> log_marginals(q, q.loc)
    tensor([[-1.6121],
            [-1.6121]])
    """
    normal = _normal(posterior)
    if normal is not None:
        loc, log_variance = _parameters(normal)
        columns = zip(_flat(z).unbind(1), loc.unbind(1), log_variance.unbind(1), strict=True)
        return torch.stack([_normal_marginal(*column, block) for column in columns], 1)
    log_q = torch.empty_like(_flat(z))
    for rows in _blocks(len(z), z.numel(), block):
        log_q[rows] = pairwise(posterior, z[rows]).logsumexp(1) - math.log(len(z))
    return log_q


def _blocks(n: int, row: int, block: int) -> Iterator[slice]:
    """Slices of n rows, in each of which as many as fit."""
    size = max(1, block // row)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _log_mean_exp(log_pairs: Tensor) -> Tensor:
    """Over the columns, in place."""
    columns = log_pairs.shape[1]
    top = log_pairs.amax(1, keepdim=True)
    sums = log_pairs.sub_(top).clamp_(min=_LEAST).exp_().sum(1)
    return sums.log_().add_(top.squeeze(1)).sub_(math.log(columns))


def _own(posteriors: Sequence[Distribution], draws: Sequence[Tensor]) -> Tensor:
    first, *others = [log_density(q, z) for q, z in zip(posteriors, draws, strict=True)]
    return sum(others, start=first)


def _width(posterior: Distribution) -> int:
    """How many numbers a density of one draw under one posterior takes on its way."""
    return (posterior.batch_shape[1:] + posterior.event_shape).numel()


def _rows(posterior: Distribution, z: Tensor) -> Rows:
    normal = _normal(posterior)
    if normal is not None:
        return _normal_rows(normal, z)
    return lambda rows: _any_rows(posterior, z[rows])


def _any_rows(posterior: Distribution, z: Tensor) -> Tensor:
    log_q = at_least_float32(posterior.log_prob(at_least_float32(z).unsqueeze(1)))
    return log_q.flatten(2).sum(2) if log_q.dim() > 2 else log_q.clone()


# ---- normal posteriors -----------------------------------------------------------------------------


def _normal(posterior: Distribution) -> Normal | None:
    while isinstance(posterior, Independent):
        posterior = posterior.base_dist
    return posterior if isinstance(posterior, Normal) else None


def _flat(z: Tensor) -> Tensor:
    return at_least_float32(z).reshape(len(z), -1)


def _parameters(normal: Normal) -> tuple[Tensor, Tensor]:
    return _flat(normal.loc), _flat(log_variance_of(normal))


def _normal_rows(normal: Normal, z: Tensor) -> Rows:
    r"""By one matrix product: :math:`-\tfrac12 (z^2 s^{-2} - 2 z \mu s^{-2} + \mu^2 s^{-2} + …)`."""
    loc, log_variance = _parameters(normal)
    centre = loc.mean(0)
    z, loc = _flat(z) - centre, loc - centre
    dtype = _product_dtype(z, log_variance)
    z, loc, log_variance = z.to(dtype), loc.to(dtype), log_variance.to(dtype)
    precision = (-log_variance).exp()
    weighed = loc * precision
    constant = -0.5 * (loc * weighed + log_variance + math.log(2 * math.pi)).sum(1, keepdim=True)
    left = torch.cat([z.square(), z, torch.ones_like(z[:, :1])], 1)
    right = torch.cat([-0.5 * precision, weighed, constant], 1).T.contiguous()
    return lambda rows: (left[rows] @ right).to(torch.float32)


def _product_dtype(z: Tensor, log_variance: Tensor) -> torch.dtype:
    """Terms of the square cancel: their digits are lost where posteriors are narrow."""
    if z.device.type == "mps":
        return torch.float32
    largest = z.square().max() * (-log_variance.min()).exp()
    return torch.float32 if largest < 1e3 else torch.float64


def _normal_marginal(z: Tensor, loc: Tensor, log_variance: Tensor, block: int) -> Tensor:
    """The marginal of one latent at N points: by a grid, where that is less than N points."""
    low, high = z.min().item(), z.max().item()
    step = math.exp(0.5 * log_variance.min().item()) / _PER_SIGMA
    if not (high - low) / step * _DENSE < len(z):
        return _mixture(z, loc, log_variance, block)
    points = math.ceil((high - low) / step) + 4
    grid = low + step * (torch.arange(points, dtype=z.dtype, device=z.device) - 1)
    at_grid = _mixture(grid, loc, log_variance, block)
    return _cubic(at_grid, (z - low) / step + 1)


def _mixture(points: Tensor, loc: Tensor, log_variance: Tensor, block: int) -> Tensor:
    """The log-density of the mixture of one-dimensional normals at every point."""
    scale = (-0.5 * log_variance).exp()
    constant = -0.5 * (log_variance + math.log(2 * math.pi))
    log_q = torch.empty_like(points)
    for rows in _blocks(len(points), len(loc), block):
        distance = (points[rows, None] - loc).mul_(scale)
        log_q[rows] = _log_mean_exp(distance.square_().mul_(-0.5).add_(constant))
    return log_q


def _cubic(values: Tensor, places: Tensor) -> Tensor:
    """Lagrange's polynomial through the four grid values around every place."""
    left = places.floor().long().clamp(1, len(values) - 3)
    t = places - left
    before, at, after, beyond = (values[left + k] for k in (-1, 0, 1, 2))
    return (
        -before * t * (t - 1) * (t - 2) / 6
        + at * (t + 1) * (t - 1) * (t - 2) / 2
        - after * (t + 1) * t * (t - 2) / 2
        + beyond * (t + 1) * t * (t - 1) / 6
    )
