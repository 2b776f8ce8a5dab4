r"""MIG, the mutual information gap, from binned codes.

.. math:: \mathrm{MIG} = \frac1K \sum_k \frac{I(z_{(1)}; v_k) - I(z_{(2)}; v_k)}{H(v_k)}

where :math:`z_{(1)}` and :math:`z_{(2)}` are the two latents that tell most about factor
:math:`v_k`. Two conventions are in use, and their values do not compare:

- here, as in disentanglement_lib, the information is that of the posterior *means*, each latent's
  range parted in 20 bins;
- in `PosteriorMIG`, as in the paper, it is that of *draws* from q(z|x), with exact densities.

Binning means ignores the posterior's spread, so a latent whose mean moves by a hundredth of its
spread counts as informative; and a bin holds several classes of a fine factor, so that a perfect
code of 40 orientations has 20 bins to name them and a score below 1.
"""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.metrics.codes import CodeMetric, varying
from lightning_vae.metrics.histograms import binned, contingency, entropy, mutual_information

__all__ = ["MIG", "information_gap", "mig"]


def mig(codes: Tensor, factors: Tensor, bins: int = 20) -> Tensor:
    """The mutual information gap of binned codes, in [0, 1].

    Args:
        codes: Posterior means, [N, D].
        factors: Classes, [N, K] int64. A factor that is constant is left out.
        bins: Into how many each latent's range is parted.

    Source: Chen et al. 2018, section 4.1; bins as in Locatello et al. 2019, appendix C.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    >>> mig(factors.float(), factors)
    tensor(1.)
    >>> mig(factors.float().repeat(1, 2), factors)  # each factor in two latents
    tensor(0.)
    """
    counts = contingency(binned(codes, bins), varying(factors))
    return information_gap(mutual_information(counts), entropy(counts[0].sum(-2)))


def information_gap(information: Tensor, entropy: Tensor) -> Tensor:
    """The gap between the two latents that tell most, as part of a factor's entropy, on average.

    Args:
        information: I(z_j; v_k), [D, K].
        entropy: H(v_k), [K].

    >>> information_gap(torch.tensor([[0.6, 0.0], [0.2, 0.0], [0.1, 0.5]]), torch.ones(2))
    tensor(0.4500)
    """
    # A latent that tells nothing, so that a single one has a second.
    nothing = torch.zeros_like(information[:1])
    first, second = torch.cat([information, nothing]).topk(2, dim=0).values
    gaps: Tensor = (first - second) / entropy
    return gaps.mean().float()


class MIG(CodeMetric):
    """The mutual information gap of binned posterior means: 1 if each factor is in one latent.

    Args:
        bins: Into how many each latent's range is parted.
        kwargs: What every torchmetrics metric takes.

    Source: Chen et al. 2018, section 4.1; bins as in Locatello et al. 2019, appendix C.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    >>> metric = MIG()
    >>> metric.update(factors.float(), factors)
    >>> metric.compute()
    tensor(1.)
    """

    def __init__(self, bins: int = 20, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins = whole("bins", bins, 2, write="bins=20")

    @override
    def score(self, codes: Tensor, factors: Tensor) -> Tensor:
        return mig(codes, factors, self.bins)
