"""Coefficients: the numbers of an objective that callbacks may move."""

import inspect
import math
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from typing_extensions import Self

__all__ = ["Coefficient", "Grouped", "HasCoefficients", "Value"]

Grouped = float | tuple[float, ...]  # one number, or one a group
Value = float | tuple[float | None, ...] | None
T = TypeVar("T", bound=Value)


class Coefficient(Generic[T]):
    """A number on an objective that callbacks may move: a float, a tuple (one a group), or None.

    It is stored as a plain Python float, never as a tensor or buffer, so that it is exact under
    every precision, untouched by weight averaging, and light to change at every step.

    Args:
        minimum: The least legal value.
        optional: Whether None ("none of it") is legal, by itself and for one group.
        grouped: Whether a tuple, one value a group, is legal.

    Raises:
        ValueError: at assignment of anything but a finite number at or above the minimum.

    >>> from lightning_vae import ELBO
    >>> class Weighted(ELBO):
    ...     gamma = Coefficient[float]()
    >>> objective = Weighted()
    >>> objective.gamma = 3
    >>> objective.coefficients["gamma"]
    3.0
    """

    def __init__(self, minimum: float = 0.0, optional: bool = False, grouped: bool = True) -> None:
        self.minimum, self.optional, self.grouped = minimum, optional, grouped

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    if TYPE_CHECKING:
        # Read from the instance's own dictionary, at no cost: only assignment is intercepted.
        @overload
        def __get__(self, owner: None, cls: type) -> "Coefficient[T]": ...
        @overload
        def __get__(self, owner: "HasCoefficients", cls: type) -> T: ...
        def __get__(self, owner: "HasCoefficients | None", cls: type) -> "T | Coefficient[T]": ...

    def __set__(self, owner: "HasCoefficients", value: Value | Sequence[float | None]) -> None:
        checked = self._checked(value)
        vars(owner)[self.name] = checked
        if self.name in owner._arguments:
            owner.given.setdefault(self.name, checked)

    def _checked(self, value: Value | Sequence[float | None]) -> Value:
        if self.grouped and isinstance(value, list | tuple) and value:
            return tuple(self._one(element) for element in value)
        return self._one(value)

    def _one(self, value: object) -> float | None:
        if value is None and self.optional:
            return None
        if isinstance(value, Real) and not isinstance(value, bool):
            number = float(value)
            if self.minimum <= number < math.inf:
                return number
        or_tuple = ", or a tuple of them, one a group" if self.grouped else ""
        or_none = ", or None for none" if self.optional else ""
        raise ValueError(
            f"{self.name} must be a finite number >= {self.minimum:g}{or_tuple}{or_none}; "
            f"got {value!r}."
        )


class HasCoefficients:
    """What knows its coefficients, and which of them its constructor was given.

    >>> from lightning_vae import ELBO
    >>> ELBO(beta=4).given, ELBO().given
    ({'beta': 4.0}, {})
    """

    _arguments: frozenset[str]  # the names of what the constructor was called with
    given: dict[str, Value]  # the coefficients among them, as they were given
    planned: dict[str, float]  # the greatest value that a callback is going to set, by name

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Here, not in __init__, the arguments are the user's, whatever a subclass makes of them.
        made = super().__new__(cls)
        vars(made).update(_arguments=_named(cls, args, kwargs), given={}, planned={})
        return made

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.coefficients.items())

    @property
    def coefficients(self) -> dict[str, Value]:
        """The value of every coefficient by name."""
        return {name: vars(self)[name] for name in _names(type(self)) if name in vars(self)}


def _named(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> frozenset[str]:
    positional = list(inspect.signature(cls).parameters)[: len(args)] if args else []
    return frozenset([*positional, *kwargs])


def _names(cls: type) -> list[str]:
    members = {name: value for base in reversed(cls.__mro__) for name, value in vars(base).items()}
    return [name for name, value in members.items() if isinstance(value, Coefficient)]
