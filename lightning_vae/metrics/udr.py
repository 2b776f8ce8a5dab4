r"""UDR, unsupervised disentanglement ranking: whether models trained alike find the same latents.

For two models, :math:`R_{ab}` says how well latent a of one goes with latent b of the other. It is
sharp, up to order and sign, if both are disentangled:

.. math:: \mathrm{UDR} = \tfrac12 \left(\frac1{d'} \sum_b \frac{\max_a R_{ab}^2}{\sum_a R_{ab}}
          + \frac1d \sum_a \frac{\max_b R_{ab}^2}{\sum_b R_{ab}}\right)

over latents whose rate says that they are used. A model's score is its median over the others.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from typing_extensions import override

from lightning_vae.metrics.classifiers import as_arrays, scikit_learn
from lightning_vae.metrics.codes import refuse_unfinished

__all__ = ["UDR", "lasso_weights", "rank_correlation", "relative_strength", "udr"]

Alike: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each pair of columns, as it is without its sign.

    Args:
        a: [N, D].
        b: [N, E].

    Returns:
        [D, E]; 0 where a column is constant.

    >>> rank_correlation(np.array([[1.0], [2.0], [9.0]]), np.array([[3.0, 1], [2.0, 1], [1.0, 1]]))
    array([[1., 0.]])
    """
    first, second = _standardised(rankdata(a, axis=0)), _standardised(rankdata(b, axis=0))
    alike: np.ndarray = np.abs(first.T @ second) / len(a)
    return alike


def lasso_weights(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The weight of each column of a in a lasso (α = 0.1) of each column of b, without its sign.

    Args:
        a: Standardised, [N, D].
        b: Standardised, [N, E].

    Returns:
        [D, E].

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.

    >>> x = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> lasso_weights(x, x[:, :1]).round(4)
    array([[0.9],
           [0. ]])
    """
    lasso = scikit_learn("linear_model", "lasso_weights").Lasso(alpha=0.1)
    weights: np.ndarray = np.abs(np.atleast_2d(lasso.fit(a, b).coef_)).T
    return weights


def relative_strength(alike: np.ndarray) -> float:
    """How sharp the likeness of two models' latents is: [D, E] → [0, 1]; 0 without latents.

    >>> relative_strength(np.eye(3)[[1, 2, 0]]), relative_strength(np.ones((2, 2)))
    (1.0, 0.5)
    """
    if not alike.size:
        return 0.0
    return float(_sharpness(alike) + _sharpness(alike.T)) / 2


def _sharpness(alike: np.ndarray) -> float:
    total = alike.sum(0)
    strongest = alike.max(0) ** 2
    return float(np.mean(strongest / np.where(total > 0, total, 1)))


def _standardised(x: np.ndarray) -> np.ndarray:
    deviation = x.std(0)
    scaled: np.ndarray = (x - x.mean(0)) / np.where(deviation > 0, deviation, 1)
    return scaled


def udr(
    codes: Tensor, rates: Tensor, alike: Alike = rank_correlation, least: float = 0.01
) -> Tensor:
    """The UDR of each of M models: [M], each in [0, 1].

    Args:
        codes: The models' posterior means of the same examples, [N, M, D].
        rates: The mean rate of each latent, [M, D] nats.
        alike: `rank_correlation`, or `lasso_weights` of one model's latents for the other's.
        least: The rate above which a latent counts as used.

    Raises:
        ValueError: if there are fewer than two models.

    Source: Duan et al. 2020, section 4.

    >>> z = torch.randn(1000, 2)
    >>> models = torch.stack([z, -z.flip(1), torch.stack([z[:, 0] + z[:, 1], z[:, 0] - z[:, 1]], 1)], 1)
    >>> udr(models, torch.ones(3, 2)).argmin()
    tensor(2)
    """
    if codes.shape[1] < 2:
        raise ValueError(f"UDR compares two models at least, got codes of {codes.shape[1]}.")
    used = (rates > least).cpu().numpy()
    (points,) = as_arrays(codes)
    models = [_standardised(points[:, m])[:, used[m]] for m in range(points.shape[1])]
    scores = []
    for m, target in enumerate(models):
        others = models[:m] + models[m + 1 :]
        scores.append(np.median([_score(alike, other, target) for other in others]))
    return torch.tensor(np.array(scores), dtype=torch.float32)


def _score(alike: Alike, a: np.ndarray, b: np.ndarray) -> float:
    return relative_strength(alike(a, b)) if a.size and b.size else 0.0


class UDR(Metric):
    """Whether models trained alike find the same latents: a score for each of them.

    Args:
        alike: `rank_correlation`, or `lasso_weights` of one model's latents for the other's.
        least: The rate above which a latent counts as used, in nats.
        kwargs: What every torchmetrics metric takes.

    Source: Duan et al. 2020, section 4.

    >>> z = torch.randn(100, 2)
    >>> metric = UDR()
    >>> metric.update(torch.stack([z, z.flip(1)], 1), torch.ones(100, 2, 2))
    >>> metric.compute() > 0.8
    tensor([True, True])
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    codes: list[Tensor]
    rates: list[Tensor]

    def __init__(self, alike: Alike = rank_correlation, least: float = 0.01, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if alike is lasso_weights:
            scikit_learn("linear_model", "UDR(alike=lasso_weights)")
        self.alike, self.least = alike, least
        self.add_state("codes", [], dist_reduce_fx="cat")
        self.add_state("rates", [], dist_reduce_fx="cat")

    @override
    def update(self, codes: Tensor, rates: Tensor) -> None:
        """Add the codes and the rates of the same B examples in M models, each [B, M, D]."""
        if codes.dim() != 3 or codes.shape != rates.shape:
            raise ValueError(
                f"codes and rates must both be [B, M, D], got {list(codes.shape)} and "
                f"{list(rates.shape)}."
            )
        self.codes.append(codes.detach().float())
        self.rates.append(rates.detach().float())

    @override
    def compute(self) -> Tensor:
        """The score of each model, [M]."""
        codes = dim_zero_cat(self.codes)
        refuse_unfinished(codes)
        return udr(codes, dim_zero_cat(self.rates).mean(0), self.alike, self.least)

    @override
    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw the scores of the models."""
        return self._plot(val, ax)
