r"""Correlation between latents, which needs no factors: as if the codes were normal.

.. math:: \mathrm{TC} = \tfrac12 \left(\sum_j \log \Sigma_{jj} - \log\det\Sigma\right), \qquad
          W = 2\,\mathrm{tr}\,\Sigma - 2\,\mathrm{tr}
              \left(D^{1/2}\,\Sigma\,D^{1/2}\right)^{1/2}, \quad D = \mathrm{diag}\,\Sigma

are the divergence and the squared Wasserstein distance between the normal distribution of the
codes' covariance Σ and the one without its correlations.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from typing_extensions import override

from lightning_vae.metrics.codes import refuse_unfinished

__all__ = [
    "GaussianTotalCorrelation",
    "GaussianWassersteinCorrelation",
    "gaussian_total_correlation",
    "gaussian_wasserstein_correlation",
]


def gaussian_total_correlation(covariance: Tensor) -> Tensor:
    """The total correlation of a normal distribution, in nats; a latent that is constant has none.

    Args:
        covariance: Σ, [D, D].

    Source: Watanabe 1960; as in Locatello et al. 2019, section 5.3.

    >>> gaussian_total_correlation(torch.tensor([[1.0, 0.8], [0.8, 1.0]]))
    tensor(0.5108)
    """
    moves = covariance.diagonal() > 0
    covariance = covariance.double()[moves][:, moves]
    independent = covariance.diagonal().log().sum()
    nats: Tensor = 0.5 * (independent - torch.linalg.slogdet(covariance).logabsdet)
    return nats.float()


def gaussian_wasserstein_correlation(covariance: Tensor, normalised: bool = False) -> Tensor:
    """The squared Wasserstein distance of a normal distribution to the one without correlations.

    Args:
        covariance: Σ, [D, D].
        normalised: Divide by the trace of Σ, so that the codes' scale does not matter.

    Source: Watters et al. 2019, section 4; as in Locatello et al. 2019, section 5.3.

    >>> gaussian_wasserstein_correlation(torch.tensor([[1.0, 0.8], [0.8, 1.0]])).round(decimals=4)
    tensor(0.4223)
    """
    covariance = covariance.double()
    trace, root = covariance.trace(), covariance.diagonal().sqrt()
    # Its eigenvalues are those of the product of both covariances; none is below 0 but by rounding.
    eigenvalues = torch.linalg.eigvalsh(root.unsqueeze(1) * covariance * root)
    distance: Tensor = 2 * trace - 2 * eigenvalues.clamp(min=0).sqrt().sum()
    return (distance / trace if normalised else distance).float()


class _OfCovariance(Metric):
    full_state_update = False
    is_differentiable = False
    higher_is_better = False
    plot_lower_bound = 0.0

    codes: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("codes", [], dist_reduce_fx="cat")

    @override
    def update(self, codes: Tensor, factors: Tensor | None = None) -> None:
        """Add codes [B, D]; factors are not looked at."""
        if codes.dim() != 2:
            raise ValueError(f"codes must be [B, D], got {list(codes.shape)}; flatten(1) them.")
        self.codes.append(codes.detach().float())

    def covariance(self) -> Tensor:
        """The covariance of all codes so far, [D, D] float64."""
        codes = dim_zero_cat(self.codes)
        refuse_unfinished(codes)
        covariance: Tensor = torch.atleast_2d(codes.double().T.cov())
        return covariance

    @override
    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw the score, or several of them as a curve."""
        return self._plot(val, ax)


class GaussianTotalCorrelation(_OfCovariance):
    """The total correlation of the codes, in nats, as if they were normal; 0 without correlations.

    Args:
        kwargs: What every torchmetrics metric takes.

    Source: Watanabe 1960; as in Locatello et al. 2019, section 5.3.

    >>> metric = GaussianTotalCorrelation()
    >>> metric.update(torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]))
    >>> metric.compute()
    tensor(0.)
    """

    @override
    def compute(self) -> Tensor:
        return gaussian_total_correlation(self.covariance())


class GaussianWassersteinCorrelation(_OfCovariance):
    """How far the codes, as if normal, are from having no correlations; 0 without.

    Args:
        normalised: Divide by the codes' whole variance, so that their scale does not matter.
        kwargs: What every torchmetrics metric takes.

    Source: Watters et al. 2019, section 4; as in Locatello et al. 2019, section 5.3.

    >>> metric = GaussianWassersteinCorrelation()
    >>> metric.update(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
    >>> metric.compute()
    tensor(2.3431)
    """

    def __init__(self, normalised: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.normalised = normalised

    @override
    def compute(self) -> Tensor:
        return gaussian_wasserstein_correlation(self.covariance(), self.normalised)
