"""Cycles that can be stopped and started: a pure function of time and of the calls so far."""

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

from lightning_vae.schedules import Cyclic

__all__ = ["Event", "begun", "cycle", "cycling"]


class Event(NamedTuple):
    """A call of ``stop_cycling`` or ``start_cycling``."""

    kind: Literal["stop", "start"]
    called: float  # t of the step before which, or in which, the call came
    origin: float | None = None  # where "start" begins to count: the first t after the call


def begun(event: Event, t: float) -> Event:
    """The event at time t: a start counts from the first t after its call.

    >>> begun(Event("start", 30), 31)
    Event(kind='start', called=30, origin=31)
    """
    waits = event.kind == "start" and event.origin is None
    return event._replace(origin=t) if waits and t > event.called else event


def cycling(schedule: Cyclic, events: Iterable[Event], t: float) -> float:
    r"""The value of finite cycles at time t, after events.

    A stop lets the running cycle finish and holds its end. A start that is called while it is held
    counts the cycles anew; one that is called before that undoes the stop, and changes nothing else.

    >>> from lightning_vae.schedules import Linear
    >>> cycles = Cyclic(Linear(0, 1, over=10), period=10, cycles=4)
    >>> events = [Event("stop", 15), Event("start", 30, 31)]
    >>> [cycling(cycles, events, t) for t in (15, 20, 30, 31, 36)]
    [0.5, 1.0, 1.0, 0.0, 0.5]
    """
    origin, held = _standing(schedule, events, t)
    return schedule(schedule.duration if t > held - _edge(schedule) else t - origin)


def cycle(schedule: Cyclic, events: Iterable[Event], t: float) -> tuple[float, int]:
    """Which cycle it is at time t: where its count began, and its number from there.

    >>> from lightning_vae.schedules import Linear
    >>> cycles = Cyclic(Linear(0, 1, over=10), period=10, cycles=4)
    >>> events = [Event("stop", 15), Event("start", 30, 31)]
    >>> [cycle(cycles, events, t) for t in (9, 10, 30, 31)]
    [(0.0, 0), (0.0, 1), (0.0, 1), (31, 0)]
    """
    origin, held = _standing(schedule, events, t)
    number = math.floor((min(t, held) - origin + _edge(schedule)) / schedule.period)
    return origin, number - (t > held - _edge(schedule))


def _edge(schedule: Cyclic) -> float:
    # A time that misses an edge by a rounding is on it, as everywhere in schedules.
    return 1e-9 * schedule.period


def _standing(schedule: Cyclic, events: Iterable[Event], t: float) -> tuple[float, float]:
    """From where the cycles are counted at time t, and from when on their end is held."""
    edge = _edge(schedule)
    origin, held = 0.0, schedule.duration
    for event in events:
        if t < (event.called if event.origin is None else event.origin):
            break
        is_held = event.called > held - edge
        if event.kind == "stop" and not is_held:
            finished = math.floor((event.called - origin + edge) / schedule.period)
            held = min(held, origin + (finished + 1) * schedule.period)
        elif event.kind == "start" and event.origin is not None:
            origin = event.origin if is_held else origin
            held = origin + schedule.duration
    return origin, held
