"""A curve that does not grow without end."""

from collections.abc import Sequence

__all__ = ["thinned"]


def thinned(
    steps: Sequence[int], values: Sequence[float], points: int
) -> tuple[list[int], list[float]]:
    """The curve as it is, or every second point of one that has grown to twice so many; its last stays.

    >>> thinned([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4], points=2)
    ([2, 4], [0.2, 0.4])
    """
    every = 2 if len(steps) >= 2 * points else 1
    return list(steps[every - 1 :: every]), list(values[every - 1 :: every])
