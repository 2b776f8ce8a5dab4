"""Codes and the factors behind them: what the disentanglement metrics are given and keep."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from typing_extensions import override

__all__ = ["CodeMetric", "split", "varying"]


class CodeMetric(Metric, ABC):
    """A score of codes [N, D] against the classes [N, K] of the factors behind them.

    It keeps the codes, as float32, until ``compute``; over processes they are put together, so the
    score is that of all. Metrics of this kind can share one encoding pass.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    codes: list[Tensor]
    factors: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("codes", [], dist_reduce_fx="cat")
        self.add_state("factors", [], dist_reduce_fx="cat")

    @override
    def update(self, codes: Tensor, factors: Tensor) -> None:
        """Add codes [B, D], posterior means as a rule, and the classes [B, K] int64 behind them.

        Raises:
            ValueError: if they have other shapes or types, or a class is negative.
        """
        refuse_others(codes, factors)
        self.codes.append(codes.detach().float())
        self.factors.append(factors)

    @override
    def compute(self) -> Any:
        """The score of all codes so far.

        Raises:
            ValueError: if there are none, or one is not finite.
        """
        codes, factors = dim_zero_cat(self.codes), dim_zero_cat(self.factors)
        refuse_unfinished(codes)
        return self.score(codes, factors)

    @abstractmethod
    def score(self, codes: Tensor, factors: Tensor) -> Any:
        """The score of codes [N, D] and classes [N, K]: a scalar, or a dict of them."""

    @override
    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw the score, or several of them as a curve."""
        return self._plot(val, ax)


def refuse_others(codes: Tensor, factors: Tensor) -> None:
    """Refuse what is not codes [B, D] and classes [B, K]."""
    if codes.dim() != 2 or not codes.is_floating_point():
        raise ValueError(
            f"codes must be [B, D] of floats, got {list(codes.shape)} {codes.dtype}; flatten(1) "
            f"latents of more dimensions."
        )
    if factors.dim() != 2 or factors.dtype != torch.int64 or len(factors) != len(codes):
        raise ValueError(
            f"factors must be [{len(codes)}, K] int64 classes, one row a code, got "
            f"{list(factors.shape)} {factors.dtype}."
        )
    if factors.numel() and factors.min() < 0:
        raise ValueError(f"factors must be classes from 0 on, got {factors.min()}.")


def refuse_unfinished(codes: Tensor) -> None:
    if not codes.isfinite().all():
        raise ValueError("codes has entries that are nan or inf: the encoder has diverged.")


def varying(factors: Tensor) -> Tensor:
    """The columns that have more than one class; a factor that is constant tells nothing.

    Raises:
        ValueError: if there is none.

    >>> varying(torch.tensor([[0, 7], [1, 7]]))
    tensor([[0],
            [1]])
    """
    found = (factors != factors[:1]).any(0)
    if not found.any():
        raise ValueError("factors are all constant: give examples that differ in some factor.")
    return factors[:, found]


def split(values: Sequence[Tensor], seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Each of the values in two parts, for training and testing: the same random 2 : 1.

    >>> (train, test), = split([torch.arange(6)])
    >>> len(train), len(test)
    (4, 2)
    """
    order = torch.randperm(len(values[0]), generator=torch.Generator().manual_seed(seed))
    train, test = order.tensor_split([len(order) - len(order) // 3])
    return [(v[train.to(v.device)], v[test.to(v.device)]) for v in values]
