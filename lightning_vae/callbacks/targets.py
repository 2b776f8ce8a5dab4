"""A target: a dotted path to a number on a module, found, read and moved."""

from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import nn

from lightning_vae.objectives import Objective

__all__ = ["Target", "find"]


@dataclass(frozen=True)
class Target:
    """Where a number lives: an attribute or key of its owner, or one place of a tuple there."""

    path: str
    owner: Any
    name: str
    place: int | None = None

    def get(self) -> Any:
        value = _child(self.owner, self.name)
        return value if self.place is None else value[self.place]

    def set(self, value: float | None) -> None:
        if self.place is None:
            _assign(self.owner, self.name, value)
        else:
            values = list(_child(self.owner, self.name))
            values[self.place] = value
            _assign(self.owner, self.name, tuple(values))

    def overlaps(self, other: "Target") -> bool:
        """Whether moving one moves the other."""
        whole = self.place is None or other.place is None
        same = self.owner is other.owner and self.name == other.name
        return same and (whole or self.place == other.place)


def find(module: nn.Module, path: str) -> Target:
    """Find the number at a dotted path: attributes, keys, and places in lists and tuples.

    Raises:
        ValueError: if there is nothing there (the nearest names are offered), or what is there is
            not a number that can be assigned.

    >>> from lightning_vae import VAEModule
    >>> find(VAEModule(), "objective.beta").get()
    1.0
    """
    try:
        target = _locate(module, path)
        value = target.get()
    except (AttributeError, LookupError, ValueError):
        raise ValueError(
            f"target {path!r} does not exist on {type(module).__name__}; {_nearest(module, path)}."
        ) from None
    if isinstance(value, tuple):
        raise ValueError(f"target {path!r} is {value}, one a group; write {path + '.0'!r} for one.")
    if value is not None and type(value) not in (int, float):
        raise ValueError(
            f"target {path!r} is a {type(value).__name__}, but only a plain number can be moved; "
            f"make it one, such as `self.{path.rpartition('.')[2]} = 1.0`."
        )
    return target


def _locate(module: nn.Module, path: str) -> Target:
    *parents, name = path.split(".")
    owners: list[Any] = [module]
    for parent in parents:
        owners.append(_child(owners[-1], parent))
    if isinstance(owners[-1], tuple):
        return Target(path, owners[-2], parents[-1], int(name))
    return Target(path, owners[-1], name)


def _child(owner: Any, name: str) -> Any:
    if isinstance(owner, Mapping):
        return owner[name]
    if isinstance(owner, MutableSequence | tuple):
        return owner[int(name)]
    return getattr(owner, name)


def _assign(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, MutableMapping):
        owner[name] = value
    elif isinstance(owner, MutableSequence):
        owner[int(name)] = value
    else:
        setattr(owner, name, value)


def _nearest(module: nn.Module, path: str) -> str:
    known = {known.rpartition(".")[2]: known for known in _numbers(module)}
    names = get_close_matches(path.rpartition(".")[2], known, n=3, cutoff=0.5) or list(known)[:5]
    if not names:
        return "it has no numbers to move"
    return "did you mean " + " or ".join(repr(known[name]) for name in names)


def _numbers(module: nn.Module) -> Iterator[str]:
    """The paths of all plain numbers on a module and below, the deepest first."""
    for prefix, child in reversed(list(module.named_modules())):
        names = [n for n, value in vars(child).items() if type(value) in (int, float)]
        names += child.coefficients if isinstance(child, Objective) else []
        for name in names:
            if not name.startswith("_"):
                yield f"{prefix}.{name}" if prefix else name
