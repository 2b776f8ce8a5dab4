"""Arguments that are counts, numbers or choices, refused by name where they are not."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TypeVar

__all__ = ["one_of", "positive", "share", "whole", "wholes"]

T = TypeVar("T", bound=str)


def whole(name: str, count: int, at_least: int = 1, write: str | None = None) -> int:
    """A count as a plain int.

    Args:
        name: The argument's.
        count: What came.
        at_least: The least.
        write: What to write instead; by default the least.

    Raises:
        ValueError: if it is no whole number, or less than the least.

    >>> whole("samples", 5)
    5
    """
    if isinstance(count, bool) or not isinstance(count, Integral) or count < at_least:
        raise ValueError(
            f"{name} must be a whole number of at least {at_least}, got {count!r}; write "
            f"{write or f'{name}={at_least}'}."
        )
    return int(count)


def wholes(name: str, counts: Sequence[int], write: str | None = None) -> tuple[int, ...]:
    """Counts above 0 as a tuple, of any length.

    Raises:
        ValueError: if it is no sequence, or one of them no whole number above 0.

    >>> wholes("hidden", [400, 200])
    (400, 200)
    """
    if isinstance(counts, int):
        raise ValueError(f"{name} must be a sequence, got {counts}; write {name}=({counts},).")
    if not all(isinstance(n, Integral) and n is not True and n > 0 for n in counts):
        raise ValueError(
            f"{name} must be positive whole numbers, got {tuple(counts)}; write "
            f"{write or f'{name}=(400,)'}."
        )
    return tuple(map(int, counts))


def positive(name: str, value: float, write: str | None = None) -> float:
    """A number above 0 as a plain float.

    Raises:
        ValueError: if it is no number (a tensor is none), not above 0, or not finite.

    >>> positive("scale", 2)
    2.0
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < math.inf:
        raise ValueError(
            f"{name} must be a positive finite number, got {value!r}; write "
            f"{write or f'{name}=1.0'}."
        )
    return float(value)


def share(name: str, value: float) -> float:
    """A number from 0 to 1 as a plain float.

    Raises:
        ValueError: if it is none.

    >>> share("dropout", 0.5)
    0.5
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a share from 0 to 1, got {value!r}; write {name}=0.5.")
    return float(value)


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
