"""Triggers: conditions on a logged metric that a schedule may wait for."""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

__all__ = ["Seen", "Trigger", "When"]

When = Literal["validation", "epoch"]


class Seen(NamedTuple):
    """What a trigger has seen of its metric so far."""

    best: float | None = None
    waited: int = 0  # how often it was looked at since
    met: bool = False


class Trigger(ABC):
    """A condition on a logged metric; once met it stays met.

    A subclass says what follows from what was seen and a new value, and has as attributes the
    metric's key and when to look at it. It remembers nothing itself: whoever waits for it does.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Below(Trigger):
    ...     monitor: str
    ...     value: float
    ...
    ...     def see(self, seen: Seen, value: float) -> Seen:
    ...         return seen._replace(met=value < self.value)
    >>> Below("val/distortion", 100.0).see(Seen(), 99.0).met
    True
    """

    monitor: str  # a key of trainer.callback_metrics
    when: When = "validation"  # look at it after every validation, or every epoch of training

    @abstractmethod
    def see(self, seen: Seen, value: float) -> Seen:
        """What was seen, with one value more: a pure function."""
