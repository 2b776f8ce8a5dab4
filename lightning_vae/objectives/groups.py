"""Several groups of latents: a coefficient for each, and sums over them."""

import functools
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["one_each", "summed", "weighed"]

S = TypeVar("S", float, float | None)


def summed(terms: Sequence[Tensor]) -> Tensor:
    """The sum over groups.

    >>> summed([torch.tensor(1.0), torch.tensor(2.0)])
    tensor(3.)
    """
    return functools.reduce(torch.add, terms)


def one_each(name: str, value: S | tuple[S, ...], groups: int) -> tuple[S, ...]:
    """A coefficient for every group: a scalar repeated, a tuple as it is.

    Raises:
        ValueError: if a tuple does not fit the groups.

    >>> one_each("beta", 4.0, groups=2)
    (4.0, 4.0)
    """
    if not isinstance(value, tuple):
        return (value,) * groups
    if len(value) != groups:
        raise ValueError(f"{name}={value} has {len(value)} values for {groups} groups of latents.")
    return value


def weighed(name: str, value: float | tuple[float, ...], terms: Sequence[Tensor]) -> Tensor:
    """The sum over groups of a term, each times its coefficient.

    Raises:
        ValueError: if a tuple does not fit the groups.

    >>> weighed("beta", (1.0, 4.0), [torch.tensor(1.0), torch.tensor(2.0)])
    tensor(9.)
    """
    each = zip(one_each(name, value, len(terms)), terms, strict=True)
    return summed([coefficient * term for coefficient, term in each])
