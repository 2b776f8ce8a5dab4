r"""Modularity and explicitness: one factor a latent, and every factor easy to read.

.. math:: \text{modularity} = \frac1D \sum_j
          1 - \frac{\sum_{k \ne k_j} I_{jk}^2}{(K - 1)\, I_{j k_j}^2}, \qquad
          k_j = \arg\max_k I_{jk}, \quad I_{jk} = I(z_j; v_k)

Explicitness is the area under the ROC curve of a logistic regression that names each class of a
factor from all latents, on average.
"""

from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.metrics.classifiers import as_arrays, scikit_learn
from lightning_vae.metrics.codes import CodeMetric, split, varying
from lightning_vae.metrics.histograms import binned, contingency, mutual_information

__all__ = ["Explicitness", "Modularity", "explicitness", "modularity", "modularity_of"]

_NOTHING = 1e-12  # nats, which rounding leaves of no information


def modularity(codes: Tensor, factors: Tensor, bins: int = 20) -> Tensor:
    """The modularity of binned codes, in [0, 1].

    Args:
        codes: Posterior means, [N, D].
        factors: Classes, [N, K] int64. A factor that is constant is left out.
        bins: Into how many each latent's range is parted.

    Source: Ridgeway & Mozer 2018, section 3; bins as in Locatello et al. 2019, appendix C.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    >>> modularity(factors.float(), factors)
    tensor(1.)
    """
    counts = contingency(binned(codes, bins), varying(factors))
    return modularity_of(mutual_information(counts))


def modularity_of(information: Tensor) -> Tensor:
    """The modularity of I(z_j; v_k), [D, K]; a latent that tells nothing counts as 0.

    >>> modularity_of(torch.tensor([[1.0, 0.0], [1.0, 0.5], [0.0, 0.0]]))
    tensor(0.5833)
    """
    squared = information.square()
    most = squared.amax(1)
    # A single factor has no other to share a latent with.
    rivals = max(1, squared.shape[1] - 1)
    shared = (squared.sum(1) - most) / (rivals * most)
    return torch.where(most > _NOTHING**2, 1 - shared, 0.0).mean().float()


def explicitness(
    codes: Tensor, factors: Tensor, test_codes: Tensor, test_factors: Tensor
) -> Tensor:
    """How well logistic regression ranks the classes of each factor, in [0, 1]; chance is 1/2.

    Args:
        codes: Posterior means to fit to, [N, D].
        factors: Their classes, [N, K] int64.
        test_codes: Posterior means to predict from, [M, D].
        test_factors: Their classes, [M, K] int64.

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.

    Source: Ridgeway & Mozer 2018, section 3.

    >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(2))
    >>> explicitness(factors.float(), factors, factors.float(), factors)
    tensor(1.)
    """
    linear_model = scikit_learn("linear_model", "Explicitness")
    deviation = codes.std(0, correction=0)
    # Zero over one, where a latent is constant.
    scale = torch.where(deviation > 0, deviation, 1.0)
    fitted, asked = ((c - codes.mean(0)) / scale for c in (codes, test_codes))
    x, test_x, y, test_y = as_arrays(fitted, asked, factors, test_factors)
    areas = []
    for k in range(y.shape[1]):
        model = linear_model.LogisticRegression().fit(x, y[:, k])
        areas.append(_area(model.predict_proba(test_x), test_y[:, k, None] == model.classes_))
    return torch.tensor(np.mean(areas), dtype=torch.float32)


def _area(scores: np.ndarray, is_class: np.ndarray) -> float:
    """The mean area under the ROC curve of the classes that are and are not there: both [M, F]."""
    n = is_class.sum(0)
    told = (n > 0) & (n < len(scores))
    if not told.any():
        raise ValueError("a factor has one class only among the test examples: give more of them.")
    scores, is_class, n = scores[:, told], is_class[:, told], n[told]
    # The area is the chance that a member ranks above another (Mann and Whitney).
    ranks = np.where(is_class, rankdata(scores, axis=0), 0).sum(0)
    areas = (ranks - n * (n + 1) / 2) / (n * (len(scores) - n))
    return float(areas.mean())


class Modularity(CodeMetric):
    """Whether each latent tells of one factor only.

    Args:
        bins: Into how many each latent's range is parted.
        kwargs: What every torchmetrics metric takes.

    Source: Ridgeway & Mozer 2018, section 3; bins as in Locatello et al. 2019, appendix C.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    >>> metric = Modularity()
    >>> metric.update(factors.float(), factors)
    >>> metric.compute()
    tensor(1.)
    """

    def __init__(self, bins: int = 20, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins = whole("bins", bins, 2, write="bins=20")

    @override
    def score(self, codes: Tensor, factors: Tensor) -> Tensor:
        return modularity(codes, factors, self.bins)


class Explicitness(CodeMetric):
    """Whether logistic regression reads every factor from the codes; chance is 1/2.

    Two thirds of the codes are fitted to, the others predicted from.

    Args:
        seed: Seed of which codes are which.
        kwargs: What every torchmetrics metric takes.

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.

    Source: Ridgeway & Mozer 2018, section 3.

    >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(2)).repeat(10, 1)
    >>> metric = Explicitness()
    >>> metric.update(factors.float(), factors)
    >>> metric.compute()
    tensor(1.)
    """

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        scikit_learn("linear_model", type(self).__name__)
        self.seed = seed

    @override
    def score(self, codes: Tensor, factors: Tensor) -> Tensor:
        (codes, test_codes), (factors, test_factors) = split([codes, varying(factors)], self.seed)
        return explicitness(codes, factors, test_codes, test_factors)
