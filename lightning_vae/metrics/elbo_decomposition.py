"""The rate over a data set in three: what the latents know, share, and how they are spread."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from typing_extensions import override

from lightning_vae.metrics.aggregate_posterior import BLOCK, log_aggregate, log_marginals
from lightning_vae.metrics.collected import Collected
from lightning_vae.metrics.mutual_information import information_of
from lightning_vae.objectives.densities import log_density
from lightning_vae.objectives.total_correlation import Decomposition

__all__ = ["ELBODecomposition", "elbo_decomposition"]


def elbo_decomposition(
    posteriors: Sequence[Distribution],
    draws: Sequence[Tensor],
    log_prior: Tensor,
    block: int = BLOCK,
) -> Decomposition:
    r"""The three terms of the rate at every example's draw, with q(z) of the whole data set.

    .. math:: \log\frac{q(z|x)}{p(z)} = \log\frac{q(z|x)}{q(z)}
              + \log\frac{q(z)}{\prod_d q(z_d)} + \log\frac{\prod_d q(z_d)}{p(z)}

    Unlike a batch's, :func:`lightning_vae.objectives.decompose`, it needs no weights: q(z) is the
    mixture of all N posteriors, its own among them.

    Args:
        posteriors: q(z|x) of N examples, elementwise, one for every group.
        draws: A draw from each, [N, \*factors].
        log_prior: log p(z) of the draws, summed over groups, [N].
        block: How many numbers to hold at a time.

    Returns:
        Three terms of [N] nats, whose means are divergences.

    Raises:
        ValueError: if a posterior's density does not split over its latents.

    Source: Chen et al. 2018, equation 2; Hoffman & Johnson 2016.

    >>> from torch.distributions import Normal
    >>> q = Normal(torch.tensor([[-9.0, -9.0], [9.0, 9.0]]), 1.0)
    >>> elbo_decomposition([q], [q.loc], torch.zeros(2)).total_correlation  # one bit
    tensor([0.6931, 0.6931])
    """
    groups = list(zip(posteriors, draws, strict=True))
    marginals = torch.stack([log_marginals(q, z, block).sum(1) for q, z in groups]).sum(0)
    own = torch.stack([log_density(q, z) for q, z in groups]).sum(0)
    log_q = log_aggregate(posteriors, draws, block)
    return Decomposition(own - log_q, log_q - marginals, marginals - log_prior)


class ELBODecomposition(Collected):
    r"""Index-code mutual information, total correlation and dimension-wise KL of the data set.

    Its value is a dict of the three, in nats, which sum to the rate as the draws have it, and of
    the mutual information's ``standard_error`` and ``ceiling``, log N: what it would be above that
    appears in the total correlation. Costs N² densities, and those of every latent, in blocks.

    Args:
        examples: How many examples to keep in each process, the first; None is all.
        group: The group of latents; None for all.

    Raises:
        ValueError: if ``examples`` is below 2, or a posterior does not split over its latents.
        TypeError: if it cannot be made from its parameters.

    Source: Chen et al. 2018, equation 2.

    >>> from lightning_vae import VAEModule
    >>> from lightning_vae.networks import MLPDecoder, MLPEncoder
    >>> vae = VAEModule(MLPEncoder((8,), latent=2), MLPDecoder((8,), latent=2))
    >>> metric = ELBODecomposition(examples=1000)
    >>> metric.update(vae(torch.rand(64, 8)))
    >>> list(metric.compute())[:3]
    ['mutual_information', 'total_correlation', 'dimension_wise_kl']
    """

    plot_lower_bound = None

    def __init__(
        self, examples: int | None = None, group: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(examples, group, **kwargs)

    @override
    def compute(self) -> dict[str, Tensor]:
        terms = elbo_decomposition(*self.collected())
        information = information_of(terms.mutual_information)
        means = {name: term.mean() for name, term in terms._asdict().items()}
        return {**means, **information._asdict()}
