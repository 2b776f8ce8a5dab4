"""Batches gathered ahead of time, in worker processes."""

from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

__all__ = ["Ahead"]

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class _Indexable(Protocol[T_co]):
    def __getitem__(self, index: Tensor, /) -> T_co: ...


class _Seeded(Generic[T]):
    """A data set that answers (indices, seed): what it draws by torch is a function of the seed."""

    def __init__(self, dataset: _Indexable[T]) -> None:
        self.dataset = dataset

    def __getitem__(self, batch: tuple[Tensor, int]) -> T:
        index, seed = batch
        torch.manual_seed(seed)  # in the worker, which draws for nobody else
        return self.dataset[index]


class _Plan:
    """A sampler that says which examples each batch has, and its seed."""

    def __init__(self) -> None:
        self.batches: Sequence[tuple[Tensor, int]] = ()

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _as_it_is(batch: T) -> T:
    return batch


class Ahead(Generic[T]):
    """Gathers batches of a data set in worker processes, which stay from one epoch to the next.

    The workers are those of a `torch.utils.data.DataLoader`, which is given whole batches of
    indices to gather; it gives them back in order.

    Args:
        dataset: Answers a vector of indices with a batch.
        workers: How many processes.

    Example:
        >>> ahead = Ahead(torch.arange(5) * 2, workers=1)
        >>> plan = [(torch.tensor([4, 0]), 0), (torch.tensor([1]), 1)]
        >>> [batch.tolist() for batch in ahead(plan)]
        [[8, 0], [2]]
    """

    def __init__(self, dataset: _Indexable[T], workers: int) -> None:
        self.dataset = dataset
        self.workers = workers
        self._idle: DataLoader[T] | None = None

    def __call__(self, batches: Sequence[tuple[Tensor, int]]) -> Iterator[T]:
        """Return the batches of these indices, each gathered with a seed of its own."""
        # A second pass that begins before the first has ended has workers of its own.
        loader, self._idle = self._idle or self._start(), None
        loader.sampler.batches = batches  # type: ignore[attr-defined]
        try:
            yield from loader
        finally:
            self._idle = loader

    def _start(self) -> DataLoader[T]:
        return DataLoader(
            _Seeded(self.dataset),  # type: ignore[arg-type]
            batch_size=None,
            sampler=_Plan(),
            collate_fn=_as_it_is,
            num_workers=self.workers,
            persistent_workers=True,
            # One of its own, so that no epoch moves the global random state.
            generator=torch.Generator(),
        )
