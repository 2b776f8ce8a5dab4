"""Whole batches of a data set in memory, in an order that is a function of (seed, epoch).

A `torch.utils.data.DataLoader` asks for one example at a time; where the data is in memory that
costs several times the copy itself. `Batches` asks for all examples of a batch in one call,
`dataset[index]` with a vector of indices, and otherwise does what Lightning expects of a loader:
a new order each epoch, a share for every rank, and a position that is saved with the checkpoint.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Generic, Protocol, TypeAlias, TypeVar, cast

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch import distributed as dist

from lightning_vae.arguments import whole
from lightning_vae.data.ahead import Ahead

__all__ = [
    "Batch",
    "Batches",
    "Indexable",
    "Stored",
    "bucketed",
    "order",
    "shard",
    "sizes",
    "stream",
]

Batch: TypeAlias = Tensor | tuple[Tensor, ...]
B = TypeVar("B", bound=Batch)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# What a stream of random numbers is for: the first element of its key.
ORDER, NOISE, FIXED, SPLIT, AHEAD, BLOCKS = range(6)


class Indexable(Protocol[T_co]):
    """A data set that answers a vector of indices, [B] int64, with one batch."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor, /) -> T_co: ...


def stream(seed: int, *key: int) -> np.random.Generator:
    """Return a stream of random numbers of its own for each (seed, key).

    Example:
        >>> float(stream(0, 1, 2).random()) == float(stream(0, 1, 2).random())
        True
    """
    # Through spawn_key: as plain entropy, [0, 1] and [0, 1, 0] would be one and the same stream.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def order(size: int, seed: int, epoch: int) -> np.ndarray:
    """Return the permutation of `range(size)` that belongs to (seed, epoch), [size] int64."""
    return stream(seed, ORDER, epoch).permutation(size)


def shard(order: np.ndarray, rank: int, world: int, pad: bool = False) -> np.ndarray:
    """Return every `world`-th index, from `rank` on.

    The shards of all ranks are a partition. With `pad`, indices from the start are used again (at
    most world - 1 of them), so that all shards have ceil(size / world) indices.

    Example:
        >>> [shard(np.arange(5), rank, 2).tolist() for rank in range(2)]
        [[0, 2, 4], [1, 3]]
        >>> shard(np.arange(5), 1, 2, pad=True).tolist()
        [1, 3, 0]
    """
    if pad:
        order = np.resize(order, -(-len(order) // world) * world)
    return np.ascontiguousarray(order[rank::world])


def bucketed(
    order: np.ndarray,
    lengths: np.ndarray,
    block: int,
    generator: np.random.Generator | None = None,
) -> np.ndarray:
    """Return an order in which blocks of `block` examples are of similar lengths.

    Examples are sorted by length, those of one length in the order given. With a generator the
    blocks are shuffled, and what does not fill one, the first of the order given, comes last.

    Example:
        >>> bucketed(np.arange(6), np.array([5, 1, 4, 1, 5, 3]), block=2).tolist()
        [1, 3, 5, 2, 0, 4]
    """
    rest = len(order) % block if generator is not None else 0
    first, others = (
        part[np.argsort(lengths[part], kind="stable")] for part in (order[:rest], order[rest:])
    )
    if generator is None:
        return others
    blocks = generator.permutation(others.reshape(-1, block))
    return np.concatenate([blocks.reshape(-1), first])


def sizes(
    size: int, rank: int, world: int, batch_size: int, pad: bool, drop_last: bool
) -> list[int]:
    """Return the sizes of the batches that one rank cuts its shard into.

    All ranks get equally many batches, of `batch_size` examples but for the last, so that a
    collective operation in a step never waits for a rank that is done. Where one more example on
    other ranks makes one more batch there, this rank splits its last batch in two. That is
    impossible, and a rank has one batch less, only without `pad` for `batch_size` = 1 or fewer
    examples than ranks.

    Example:
        >>> [sizes(9, rank, 2, batch_size=4, pad=False, drop_last=False) for rank in range(2)]
        [[4, 1], [3, 1]]
    """
    longest = -(-size // world)
    own = longest if pad else len(range(rank, size, world))
    shortest = longest if pad else size // world
    batches = shortest // batch_size if drop_last else -(-longest // batch_size)
    batches = min(batches, own)
    cuts = [min(k * batch_size, own - batches + k) for k in range(batches + 1)]
    return [stop - start for start, stop in pairwise(cuts)]


def overfits(data: LightningDataModule) -> bool:
    """Whether its trainer is told to `overfit_batches`, for which the order must stay."""
    return bool(getattr(data.trainer, "overfit_batches", 0))


def _place() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class Batches(Generic[T]):
    """A loader that gathers whole batches: iterate over it, or give it to a Trainer.

    Each pass takes the next epoch's order unless `set_epoch` (which Lightning calls) says another.
    The order is a pure function of (seed, epoch), and `state_dict` is (epoch, batch), so a run that
    is resumed, in mid-epoch too, sees the batches the uninterrupted run would have seen. (But for
    one case in which Lightning miscounts its epochs: `max_steps`, resumed from a checkpoint that
    was saved at the end of a training epoch. The order is then that of the epoch after.)

    Under torch.distributed each rank iterates over its own shard, also with
    `Trainer(use_distributed_sampler=False)`. Without `pad` the shards are a
    partition, and validation sees each example exactly once; with `pad`, for training, all ranks
    get batches of equal sizes, and at most world - 1 examples are seen twice.

    It is no `torch.utils.data.DataLoader`: Lightning replaces neither its sampler nor its order, so
    for `Trainer(overfit_batches=...)` pass `shuffle=False` (the data modules here do).

    Args:
        dataset: Answers a vector of indices with a batch, e.g. `Stored` or a `TensorDataset`.
        batch_size: Examples a batch and rank; the last batch may be shorter.
        shuffle: Whether each epoch has its own order, rather than that of the data set.
        drop_last: Whether to leave out a last batch that is shorter.
        pad: Whether to make the shards of all ranks equally long.
        seed: Seed of the order and of the noise.
        noise: What is drawn anew for each batch, noise(batch, generator) -> batch; the generator is
            a function of (seed, epoch, rank, number of the batch).
        workers: Processes that gather batches ahead of time, where that is work, such as decoding
            images; 0 gathers when asked. The order, the noise and the position do not depend on it;
            what the data set itself draws by torch, in a worker, is a function of (seed, epoch,
            rank, number of the batch), as the noise is.
        lengths: The length of each example, [N], for batches of similar lengths (of all ranks
            alike, at one time), sorted by length without `shuffle`.

    Raises:
        ValueError: If batch_size < 1, seed < 0, workers < 0, the data set is empty, or `drop_last` leaves
            nothing.

    Example:
        >>> loader = Batches(Stored(torch.arange(5)), batch_size=2)
        >>> [batch.tolist() for batch in loader]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Indexable[T],
        batch_size: int = 128,
        shuffle: bool = False,
        drop_last: bool = False,
        pad: bool = False,
        seed: int = 0,
        noise: Callable[[T, np.random.Generator], T] | None = None,
        workers: int = 0,
        lengths: np.ndarray | None = None,
    ) -> None:
        whole("batch_size", batch_size, 1)
        whole("seed", seed, 0)
        whole("workers", workers, 0)
        if not len(dataset):
            raise ValueError("dataset is empty: pass at least one example.")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.pad = pad
        self.seed = seed
        self.noise = noise
        self._ahead = Ahead(dataset, workers) if workers else None
        self.lengths = lengths
        self._next = self._done = (0, 0)  # (epoch, batch)
        if drop_last and not len(self):
            raise ValueError(
                f"drop_last leaves no batch of batch_size={batch_size} from {len(dataset)} "
                "examples: pass a smaller batch_size or drop_last=False."
            )

    def _sizes(self, rank: int, world: int) -> list[int]:
        return sizes(len(self.dataset), rank, world, self.batch_size, self.pad, self.drop_last)

    def _indices(self, epoch: int, rank: int, world: int) -> Sequence[Tensor]:
        size = len(self.dataset)
        indices = order(size, self.seed, epoch) if self.shuffle else np.arange(size)
        if self.lengths is not None:
            generator = stream(self.seed, BLOCKS, epoch) if self.shuffle else None
            indices = bucketed(indices, self.lengths, self.batch_size * world, generator)
        own = torch.from_numpy(shard(indices, rank, world, self.pad))
        batches = self._sizes(rank, world)
        return torch.split(own[: sum(batches)], batches)

    def _gathered(self, indices: Sequence[Tensor], first: int, *key: int) -> Iterator[T]:
        if self._ahead is None:
            return (self.dataset[index] for index in indices[first:])
        seeds = stream(self.seed, AHEAD, *key).integers(2**63, size=len(indices)).tolist()
        return self._ahead(list(zip(indices, seeds, strict=True))[first:])

    def _noisy(self, batch: T, *key: int) -> T:
        return batch if self.noise is None else self.noise(batch, stream(self.seed, NOISE, *key))

    def __len__(self) -> int:
        return len(self._sizes(*_place()))

    def __iter__(self) -> Iterator[T]:
        # A generator, so nothing is read before the first batch: Lightning creates the iterator
        # first and announces the epoch afterwards.
        epoch, first = self._next
        self._next = (epoch + 1, 0)
        rank, world = _place()
        indices = self._indices(epoch, rank, world)
        for k, batch in enumerate(self._gathered(indices, first, epoch, rank), first):
            self._done = (epoch, k + 1)
            yield self._noisy(batch, epoch, rank, k)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next pass is; a loaded position in that epoch is kept."""
        if epoch != self._next[0]:
            self._next = (epoch, 0)

    @property
    def batch_sampler(self) -> SimpleNamespace:
        """Where Lightning looks for `set_epoch`: `loader.batch_sampler.sampler`.

        Not `loader.sampler`, which it expects to be replaceable.
        """
        return SimpleNamespace(sampler=self)

    def state_dict(self) -> dict[str, int]:
        """Return the position: the epoch, and how many of its batches were given out."""
        epoch, batch = self._done
        return {"epoch": epoch, "batch": batch}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on at a position that `state_dict` returned."""
        self._next = self._done = (state_dict["epoch"], state_dict["batch"])


class Stored(Generic[B]):
    """Arrays in memory, each [N, *]; `stored[index]` copies out the batch.

    uint8 comes out as float32 in [0, 1] (x / 255), bool as float32 0 or 1, anything else as it is.

    Args:
        arrays: One tensor, for batches that are a tensor, or a tuple, for batches that are a tuple.

    Example:
        >>> images = Stored(torch.tensor([[0, 255], [51, 0]], dtype=torch.uint8))
        >>> images[torch.tensor([1])]
        tensor([[0.2000, 0.0000]])
    """

    def __init__(self, arrays: B) -> None:
        self.arrays = arrays
        self._columns = [_Column(a) for a in (arrays if isinstance(arrays, tuple) else (arrays,))]
        lengths = [len(column.rows) for column in self._columns]
        if len(set(lengths)) != 1:
            raise ValueError(f"arrays must have equally many examples each, got {lengths}.")

    def __len__(self) -> int:
        return len(self._columns[0].rows)

    def __getitem__(self, index: Tensor) -> B:
        batch = [column.gather(index) for column in self._columns]
        return cast(B, tuple(batch) if isinstance(self.arrays, tuple) else batch[0])


class _Column:
    def __init__(self, array: Tensor) -> None:
        # index_select copies flat rows twice as fast as rows with a shape.
        self.rows = array.contiguous().view(len(array), math.prod(array.shape[1:]))
        self.shape = (-1, *array.shape[1:])

    def gather(self, index: Tensor) -> Tensor:
        return _as_float(self.rows.index_select(0, index.to(self.rows.device))).view(self.shape)


def _as_float(batch: Tensor) -> Tensor:
    if batch.dtype == torch.uint8:
        # Two passes, since one that converts and scales at once is not vectorised; and a product,
        # since a division costs half as much again. 255 still becomes exactly 1.
        return batch.float().mul_(1 / 255)
    return batch.float() if batch.dtype == torch.bool else batch
