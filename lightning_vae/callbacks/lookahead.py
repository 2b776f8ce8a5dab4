"""Looking ahead: at which times to try a schedule before the first batch."""

from lightning_vae.schedules import Schedule

__all__ = ["extent", "times"]

_TRIES = 1000
_ENDLESS = 1000.0
_GOLDEN = (5**0.5 - 1) / 2


def times(count: int, per_unit: float = 1) -> list[float]:
    """The times k / per_unit for k < count: all, or a thousand of many, with the first and last.

    >>> times(4, per_unit=2)
    [0.0, 0.5, 1.0, 1.5]
    """
    ticks = range(count) if count <= _TRIES else _spread(count)
    return [k / per_unit for k in ticks]


def _spread(count: int) -> list[int]:
    # One in every thousandth, but not at the same place of it: no cycle hides between them.
    places = (i + i * _GOLDEN % 1 for i in range(_TRIES))
    return [*(int(place * count / _TRIES) for place in places), count - 1]


def extent(schedule: Schedule) -> float:
    """How far to look where the fit has no known end: as far as a plot does, or a thousand units.

    >>> from lightning_vae.schedules import Constant, Linear
    >>> extent(Linear(0, 1, over=20)), extent(Constant(0.5))
    (20.0, 1000.0)
    """
    try:
        return schedule.sample(2)[0][-1]
    except ValueError:  # neither an end nor cycles
        return _ENDLESS
