"""Fresh examples for votes: classes drawn as the published scores draw them, each encoded once.

A vote is of examples that agree in one factor and are random in all others. All votes are drawn
before any is rendered, so that what they ask for is encoded in large batches; and as the codes are
a function of the classes, a combination that comes up again is not encoded again.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["Codebook", "Encode", "fresh_classes", "fresh_groups", "fresh_pairs"]

Encode: TypeAlias = Callable[[Tensor], Tensor]  # classes [n, K] -> codes [n, D]


def fresh_classes(sizes: Sequence[int], shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Classes of independent factors, each as likely: [*shape, K] int64.

    >>> fresh_classes((3, 6, 40), (5, 2), torch.Generator()).shape
    torch.Size([5, 2, 3])
    """
    columns = [torch.randint(size, tuple(shape), generator=generator) for size in sizes]
    return torch.stack(columns, -1)


def fresh_groups(
    sizes: Sequence[int], n: int, group: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """n groups that agree in one factor and are random in all others.

    Returns:
        The factor [n], and the classes [n, group, K] int64.

    Source: Kim & Mnih 2018, section 4.

    >>> factor, classes = fresh_groups((3, 6), 2, 8, torch.Generator().manual_seed(0))
    >>> [len(classes[n, :, k].unique()) for n, k in enumerate(factor)]
    [1, 1]
    """
    factor, rows = _factors(sizes, n, generator), torch.arange(n)
    classes = fresh_classes(sizes, (n, group), generator)
    classes[rows, :, factor] = classes[rows, :1, factor]
    return factor, classes


def fresh_pairs(
    sizes: Sequence[int], n: int, group: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """n times so many pairs that agree in one factor, each in a class of its own.

    Returns:
        The factor [n], and the classes of both, each [n, group, K] int64.

    Source: Higgins et al. 2017, section 3.

    >>> factor, first, second = fresh_pairs((3, 6), 2, 8, torch.Generator().manual_seed(0))
    >>> [bool((first == second)[n, :, k].all()) for n, k in enumerate(factor)]
    [True, True]
    """
    factor, rows = _factors(sizes, n, generator), torch.arange(n)
    first, second = (fresh_classes(sizes, (n, group), generator) for _ in range(2))
    second[rows, :, factor] = first[rows, :, factor]
    return factor, first, second


def _factors(sizes: Sequence[int], n: int, generator: torch.Generator) -> Tensor:
    """Factors that have more than one class."""
    return varying_sizes(sizes)[torch.randint(len(varying_sizes(sizes)), (n,), generator=generator)]


def varying_sizes(sizes: Sequence[int]) -> Tensor:
    """Which factors have more than one class, [K'] int64.

    Raises:
        ValueError: if none has.
    """
    found = (torch.tensor(sizes) > 1).nonzero().squeeze(1)
    if not len(found):
        raise ValueError(
            f"factors are all constant, of sizes {tuple(sizes)}: give one that varies."
        )
    return found


class Codebook:
    """The codes of classes, every combination encoded once, those of one call together.

    Args:
        encode: Classes [n, K] → codes [n, D].
        sizes: How many classes each factor has.

    >>> codes = Codebook(lambda classes: classes.float(), (3, 6))
    >>> codes(torch.tensor([[2, 5], [0, 1], [2, 5]]))
    tensor([[2., 5.],
            [0., 1.],
            [2., 5.]])
    """

    def __init__(self, encode: Encode, sizes: Sequence[int]) -> None:
        self.encode, self.sizes = encode, tuple(sizes)
        self._steps = torch.tensor([*sizes[1:], 1]).flip(0).cumprod(0).flip(0)
        self._known = torch.empty(0, dtype=torch.int64)  # sorted
        self._codes = torch.empty(0)

    def __call__(self, classes: Tensor) -> Tensor:
        asked, place = (classes * self._steps).sum(1).unique(return_inverse=True)
        self._learn(asked[~torch.isin(asked, self._known)])
        return self._codes[torch.searchsorted(self._known, asked)[place]]

    def _learn(self, new: Tensor) -> None:
        if not len(new):
            return
        codes = self.encode(torch.stack(torch.unravel_index(new, self.sizes), 1))
        self._known, order = torch.cat([self._known, new]).sort()
        self._codes = (torch.cat([self._codes, codes]) if len(self._codes) else codes)[order]
