r"""IRS, the interventional robustness score: whether a latent heeds one factor and no other.

.. math:: \mathrm{IRS}_{jk} = 1 - \frac{\mathbb E_{v_k}\,
          \max_{x: v_k}|z_j - \mathbb E[z_j | v_k]|}{\max_x |z_j - \mathbb E[z_j]|}

is near 1 where z_j stays as it is while every factor but v_k is changed. A latent's score is that
of the factor for which it is largest; the score is their mean, weighted by how far each moves.
"""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_vae.arguments import positive, share, whole
from lightning_vae.metrics.codes import CodeMetric, varying
from lightning_vae.metrics.histograms import binned

__all__ = ["IRS", "irs"]


def irs(codes: Tensor, factors: Tensor, bins: int = 20, quantile: float = 0.99) -> Tensor:
    """The interventional robustness score, in [0, 1]; 0 where no latent moves.

    Args:
        codes: Posterior means, [N, D].
        factors: Classes, [N, K] int64. A factor that is constant is left out.
        bins: Into how many each factor's classes are parted.
        quantile: Which deviation stands for the largest within a class; 1 is the paper's.

    Source: Suter et al. 2019, section 5; numbers as in Locatello et al. 2019, appendix C.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    >>> irs(factors.float(), factors)
    tensor(1.)
    """
    codes, factors = codes.double(), binned(varying(factors), bins)
    farthest = (codes - codes.mean(0)).abs().amax(0)
    moves = farthest > 0
    if not moves.any():
        return torch.zeros((), device=codes.device)
    codes, farthest = codes[:, moves], farthest[moves]
    # Factor by factor and class by class; all latents at once.
    deviations = [_deviation(codes, column, quantile) for column in factors.unbind(1)]
    robust = 1 - torch.stack(deviations).amin(0) / farthest
    return ((robust * farthest).sum() / farthest.sum()).float()


def _deviation(codes: Tensor, classes: Tensor, quantile: float) -> Tensor:
    """How far codes are from the mean of their class, at most, on average over classes: [D]."""
    _, sizes = classes.unique(return_counts=True)
    groups = codes[classes.argsort()].split(sizes.tolist())
    farthest = [_quantile((group - group.mean(0)).abs(), quantile) for group in groups]
    return torch.stack(farthest).mean(0)


def _quantile(values: Tensor, quantile: float) -> Tensor:
    """The quantile of each column. torch's own refuses more than 16 million values."""
    place = quantile * (len(values) - 1)
    ordered, lower = values.sort(dim=0).values, int(place)
    upper = min(lower + 1, len(values) - 1)
    return ordered[lower].lerp(ordered[upper], place - lower)


class IRS(CodeMetric):
    """Whether each latent heeds one factor and stays as it is while the others change.

    Args:
        bins: Into how many each factor's classes are parted.
        quantile: Which deviation stands for the largest within a class; 1 is the paper's.
        kwargs: What every torchmetrics metric takes.

    Source: Suter et al. 2019, section 5; numbers as in Locatello et al. 2019, appendix C.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    >>> metric = IRS()
    >>> metric.update(factors.float(), factors)
    >>> metric.compute()
    tensor(1.)
    """

    def __init__(self, bins: int = 20, quantile: float = 0.99, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins = whole("bins", bins, 2, write="bins=20")
        self.quantile = share("quantile", positive("quantile", quantile, write="quantile=0.99"))

    @override
    def score(self, codes: Tensor, factors: Tensor) -> Tensor:
        return irs(codes, factors, self.bins, self.quantile)
