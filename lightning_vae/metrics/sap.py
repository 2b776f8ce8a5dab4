r"""SAP, the separated attribute predictability.

.. math:: \mathrm{SAP} = \frac1K \sum_k S_{(1)k} - S_{(2)k}

where :math:`S_{jk}` is how well latent j alone predicts factor k: the accuracy of a linear support
vector machine on examples that it was not fitted to.
"""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_vae.metrics import linear_svm
from lightning_vae.metrics.codes import CodeMetric, split, varying

__all__ = ["SAP", "attribute_predictability", "sap"]


def sap(codes: Tensor, factors: Tensor, test_codes: Tensor, test_factors: Tensor) -> Tensor:
    """The separated attribute predictability, in [0, 1].

    Args:
        codes: Posterior means to fit to, [N, D].
        factors: Their classes, [N, K] int64.
        test_codes: Posterior means to predict from, [M, D].
        test_factors: Their classes, [M, K] int64.

    Source: Kumar et al. 2018, section 3; LinearSVC as in Locatello et al. 2019, appendix C.

    >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(2))
    >>> codes = 20 * factors - 10.0
    >>> sap(codes, factors, codes, factors)  # 1 for the right latent, 1/2 for the other
    tensor(0.5000)
    """
    predictability = attribute_predictability(codes, factors, test_codes, test_factors)
    # A latent that predicts nothing, so that a single one has a second.
    nothing = torch.zeros_like(predictability[:1])
    first, second = torch.cat([predictability, nothing]).topk(2, dim=0).values
    gaps: Tensor = first - second
    return gaps.mean().float()


def attribute_predictability(
    codes: Tensor, factors: Tensor, test_codes: Tensor, test_factors: Tensor
) -> Tensor:
    """The accuracy with which each latent alone predicts each factor: [D, K] float64.

    >>> codes = torch.tensor([[-9.0, 5.0], [-9.0, 5.0], [9.0, 5.0]])
    >>> factors = torch.tensor([[0], [0], [1]])
    >>> attribute_predictability(codes, factors, codes, factors)[0]
    tensor([1.], dtype=torch.float64)
    """
    columns = []
    for column, test_column in zip(factors.unbind(1), test_factors.unbind(1), strict=True):
        predicted = linear_svm.predict(linear_svm.fit(codes, column), test_codes)
        columns.append((predicted == test_column.unsqueeze(1)).double().mean(0))
    return torch.stack(columns, 1)


class SAP(CodeMetric):
    """The gap between the two latents that best predict a factor, each by itself.

    Two thirds of the codes are fitted to, the others predicted from.

    Args:
        seed: Seed of which codes are which.
        kwargs: What every torchmetrics metric takes.

    Source: Kumar et al. 2018, section 3; LinearSVC as in Locatello et al. 2019, appendix C.

    >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(2)).repeat(100, 1)
    >>> metric = SAP()
    >>> metric.update(20 * factors - 10.0, factors)
    >>> 0.4 < metric.compute() < 0.6
    tensor(True)
    """

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed

    @override
    def score(self, codes: Tensor, factors: Tensor) -> Tensor:
        (codes, test_codes), (factors, test_factors) = split([codes, varying(factors)], self.seed)
        return sap(codes, factors, test_codes, test_factors)
