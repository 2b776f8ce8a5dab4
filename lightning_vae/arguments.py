"""Arguments that are counts or choices, refused by name where they are not."""

from numbers import Integral
from typing import TypeVar

__all__ = ["one_of", "whole"]

T = TypeVar("T", bound=str)


def whole(name: str, count: int, at_least: int = 1) -> int:
    """A count as it is.

    Raises:
        ValueError: if it is no whole number, or less than the least.

    >>> whole("samples", 5)
    5
    """
    if isinstance(count, bool) or not isinstance(count, Integral) or count < at_least:
        raise ValueError(f"{name} must be a whole number of at least {at_least}, got {count!r}.")
    return count


def one_of(name: str, choice: T, choices: tuple[str, ...]) -> T:
    """A choice as it is.

    Raises:
        ValueError: if it is none of the choices.

    >>> one_of("unit", "epoch", ("epoch", "step"))
    'epoch'
    """
    if choice not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, got {choice!r}.")
    return choice
