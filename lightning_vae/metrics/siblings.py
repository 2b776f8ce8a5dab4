"""Siblings: examples that share the class of one factor, drawn by the million from few codes.

The scores of β-VAE and FactorVAE ask for groups of fresh images which agree in one factor. Groups
drawn from one pool of encoded images have the same distribution but for the pool's own noise, and
need no second encoding pass.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Siblings"]


class Siblings(NamedTuple):
    """Who shares a class with whom: for each factor, the rows in the order of their classes.

    >>> shares = Siblings.among(torch.tensor([[0], [1], [0], [1], [2]]))
    >>> factor, rows = shares.groups(3, 4, torch.Generator().manual_seed(0))
    >>> rows % 2 == rows[:, :1] % 2  # class 2 has one row only, which is left out
    tensor([[True, True, True, True],
            [True, True, True, True],
            [True, True, True, True]])
    """

    order: Tensor  # [K, N], rows by class
    start: Tensor  # [K, N], where in that order a row's class begins
    size: Tensor  # [K, N], how many rows the class has
    place: Tensor  # [K, N], where in the class a row is
    shared: Tensor  # [K, N], rows by class, those of a class of one last
    usable: Tensor  # [K], how many rows share their class

    @staticmethod
    def among(factors: Tensor) -> "Siblings":
        """Find them among classes [N, K] int64.

        Raises:
            ValueError: if no two rows share a class of some factor.
        """
        classes = factors.T.contiguous()
        order = classes.argsort(dim=1, stable=True)
        place = order.argsort(dim=1)
        ordered = classes.gather(1, order)
        start = torch.searchsorted(ordered, classes)
        size = torch.searchsorted(ordered, classes, right=True) - start
        alone = size == 1
        usable = (~alone).sum(1)
        if (usable == 0).any():
            k = int((usable == 0).nonzero()[0])
            raise ValueError(
                f"factor {k} has no class that two of the {len(factors)} examples share: give more."
            )
        shared = alone.to(torch.uint8).argsort(dim=1, stable=True)
        return Siblings(order, start, size, place - start, shared, usable)

    def groups(self, n: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n groups of rows that share a class, with replacement: factor [n], rows [n, size].

        Factor and class are drawn as they come: the class with the frequency of its rows.
        """
        factor = self._factors(n, generator)
        row = self._rows(factor, 1, generator)
        place = self._whole(self._of(self.size, factor, row).expand(-1, size), generator)
        return factor, self._of(self.order, factor, self._of(self.start, factor, row) + place)

    def pairs(self, n: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw n times `size` pairs of different rows: factor [n], and two of rows [n, size].

        The pairs of one draw share its factor, each pair a class of its own.
        """
        factor = self._factors(n, generator)
        row = self._rows(factor, size, generator)
        members = self._of(self.size, factor, row)
        further = 1 + self._whole(members - 1, generator)
        place = (self._of(self.place, factor, row) + further) % members
        return factor, row, self._of(self.order, factor, self._of(self.start, factor, row) + place)

    def _factors(self, n: int, generator: torch.Generator) -> Tensor:
        drawn = torch.randint(len(self.order), (n,), generator=generator)
        return drawn.to(self.order.device)

    def _rows(self, factor: Tensor, size: int, generator: torch.Generator) -> Tensor:
        usable = self.usable[factor].unsqueeze(1).expand(-1, size)
        return self._of(self.shared, factor, self._whole(usable, generator))

    @staticmethod
    def _of(table: Tensor, factor: Tensor, place: Tensor) -> Tensor:
        return table.flatten()[factor.unsqueeze(1) * table.shape[1] + place]

    @staticmethod
    def _whole(below: Tensor, generator: torch.Generator) -> Tensor:
        """Whole numbers from 0, below what is given."""
        uniform = torch.rand(below.shape, dtype=torch.float64, generator=generator)
        return (uniform.to(below.device) * below).long()


def shares(n: int, group: int, width: int) -> Iterator[int]:
    """n groups, in portions of at most four million numbers.

    >>> list(shares(5, group=2**10, width=2**11))
    [2, 2, 1]
    """
    portion = max(1, 2**22 // (group * width))
    while n > 0:
        yield min(n, portion)
        n -= portion
