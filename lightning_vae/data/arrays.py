"""Arrays: a data set of the user's own tensors or numpy arrays."""

from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from lightning_vae.data.batches import Batch, Stored
from lightning_vae.data.split import Part, SplitData

__all__ = ["Arrays", "as_batch", "as_tensor"]

Array: TypeAlias = Tensor | np.ndarray | str | Path
Given: TypeAlias = Array | tuple[Array, ...]


def as_batch(name: str, given: Given) -> Batch:
    """Return what a user gave as tensors that `Stored` can keep, [N, *] each with the same N.

    Raises:
        ValueError: If the data cannot be used; names the argument and says what to write.
    """
    if not isinstance(given, tuple):
        return as_tensor(name, given)
    if not given:
        raise ValueError(f"{name} is an empty tuple: pass an array, or a tuple of arrays.")
    tensors = tuple(as_tensor(f"{name}[{k}]", array) for k, array in enumerate(given))
    lengths = [len(tensor) for tensor in tensors]
    if len(set(lengths)) > 1:
        raise ValueError(f"{name} has arrays of {lengths} examples: pass equally many of each.")
    return tensors


def as_tensor(name: str, given: Array) -> Tensor:
    """Return an array as a tensor of one of the types that `Stored` keeps.

    uint8 (images), bool and float32 stay; other floats become float32, other integers int64. A
    vector of uint8 becomes int64 too: it holds labels.

    Raises:
        ValueError: If the data cannot be used; names the argument and says what to write.
    """
    array = _load(name, given) if isinstance(given, str | Path) else given
    tensor = _of_numpy(name, array) if isinstance(array, np.ndarray) else array
    if not isinstance(tensor, Tensor) or tensor.is_complex() or tensor.layout != torch.strided:
        raise ValueError(
            f"{name} must be a dense tensor or numpy array of numbers, the path of a .npy file, or "
            f"a tuple of these, got {_describe(given)}."
        )
    if not tensor.ndim or not tensor.numel():
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}: pass [N, *] with N > 0.")
    return _checked(name, tensor.detach())


def _load(name: str, path: str | Path) -> object:
    if Path(path).suffix != ".npy":
        raise ValueError(f"{name}={str(path)!r} must be a .npy file: write one with numpy.save.")
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{name}={str(path)!r} cannot be read ({error}): write an array of numbers with "
            "numpy.save."
        ) from error


def _of_numpy(name: str, array: np.ndarray) -> Tensor | None:
    kinds = {"b": np.bool_, "u": np.int64, "i": np.int64, "f": np.float32}
    if array.dtype.kind not in kinds:
        return None
    dtype = np.uint8 if array.dtype == np.uint8 else kinds[array.dtype.kind]
    # torch takes neither read-only memory nor negative strides.
    return torch.from_numpy(np.require(array, dtype, ["C", "W"]))


def _checked(name: str, tensor: Tensor) -> Tensor:
    if tensor.is_floating_point():
        tensor = tensor.float()
        if not tensor.isfinite().all():
            raise ValueError(f"{name} has entries that are nan or inf: replace or drop them.")
        return tensor
    if tensor.dtype == torch.uint8 and tensor.ndim > 1:
        if tensor.max() == 1:
            raise ValueError(
                f"{name} is uint8, which is scaled by 1 / 255, but its largest value is 1: pass 0/1 "
                "data as bool, or class indices as int64."
            )
        return tensor
    return tensor if tensor.dtype == torch.bool else tensor.long()


def _describe(given: object) -> str:
    dtype = getattr(given, "dtype", None)
    return type(given).__name__ + (f" of {dtype}" if dtype is not None else f" {given!r:.60}")


class Arrays(SplitData[Batch]):
    """The user's own arrays, in batches x, or (x, y, ...) where a tuple of arrays is given.

    uint8 arrays of two or more dimensions are images and come out as float32 in [0, 1] (x / 255);
    bool comes out as float32 0 or 1, floats as float32, and other integers, uint8 vectors among
    them, as int64 class indices.

    Args:
        train: What to train on: a tensor or numpy array [N, *], the path of a `.npy` file, or a
            tuple of these with the same N.
        val: What to validate on, if anything.
        test: What to test and predict on, if anything.
        batch_size: Examples a batch and rank.
        drop_last: Whether training leaves out a last batch that is shorter.
        seed: Seed of the order.

    Raises:
        ValueError: In `setup`, if an array is empty, of other numbers, not finite, or of another
            length than those beside it, or if what is to be validated or tested on is not given.

    Example:
        >>> data = Arrays(train=(np.zeros((5, 3)), np.arange(5)), batch_size=2)
        >>> [x.shape for x, y in data.train_dataloader()]
        [torch.Size([2, 3]), torch.Size([2, 3]), torch.Size([1, 3])]
    """

    argument = "{}"

    def __init__(
        self,
        train: Given,
        val: Given | None = None,
        test: Given | None = None,
        batch_size: int = 128,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, drop_last, seed)
        self.given = {"train": train, "val": val, "test": test}

    @override
    def part(self, name: Part) -> Stored[Batch] | None:
        given = self.given[name]
        return None if given is None else Stored(as_batch(name, given))
