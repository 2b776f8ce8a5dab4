"""The mutual information of x and z under the encoder."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution
from typing_extensions import override

from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.metrics.aggregate_posterior import BLOCK, log_aggregate
from lightning_vae.metrics.collected import Collected
from lightning_vae.objectives.densities import log_density

__all__ = ["Information", "MutualInformation", "information_of", "mutual_information"]

Entropy = Literal["exact", "drawn"]


class Information(NamedTuple):
    """An estimate in nats, what its draws leave open, and what N examples can show at most."""

    mutual_information: Tensor
    standard_error: Tensor
    ceiling: Tensor


def mutual_information(
    posteriors: Sequence[Distribution],
    draws: Sequence[Tensor],
    entropy: Entropy = "exact",
    block: int = BLOCK,
) -> Information:
    r"""The mutual information between an example's index and its latents.

    .. math:: I = \frac1N \sum_i \mathbb E_{q(z|x_i)}[\log q(z|x_i)] - \log q(z_i), \quad
              q(z) = \frac1N \sum_j q(z|x_j)

    The aggregate posterior is over all N examples, not a batch: the estimate cannot exceed log N,
    its ceiling, by more than its error, and near it says only that there is more.

    Args:
        posteriors: q(z|x) of N examples, one for every group.
        draws: A draw from each, [N, \*factors].
        entropy: ``"exact"``, He's: the first term in closed form, where there is one; the estimate
            of a collapsed encoder may be negative. ``"drawn"``: at the draw, as the second, which
            bounds every example's by log N and leaves none to one that is collapsed.
        block: How many numbers to hold at a time.

    Raises:
        ValueError: if ``entropy`` is neither.

    Source: He et al. 2019, section 4.1; Hoffman & Johnson 2016, equation 7.

    >>> from torch.distributions import Normal
    >>> q = Normal(torch.tensor([[-9.0], [9.0]]), 1.0)
    >>> mutual_information([q], [q.loc], entropy="drawn")  # a bit
    Information(mutual_information=tensor(0.6931), standard_error=tensor(0.), ceiling=tensor(0.6931))
    """
    if entropy not in ("exact", "drawn"):
        raise ValueError(f"entropy must be 'exact' or 'drawn', got {entropy!r}.")
    log_q = log_aggregate(posteriors, draws, block)
    each = [
        _expected_log(q, z) if entropy == "exact" else log_density(q, z)
        for q, z in zip(posteriors, draws, strict=True)
    ]
    return information_of(torch.stack(each).sum(0) - log_q)


def information_of(terms: Tensor) -> Information:
    """The estimate from every example's term, [N] nats."""
    ceiling = terms.new_tensor(math.log(len(terms)))
    return Information(terms.mean(), terms.std() / math.sqrt(len(terms)), ceiling)


def _expected_log(q: Distribution, z: Tensor) -> Tensor:
    """E log q(z|x) of every example: minus the entropy, or where it has none at the draw."""
    try:
        entropy: Tensor = at_least_float32(q.entropy())
    except NotImplementedError:
        return log_density(q, z)
    return -entropy.reshape(len(z), -1).sum(1)


class MutualInformation(Collected):
    r"""The mutual information of x and z over the data set, with its error and its ceiling log N.

    Its value is a dict of ``mutual_information``, ``standard_error`` and ``ceiling``, in nats. Costs
    N² densities, in blocks.

    Args:
        entropy: ``"exact"`` or ``"drawn"``: see :func:`mutual_information`.
        examples: How many examples to keep in each process, the first; None is all.
        group: The group of latents; None for all, which are independent given x. The groups of a
            hierarchy are not: take its first.

    Raises:
        ValueError: if ``entropy`` is neither, or ``examples`` below 2.
        TypeError: if a posterior cannot be made from its parameters.

    Source: He et al. 2019, section 4.1.

    >>> from lightning_vae import VAEModule
    >>> from lightning_vae.networks import MLPDecoder, MLPEncoder
    >>> vae = VAEModule(MLPEncoder((8,), latent=2), MLPDecoder((8,), latent=2))
    >>> metric = MutualInformation(entropy="drawn")
    >>> for x in torch.zeros(64, 8).split(16):
    ...     metric.update(vae(x))
    >>> round(abs(metric.compute()["mutual_information"].item()), 4)
    0.0
    """

    higher_is_better = True
    plot_lower_bound = None

    def __init__(
        self,
        entropy: Entropy = "exact",
        examples: int | None = None,
        group: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(examples, group, **kwargs)
        if entropy not in ("exact", "drawn"):
            raise ValueError(f"entropy must be 'exact' or 'drawn', got {entropy!r}.")
        self.entropy: Entropy = entropy

    @override
    def compute(self) -> dict[str, Tensor]:
        posteriors, draws, _ = self.collected()
        return mutual_information(posteriors, draws, self.entropy)._asdict()
