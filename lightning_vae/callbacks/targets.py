"""A target: a dotted path to a number on a module, found, read and moved."""

from collections.abc import Mapping, MutableMapping, MutableSequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from lightning_vae.callbacks.nearest import nearest
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
            held = _child(self.owner, self.name)
            values = [*held[: self.place], value, *held[self.place + 1 :]]
            make = getattr(held, "_make", type(held))  # a NamedTuple takes its fields one by one
            _assign(self.owner, self.name, make(values))

    def plan(self, value: float) -> None:
        """Tell an objective the greatest value that is coming, of several groups' the greatest."""
        if isinstance(self.owner, Objective):
            others = {} if self.place is None else self.owner.planned
            self.owner.planned[self.name] = max(value, others.get(self.name, value))

    def forget_plan(self) -> None:
        if isinstance(self.owner, Objective):
            self.owner.planned.pop(self.name, None)

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
            f"target {path!r} does not exist on {type(module).__name__}; {_offer(module, path)}."
        ) from None
    if isinstance(value, list | tuple):
        raise ValueError(f"target {path!r} is {value}, one a group; write {path + '.0'!r} for one.")
    name = path.rpartition(".")[2]
    if type(value) not in (int, float) and not _is_off(target, value):
        raise ValueError(
            f"target {path!r} is a {type(value).__name__}, but only a plain number can be moved; "
            f"make it one, such as `self.{name} = 1.0`."
        )
    _refuse_fixed(target, value)
    return target


def _is_off(target: Target, value: Any) -> bool:
    """Whether this is a coefficient that may be None, and is."""
    owner = target.owner
    return value is None and isinstance(owner, Objective) and target.name in owner.coefficients


def _refuse_fixed(target: Target, value: float | None) -> None:
    try:
        target.set(value)
    except (AttributeError, TypeError) as reason:
        raise ValueError(
            f"target {target.path!r} can be read but not assigned ({reason}); make it a plain "
            f"attribute, such as `self.{target.name} = {value}`, or give its property a setter."
        ) from reason


def _offer(module: nn.Module, path: str) -> str:
    names = nearest(module, path)
    if not names:
        return "it has no numbers to move"
    return "did you mean " + " or ".join(map(repr, names))


def _locate(module: nn.Module, path: str) -> Target:
    names, owners = path.split("."), [module]
    for name in names[:-1]:
        owners.append(_child(owners[-1], name))
    names = [_settled(owner, name) for owner, name in zip(owners, names, strict=True)]
    if isinstance(owners[-1], tuple):
        return Target(path, owners[-2], names[-2], int(names[-1]))
    return Target(path, owners[-1], names[-1])


def _settled(owner: Any, name: str) -> str:
    """The one name of a part: a place is counted from the front, -1 is the last."""
    if not isinstance(owner, MutableSequence | tuple):
        return name
    fields = getattr(owner, "_fields", ())
    return str(fields.index(name) if name in fields else range(len(owner))[int(name)])


def _child(owner: Any, name: str) -> Any:
    if isinstance(owner, Mapping):
        return owner[name]
    if isinstance(owner, MutableSequence | tuple):
        return owner[int(_settled(owner, name))]
    return getattr(owner, name)


def _assign(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, MutableMapping):
        owner[name] = value
    elif isinstance(owner, MutableSequence):
        owner[int(name)] = value
    else:
        setattr(owner, name, value)
