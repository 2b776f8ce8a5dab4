r"""DCI: disentanglement, completeness and informativeness, from boosted trees.

Trees name each factor from all latents, and :math:`R_{jk}` is how much latent j was of use for
factor k. With entropies to the base of the number of what is summed over,

.. math:: D = \sum_j \rho_j \left(1 - H_K(R_{j\cdot})\right), \quad
          C = \sum_k \rho_k \left(1 - H_D(R_{\cdot k})\right), \quad
          \rho \propto \textstyle\sum R,

and I is the accuracy on examples that the trees were not fitted to.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from lightning_vae.metrics.classifiers import as_arrays, scikit_learn
from lightning_vae.metrics.codes import CodeMetric, split, varying

__all__ = [
    "DCI",
    "Fitted",
    "binned_boosted_trees",
    "boosted_trees",
    "completeness",
    "dci",
    "disentanglement",
]


class Fitted(NamedTuple):
    """A fitted classifier: what it predicts, and of how much use each feature was, [D]."""

    predict: Callable[[np.ndarray], np.ndarray]
    importance: np.ndarray


Fit: TypeAlias = Callable[[np.ndarray, np.ndarray, int], Fitted]


def boosted_trees(x: np.ndarray, classes: np.ndarray, seed: int = 0) -> Fitted:
    """scikit-learn's gradient boosting at its defaults, as in published numbers; it takes minutes.

    Args:
        x: Features, [N, D].
        classes: Labels, [N].
        seed: Seed of how ties are broken.

    >>> x = np.array([[0.0, 5.0], [1.0, 5.0]] * 10)
    >>> boosted_trees(x, x[:, 0].astype(int)).importance
    array([1., 0.])
    """
    ensemble = scikit_learn("ensemble", "DCI")
    model = ensemble.GradientBoostingClassifier(random_state=seed).fit(x, classes)
    return Fitted(model.predict, np.abs(model.feature_importances_))


def binned_boosted_trees(x: np.ndarray, classes: np.ndarray, seed: int = 0) -> Fitted:
    """The same trees on 64 bins a feature, by second-order gains: many times as fast.

    Their importances are close to those of `boosted_trees`, not equal: from thousands of codes,
    scores differ by some 0.02.

    Args:
        x: Features, [N, D].
        classes: Labels, [N].
        seed: Seed of the bins, for more than 200,000 examples.

    >>> x = np.array([[0.0, 5.0], [1.0, 5.0]] * 10)
    >>> binned_boosted_trees(x, x[:, 0].astype(int)).importance
    array([1., 0.])
    """
    ensemble = scikit_learn("ensemble", "DCI")
    model = ensemble.HistGradientBoostingClassifier(
        max_depth=3,
        max_leaf_nodes=None,
        max_bins=64,
        min_samples_leaf=1,
        early_stopping=False,
        random_state=seed,
    ).fit(x, classes)
    return Fitted(model.predict, _gains(model, x.shape[1]))


def _gains(model: Any, features: int) -> np.ndarray:
    # Private, as this class alone of scikit-learn's trees keeps its gains to itself.
    trees = [tree.nodes for trees in model._predictors for tree in trees]
    nodes = np.concatenate(trees)
    nodes = nodes[nodes["is_leaf"] == 0]
    gains = np.zeros(features)
    np.add.at(gains, nodes["feature_idx"], nodes["gain"])
    gains /= max(gains.sum(), np.finfo(float).tiny)
    return gains


def dci(
    codes: Tensor,
    factors: Tensor,
    test_codes: Tensor,
    test_factors: Tensor,
    fit: Fit = boosted_trees,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Disentanglement, completeness and informativeness, each in [0, 1].

    Args:
        codes: Posterior means to fit to, [N, D].
        factors: Their classes, [N, K] int64.
        test_codes: Posterior means to predict from, [M, D].
        test_factors: Their classes, [M, K] int64.
        fit: Features, labels and seed → `Fitted`.
        seed: Seed of the classifier.

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.

    Source: Eastwood & Williams 2018, section 2; trees as in Locatello et al. 2019, appendix C.

    >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(3)).repeat(20, 1)
    >>> dci(factors.float(), factors, factors.float(), factors, fit=binned_boosted_trees)
    {'disentanglement': tensor(1.), 'completeness': tensor(1.), 'informativeness': tensor(1.)}
    """
    x, test_x, y, test_y = as_arrays(codes, test_codes, factors, test_factors)
    importances, accuracies = [], []
    for column, test_column in zip(y.T, test_y.T, strict=True):
        fitted = fit(x, column, seed)
        importances.append(torch.from_numpy(fitted.importance))
        accuracies.append(np.mean(fitted.predict(test_x) == test_column))
    importance = torch.stack(importances, 1)
    return {
        "disentanglement": disentanglement(importance),
        "completeness": completeness(importance),
        "informativeness": torch.tensor(np.mean(accuracies), dtype=torch.float32),
    }


def disentanglement(importance: Tensor) -> Tensor:
    """Whether each latent is of use for one factor only: importances [D, K] -> scalar.

    >>> disentanglement(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    tensor(0.5000)
    """
    return _sharpness(importance)


def completeness(importance: Tensor) -> Tensor:
    """Whether for each factor one latent only is of use: importances [D, K] -> scalar.

    >>> completeness(torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.0, 0.5]])).round(decimals=4)
    tensor(0.6845)
    """
    return _sharpness(importance.T)


def _sharpness(importance: Tensor) -> Tensor:
    """One minus the entropy of each row, to the base of its length; rows weighted by their sums."""
    rows, all_of_it = importance.double().sum(1), importance.double().sum()
    if importance.shape[1] == 1 or all_of_it == 0:
        return (all_of_it > 0).float()
    shares = importance.double() / torch.where(rows > 0, rows, 1.0).unsqueeze(1)
    entropy = torch.special.entr(shares).sum(1) / np.log(importance.shape[1])
    sharpness: Tensor = (1 - entropy) * rows / all_of_it
    return sharpness.sum().float()


class DCI(CodeMetric):
    """Disentanglement, completeness and informativeness of boosted trees.

    Two thirds of the codes are fitted to, the others predicted from.

    Args:
        fit: Features, labels and seed → `Fitted`: `boosted_trees`, as published, which takes
            minutes for ten thousand codes, or `binned_boosted_trees`, which takes seconds.
        seed: Seed of which codes are which, and of the trees.
        kwargs: What every torchmetrics metric takes.

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.

    Source: Eastwood & Williams 2018, section 2; trees as in Locatello et al. 2019, appendix C.

    >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(3)).repeat(20, 1)
    >>> metric = DCI(fit=binned_boosted_trees)
    >>> metric.update(factors.float(), factors)
    >>> {name: f"{value:.3f}" for name, value in metric.compute().items()}
    {'disentanglement': '1.000', 'completeness': '1.000', 'informativeness': '1.000'}
    """

    def __init__(self, fit: Fit = boosted_trees, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not callable(fit):
            raise ValueError(f"fit must be a function, such as boosted_trees, got {fit!r}.")
        scikit_learn("ensemble", type(self).__name__)
        self.fit, self.seed = fit, seed

    @override
    def score(self, codes: Tensor, factors: Tensor) -> dict[str, Tensor]:
        (codes, test_codes), (factors, test_factors) = split([codes, varying(factors)], self.seed)
        return dci(codes, factors, test_codes, test_factors, self.fit, self.seed)
