"""A data set in three parts, and the data module that gives whole batches of each."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeAlias, TypeVar

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.data.batches import SPLIT, Batches, Indexable, overfits, stream
from lightning_vae.objectives.ranks import ranks

__all__ = ["Part", "Sizes", "SplitData"]

Part: TypeAlias = Literal["train", "val", "test"]
T = TypeVar("T")

# The parts that each of Lightning's stages needs, and has to have.
NEEDED: dict[str, tuple[Part, ...]] = {
    "fit": ("train",),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("test",),
}


@dataclass(frozen=True)
class Sizes:
    """How many examples each part has, chosen without replacement by a seed.

    Each is a count, or a share of all where it is below 1.

    Args:
        train: Examples to train on; None for all that are left.
        val: Examples to validate on; 0 for none.
        test: Examples to test on; 0 for none.

    Raises:
        ValueError: If one is neither a count nor a share; in use, if they are more than there are.

    Example:
        >>> sizes = Sizes(val=0.25, test=2)
        >>> [len(sizes.rows(part, 20, seed=0)) for part in ("train", "val", "test")]
        [13, 5, 2]
    """

    train: float | None = None
    val: float = 0
    test: float = 0

    def __post_init__(self) -> None:
        for name, size in (("train", self.train), ("val", self.val), ("test", self.test)):
            if size is not None and not _is_size(size, at_least=int(name == "train")):
                raise ValueError(
                    f"{name}_size must be a count, an integer of at least {int(name == 'train')}, "
                    f"or a share of all, a float between 0 and 1, got {size!r}."
                )

    def counts(self, count: int) -> dict[Part, int]:
        """Return how many of `count` examples each part has."""
        val, test = _of(count, self.val), _of(count, self.test)
        left = count - val - test
        train = left if self.train is None else _of(count, self.train)
        if left < max(train, 1) or train < 1:
            raise ValueError(
                f"train_size={self.train}, val_size={self.val} and test_size={self.test} are more "
                f"than the {count} examples there are, or leave none to train on: pass smaller "
                "sizes."
            )
        return {"train": train, "val": val, "test": test}

    def rows(self, part: Part, count: int, seed: int) -> Tensor:
        """Return which of `count` examples a part has, [n] int64, in the order of the seed."""
        counts = self.counts(count)
        # Training comes last, so that its size does not change what is held out.
        start = {"val": 0, "test": counts["val"], "train": counts["val"] + counts["test"]}[part]
        order: np.ndarray = stream(seed, SPLIT).permutation(count)
        return torch.from_numpy(order[start : start + counts[part]].copy())


def _is_size(size: float, at_least: int) -> bool:
    if isinstance(size, bool) or not isinstance(size, int | float):
        return False
    # Whole floats too: a command line makes them of what it reads for `int | float`.
    return 0 < size < 1 or (size >= at_least and size % 1 == 0)


def _of(count: int, size: float) -> int:
    return round(count * size) if 0 < size < 1 else int(size)


class SplitData(LightningDataModule, ABC, Generic[T]):
    """A data set in three parts, each read when it is first asked for, and then kept.

    A subclass says what the parts are, in `part`. Training is shuffled anew each epoch and shared
    out to all ranks equally; validation, test and prediction are in order, and shared out so that
    each example is seen exactly once.

    Args:
        batch_size: Examples a batch and rank.
        drop_last: Whether training leaves out a last batch that is shorter.
        seed: Seed of the order, and of whatever else a subclass draws.
        workers: Processes that gather batches ahead of time; 0 gathers when asked.

    Raises:
        ValueError: If an argument is out of its range; in `setup`, if a part that the stage needs
            is not given; before the first batch, if validation or test has fewer examples than
            there are ranks.
    """

    argument: ClassVar = "{}_size"  # what says how to give a part

    def __init__(
        self, batch_size: int, drop_last: bool = False, seed: int = 0, workers: int = 0
    ) -> None:
        super().__init__()
        whole("batch_size", batch_size, 1)
        whole("seed", seed, 0)
        whole("workers", workers, 0)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.seed = seed
        self.workers = workers
        # What is drawn anew for each batch of training, as `Batches` takes it.
        self.noise: Callable[[T, np.random.Generator], T] | None = None
        self._parts: dict[Part, Indexable[T] | None] = {}

    @abstractmethod
    def part(self, name: Part) -> Indexable[T] | None:
        """Return what to train, validate or test on, or None where nothing is given for it."""

    def lengths(self, name: Part) -> np.ndarray | None:
        """Return the length of each example, for batches of similar lengths, or None."""
        return None

    @override
    def setup(self, stage: str) -> None:
        for name in NEEDED[stage]:
            self._given(name)
        if stage == "fit":
            self._of("val")

    @override
    def train_dataloader(self) -> Batches[T]:
        return Batches(
            self._given("train"),
            self.batch_size,
            shuffle=not overfits(self),
            drop_last=self.drop_last,
            pad=True,
            seed=self.seed,
            noise=self.noise,
            workers=self.workers,
            lengths=self.lengths("train"),
        )

    @override
    def val_dataloader(self) -> Batches[T] | list[Batches[T]]:
        # An empty list is how Lightning is told that there is nothing to validate on.
        return [] if self._of("val") is None else self._for_all_ranks("val")

    @override
    def test_dataloader(self) -> Batches[T]:
        return self._for_all_ranks("test")

    @override
    def predict_dataloader(self) -> Batches[T]:
        return self._in_order("test")

    def _for_all_ranks(self, name: Part) -> Batches[T]:
        """What is evaluated together: a rank without a batch would keep the others waiting."""
        if (examples := len(self._given(name))) < ranks():
            raise ValueError(
                f"{name} must have an example for every rank, got {examples} for {ranks()} ranks: "
                f"give at least {ranks()}, or take fewer devices."
            )
        return self._in_order(name)

    def _in_order(self, name: Part) -> Batches[T]:
        return Batches(
            self._given(name), self.batch_size, workers=self.workers, lengths=self.lengths(name)
        )

    def _given(self, name: Part) -> Indexable[T]:
        if (given := self._of(name)) is None:
            argument = self.argument.format(name)
            raise ValueError(
                f"{name} is not given: pass {type(self).__name__}(..., {argument}=...)."
            )
        return given

    def _of(self, name: Part) -> Indexable[T] | None:
        if name not in self._parts:
            self._parts[name] = self.part(name)
        return self._parts[name]
