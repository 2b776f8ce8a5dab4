r"""MIG from the posteriors themselves: the information of draws, by exact densities.

.. math:: I(z_j; v_k) = \mathbb E_{n,\, z_j \sim q(z_j|x_n)}
          \left[\log q(z_j | v_k = v_k^{(n)}) - \log q(z_j)\right], \qquad
          q(z_j | v_k) = \frac1{|S|} \sum_{m \in S} q(z_j | x_m)

with :math:`S` the examples whose factor k has that class; q(z_j) is over all. This is the paper's
definition; `mig` bins posterior means instead (see there for the difference).
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.metrics.codes import refuse_others, refuse_unfinished, varying
from lightning_vae.metrics.histograms import entropy
from lightning_vae.metrics.mig import information_gap

__all__ = ["PosteriorMIG", "posterior_information", "posterior_mig"]

_CELLS = 2**19  # how many densities a chunk of draws may have: as many as a cache has room for


def posterior_mig(
    posterior: Distribution, factors: Tensor, samples: int = 10_000, seed: int = 0
) -> Tensor:
    """The mutual information gap of draws from the posteriors of a data set.

    Args:
        posterior: q(z|x) of N examples: a normal distribution of batch shape [N, D].
        factors: Classes, [N, K] int64. A factor that is constant is left out.
        samples: From how many examples, chosen without replacement, z is drawn.
        seed: Seed of the draws.

    The examples stand for the data set: where they are a part of it, every draw meets its own
    posterior more often than it should, and I is too large; the exact value takes all of them.

    Raises:
        ValueError: if the posterior is not normal with batch shape [N, D].

    Source: Chen et al. 2018, section 4.1 and appendix.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    >>> posterior_mig(Normal(factors.float(), 0.01), factors)
    tensor(1.)
    >>> posterior_mig(Normal(factors.float(), 100.0), factors) < 0.01
    tensor(True)
    """
    factors = varying(factors)
    information = posterior_information(posterior, factors, samples, seed)
    entropies = [entropy(column.bincount()) for column in factors.unbind(1)]
    return information_gap(information, torch.stack(entropies))


def posterior_information(
    posterior: Distribution, factors: Tensor, samples: int = 10_000, seed: int = 0
) -> Tensor:
    """I(z_j; v_k) of draws from the posteriors of a data set, in nats: [D, K] float64.

    Args:
        posterior: q(z|x) of N examples: a normal distribution of batch shape [N, D].
        factors: Classes, [N, K] int64.
        samples: From how many examples, chosen without replacement, z is drawn.
        seed: Seed of the draws.

    >>> classes = torch.arange(2).repeat(50).unsqueeze(1)
    >>> posterior_information(Normal(classes.float(), 0.01), classes)
    tensor([[0.6931]], dtype=torch.float64)
    """
    loc, scale = _normal(posterior)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(loc), generator=generator)[:samples].to(loc.device)
    noise = torch.randn(len(rows), loc.shape[1], generator=generator).to(loc)
    z, own = loc[rows] + scale[rows] * noise, factors[rows]
    everywhere = _log_mixture(z, loc, scale)
    gains = torch.zeros(len(factors.T), loc.shape[1], dtype=torch.float64, device=loc.device)
    for k, column in enumerate(factors.unbind(1)):
        for c in column.unique():
            drawn, members = own[:, k] == c, column == c
            within = _log_mixture(z[drawn], loc[members], scale[members])
            gains[k] += (within - everywhere[drawn]).sum(0)
    return gains.T / len(z)


def _normal(posterior: Distribution) -> tuple[Tensor, Tensor]:
    while isinstance(posterior, Independent):
        posterior = posterior.base_dist
    if not isinstance(posterior, Normal) or posterior.loc.dim() != 2:
        raise ValueError(
            f"posterior must be a normal distribution of batch shape [N, D], got {posterior}; "
            f"for others, MIG takes posterior means."
        )
    return posterior.loc.detach().float(), posterior.stddev.detach().float()


def _log_mixture(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """The log-density of z [M, D] in each latent's even mixture of components [N, D]: float64."""
    loc, inverse = loc.T.contiguous(), scale.T.reciprocal()
    log_inverse = inverse.log()
    parts = [z.new_zeros((0, z.shape[1]), dtype=torch.float64)]
    for part in z.unsqueeze(2).split(max(1, _CELLS // loc.numel())):
        log_density = (part - loc).mul_(inverse).square_().mul_(-0.5).add_(log_inverse)
        top = log_density.amax(2, keepdim=True)
        # Below -80, exp leaves the normal numbers, where it takes many times as long.
        total = log_density.sub_(top).clamp_(min=-80).exp_().sum(2)
        parts.append(top.squeeze(2).double() + total.double().log())
    return torch.cat(parts) - (math.log(loc.shape[1]) + 0.5 * math.log(2 * math.pi))


class PosteriorMIG(Metric):
    """The mutual information gap of draws from the posteriors: the paper's own convention.

    Args:
        samples: From how many examples z is drawn.
        seed: Seed of the draws.
        kwargs: What every torchmetrics metric takes.

    Source: Chen et al. 2018, section 4.1 and appendix.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    >>> metric = PosteriorMIG()
    >>> metric.update(Normal(factors.float(), 0.01), factors)
    >>> metric.compute()
    tensor(1.)
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    loc: list[Tensor]
    scale: list[Tensor]
    factors: list[Tensor]

    def __init__(self, samples: int = 10_000, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.samples, self.seed = whole("samples", samples), seed
        for name in ("loc", "scale", "factors"):
            self.add_state(name, [], dist_reduce_fx="cat")

    @override
    def update(self, posterior: Distribution, factors: Tensor) -> None:
        """Add the posteriors of B examples and the classes [B, K] int64 behind them."""
        loc, scale = _normal(posterior)
        refuse_others(loc, factors)
        self.loc.append(loc)
        self.scale.append(scale)
        self.factors.append(factors)

    @override
    def compute(self) -> Tensor:
        loc, scale = dim_zero_cat(self.loc), dim_zero_cat(self.scale)
        refuse_unfinished(loc)
        posterior = Normal(loc, scale)
        return posterior_mig(posterior, dim_zero_cat(self.factors), self.samples, self.seed)

    @override
    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw the score, or several of them as a curve."""
        return self._plot(val, ax)
