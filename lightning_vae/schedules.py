"""Schedules: pure numbers of time.

A schedule is a frozen value, called with a time: `schedule(t)` is a plain `float`, the same for the
same t whoever asks and however often. It counts nothing and remembers nothing, so a run that
resumes needs no state of it, and a loop without a trainer can use it too. What t counts (epochs,
steps, the fraction of a run) is the caller's choice; `over`, `period`, `midpoint` and the times of
`Piecewise` are in that unit, `rate` in its inverse.

With u = t / over, the part of a ramp that is done, and σ(x) = 1 / (1 + e⁻ˣ):

    Constant      value
    Linear        start + (stop − start) · u
    Cosine        start + (stop − start) · (1 − cos πu) / 2
    Exponential   start¹⁻ᵘ · stopᵘ
    Sigmoid       start + (stop − start) · (σ(k(u − ½)) − σ(−k/2)) / (σ(k/2) − σ(−k/2))
    Logistic      lower + (upper − lower) · σ(rate · (t − midpoint))
    Piecewise     straight between points, or a staircase
    LogUniform    log β ~ U(log lower, log upper), drawn by t and a seed
    Cyclic        the same schedule again and again
    a >> b        b after a: Chain([a, b])

The rules, for every schedule:

- A ramp is `start` at t = 0 and `stop` at t = over, exactly, and never leaves the interval between
  them. `over=0` is a jump at t = 0. Descending ramps are ramps.
- t < 0 gives the first value. `Logistic`, which has none, goes on.
- From t = `duration` on the last value holds; the duration is inf where there is no end.
- Intervals are half open: at the very time where one piece ends, the next has begun. A time that
  misses such an edge by less than one part in 10⁹ is on it, since step / total rarely is exactly.
- Arguments are numbers, kept as floats; what is no number, not finite or out of range raises a
  ValueError that says what to write. Where a schedule is expected, a number is a constant.

Schedules compare and hash by value, pickle, and print as they are written:

>>> warmup = Constant(0, over=5) >> Cyclic(Linear(0, 1, over=5), period=10, cycles=4)
>>> warmup
Constant(0, over=5) >> Cyclic(Linear(0, 1, over=5), period=10, cycles=4)
>>> [warmup(t) for t in (0, 5, 7.5, 14, 15, 1000)]
[0.0, 0.0, 0.5, 1.0, 0.0, 1.0]
>>> warmup.duration
45.0
"""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate, pairwise
from math import exp, fmod, inf, isfinite, nan, pi, sin, tanh
from numbers import Integral, Real
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Chain",
    "Constant",
    "Cosine",
    "Cyclic",
    "Exponential",
    "Linear",
    "LogUniform",
    "Logistic",
    "Piecewise",
    "Schedule",
    "Sigmoid",
    "as_schedule",
]

# How near an edge counts as on it: far above the rounding of step / total, far below one step.
_EDGE = 1e-9


class Schedule(ABC):
    """A number that depends on time alone.

    A subclass says what the value is at t, and when it stops changing. Make it a frozen dataclass,
    and it compares, pickles and reads from YAML like those here.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Harmonic(Schedule):
    ...     start: float
    ...     duration = float("inf")
    ...
    ...     def __call__(self, t: float) -> float:
    ...         return self.start / (1 + max(t, 0))
    >>> Linear(0, 1, over=2) >> Harmonic(1)
    Linear(0, 1, over=2) >> Harmonic(start=1)
    """

    @abstractmethod
    def __call__(self, t: float) -> float:
        """The value at time t, a plain float for any finite t."""

    @property
    @abstractmethod
    def duration(self) -> float:
        """The time from which on the value holds; inf for a schedule without end."""

    def __rshift__(self, other: "Schedule | float") -> "Chain":
        """This schedule, and `other` when it is over.

        >>> (Linear(0, 1, over=5) >> 0.5)(5)
        0.5
        """
        return Chain([self, other])

    def sample(self, n: int = 200, until: float | None = None) -> tuple[list[float], list[float]]:
        """n evenly spaced times in [0, until], and the values there.

        `until` is the duration if not given, and four periods of a `Cyclic` without end. Another
        schedule without end raises a ValueError that asks for it.

        >>> Linear(0, 1, over=4).sample(3)
        ([0.0, 2.0, 4.0], [0.0, 0.5, 1.0])
        """
        if not _is_int(n) or n < 2:
            raise ValueError(f"sample needs n to be an int of at least 2, such as 200, got {n!r}.")
        end = self._horizon() if until is None else _float(until)
        if not 0 <= end < inf:
            raise ValueError(
                f"sample needs until to be a finite time of 0 or more, got {until!r}; "
                f"{self!r} lasts {self.duration}: write for example sample(until=100)."
            )
        times = [end * (i / (n - 1)) for i in range(n)]
        return times, [self(t) for t in times]

    def plot(self, ax: "Axes | None" = None, n: int = 1000, until: float | None = None) -> "Axes":
        """Draw `sample(n, until)` into `ax`, or into a new figure; returns the axes."""
        times, values = self.sample(n, until)
        if ax is None:
            # Only a picture needs matplotlib, and it is slow to import.
            import matplotlib.pyplot as plt

            ax = plt.subplots()[1]
        ax.plot(times, values, label=repr(self))
        ax.set(xlabel="t", ylabel="value")
        return ax

    def _horizon(self) -> float:
        """How far a sample looks unless told: to the end."""
        return self.duration


def as_schedule(value: Schedule | float) -> Schedule:
    """A schedule itself, or the constant that a number stands for.

    Raises a ValueError for anything else; a function, say, is not picklable: subclass `Schedule`.

    >>> as_schedule(0.5)
    Constant(0.5)
    """
    if isinstance(value, Schedule):
        return value
    if not isfinite(_float(value)):
        raise ValueError(
            "A schedule has to be a Schedule or a finite number, such as Linear(0, 1, over=10) or "
            f"0.5, got {value!r}."
        )
    return Constant(value)


class _Number(NamedTuple):
    """Which numbers an argument takes, and how to say so."""

    legal: Callable[[float], bool]
    wanted: str


_FINITE = _Number(isfinite, "a finite number, such as 1.0")
_POSITIVE = _Number(lambda x: 0 < x < inf, "a finite number above 0, such as 0.01")
_TIME = _Number(lambda x: 0 <= x < inf, "a finite time of 0 (a jump) or more, such as 10")
_LIFETIME = _Number(lambda x: x >= 0, "a time of 0 or more, such as 10, or inf for no end")

# Arguments that say what the value is are written bare, those that say when by name.
_BARE = {"value", "start", "stop", "lower", "upper", "points", "schedule"}


class _Value(Schedule):
    """A schedule that keeps its numbers as floats and prints as it is written."""

    def _settle(self, **numbers: _Number) -> None:
        for name, (legal, wanted) in numbers.items():
            number = _float(getattr(self, name))
            self._require(legal(number), name, wanted)
            object.__setattr__(self, name, number)

    def _require(self, legal: bool, name: str, wanted: str) -> None:
        if not legal:
            owner, got = type(self).__name__, getattr(self, name)
            raise ValueError(f"{owner} needs {name} to be {wanted}, got {got!r}.")

    def __repr__(self) -> str:
        # A dataclass keeps its defaults as class attributes; what equals one is not written.
        given = [(k, v) for k, v in vars(self).items() if v != getattr(type(self), k, nan)]
        arguments = [_written(v) if k in _BARE else f"{k}={_written(v)}" for k, v in given]
        return f"{type(self).__name__}({', '.join(arguments)})"


@dataclass(frozen=True, repr=False)
class Constant(_Value):
    """One value, for ever or for a while: β-VAE, or a delay before something else.

    β(t) = value. In a chain it lasts `over`, a time; alone it never changes. Raises a ValueError
    unless `value` is finite and `over` is 0 or more.

    Higgins et al. 2017, "β-VAE".

    >>> Constant(4)(1e9)
    4.0
    >>> (Constant(0, over=10) >> Constant(1))(10)
    1.0
    """

    value: float
    over: float = inf

    def __post_init__(self) -> None:
        self._settle(value=_FINITE, over=_LIFETIME)

    @property
    @override
    def duration(self) -> float:
        return self.over

    @override
    def __call__(self, t: float) -> float:
        return self.value


@dataclass(frozen=True, repr=False)
class _Ramp(_Value):
    """From `start` at t = 0 to `stop` at t = over."""

    start: float
    stop: float
    over: float

    def __post_init__(self) -> None:
        self._settle(start=_FINITE, stop=_FINITE, over=_TIME)

    @property
    @override
    def duration(self) -> float:
        return self.over

    @override
    def __call__(self, t: float) -> float:
        if t >= self.over:
            return self.stop
        if t <= 0:
            return self.start
        return self._at(float(t) / self.over)

    @abstractmethod
    def _at(self, u: float) -> float:
        """The value when the part u of the ramp is done, 0 < u < 1."""


@dataclass(frozen=True, repr=False)
class Linear(_Ramp):
    """A straight ramp: warm-up, or a growing capacity.

    β(t) = start + (stop − start) · u with u = t / over in [0, 1]. Raises a ValueError unless the
    ends are finite and `over` is a finite time of 0 (a jump) or more.

    Sønderby et al. 2016, "Ladder variational autoencoders" (warm-up); Burgess et al. 2018,
    "Understanding disentangling in β-VAE" (capacity).

    >>> ramp = Linear(0, 1, over=10)
    >>> [ramp(t) for t in (-1, 0, 2.5, 10, 11)]
    [0.0, 0.0, 0.25, 1.0, 1.0]
    """

    @override
    def _at(self, u: float) -> float:
        return _straight(self.start, self.stop, u)


@dataclass(frozen=True, repr=False)
class Cosine(_Ramp):
    """A ramp that leaves and arrives gently.

    β(t) = start + (stop − start) · (1 − cos πu) / 2 with u = t / over in [0, 1]. Raises a
    ValueError unless the ends are finite and `over` is a finite time of 0 (a jump) or more.

    Fu et al. 2019, "Cyclical annealing schedule" (the cosine variant).

    >>> [round(Cosine(0, 1, over=4)(t), 3) for t in range(5)]
    [0.0, 0.146, 0.5, 0.854, 1.0]
    """

    @override
    def _at(self, u: float) -> float:
        # sin² is (1 − cos) / 2 without its cancellation near u = 0.
        return _straight(self.start, self.stop, sin(pi * u / 2) ** 2)


@dataclass(frozen=True, repr=False)
class Exponential(_Ramp):
    """A ramp that is straight in log space: the same factor in every unit of time.

    β(t) = start¹⁻ᵘ · stopᵘ with u = t / over in [0, 1]. Raises a ValueError unless the ends are
    finite and above 0 and `over` is a finite time of 0 (a jump) or more.

    Caillon and Esling 2021, "RAVE" (the warm-up of β in its code).

    >>> [round(Exponential(1e-4, 1, over=4)(t), 6) for t in range(5)]
    [0.0001, 0.001, 0.01, 0.1, 1.0]
    """

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        self._settle(start=_POSITIVE, stop=_POSITIVE)

    @override
    def _at(self, u: float) -> float:
        return _geometric(self.start, self.stop, u)


@dataclass(frozen=True, repr=False)
class Sigmoid(_Ramp):
    """An S-shaped ramp that scales with its length and hits both ends.

    β(t) = start + (stop − start) · (σ(k(u − ½)) − σ(−k/2)) / (σ(k/2) − σ(−k/2)) with
    k = steepness and u = t / over in [0, 1]: nearly straight for a small k, nearly a jump at
    t = over / 2 for a large one. Raises a ValueError unless the ends are finite, `over` is a finite
    time of 0 (a jump) or more and `steepness`, which has no unit, is finite and above 0.

    Fu et al. 2019, "Cyclical annealing schedule" (the sigmoid variant, rescaled: their code, with
    k = 12, starts at 0.0025).

    >>> [round(Sigmoid(0, 1, over=4)(t), 3) for t in range(5)]
    [0.0, 0.045, 0.5, 0.955, 1.0]
    """

    steepness: float = 12.0

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        self._settle(steepness=_POSITIVE)

    @override
    def _at(self, u: float) -> float:
        # Below 1e-9 the curve is straight to the last bit, and tanh(k / 4) may underflow to 0.
        k = max(self.steepness, 1e-9)
        # σ(x) = (1 + tanh(x / 2)) / 2, and tanh does not overflow.
        return _straight(self.start, self.stop, (1 + tanh(k * (u - 0.5) / 2) / tanh(k / 4)) / 2)


@dataclass(frozen=True, repr=False)
class Logistic(_Value):
    """The logistic curve, which comes near its bounds and reaches neither.

    β(t) = lower + (upper − lower) / (1 + exp(−rate · (t − midpoint))), held from t = over on and
    going on for t < 0. `midpoint` and `over` are times, `rate` is per unit of time; rate < 0 or
    lower > upper descends. Raises a ValueError unless `over` is 0 or more and the rest finite.

    Bowman et al. 2016, "Generating sentences from a continuous space" (KL cost annealing).

    >>> [round(Logistic(0, 1, midpoint=5, rate=1)(t), 4) for t in (-5, 0, 5, 10)]
    [0.0, 0.0067, 0.5, 0.9933]
    """

    lower: float
    upper: float
    midpoint: float
    rate: float
    over: float = inf

    def __post_init__(self) -> None:
        self._settle(lower=_FINITE, upper=_FINITE, midpoint=_FINITE, rate=_FINITE, over=_LIFETIME)

    @property
    @override
    def duration(self) -> float:
        return self.over

    @override
    def __call__(self, t: float) -> float:
        # Halves, since t − midpoint may overflow, and 0 · inf is not a number.
        half = self.rate * (min(float(t), self.over) / 2 - self.midpoint / 2)
        return _straight(self.lower, self.upper, _logistic(2 * half))


@dataclass(frozen=True, repr=False)
class Piecewise(_Value):
    """Through given points: by straight lines, or by steps.

    For tᵢ ≤ t < tᵢ₊₁ it is on the line from (tᵢ, vᵢ) to (tᵢ₊₁, vᵢ₊₁), or at vᵢ with `step=True`;
    before the first time it is the first value, after the last the last. Raises a ValueError unless
    the points are pairs (time, value) of finite numbers with rising times from 0 or later.

    >>> Piecewise([(0, 0), (10, 1), (30, 0.5)])(20)
    0.75
    >>> Piecewise([(0, 0), (10, 1), (30, 0.5)], step=True)(20)
    1.0
    """

    points: Sequence[tuple[float, float]]
    step: bool = False

    def __post_init__(self) -> None:
        points = _pairs(self.points)
        times = [t for t, _ in points]
        rising = all(s < t for s, t in pairwise(times))
        self._require(
            bool(times) and times[0] >= 0 and rising,
            "points",
            "pairs (time, value) of finite numbers whose times rise from 0 or later, such as "
            "[(0, 0), (10, 1)]",
        )
        self._require(isinstance(self.step, bool), "step", "True or False")
        object.__setattr__(self, "points", points)

    @property
    @override
    def duration(self) -> float:
        return self.points[-1][0]

    @override
    def __call__(self, t: float) -> float:
        after = bisect_right(self.points, _reached(t), key=itemgetter(0))
        if after == 0:
            return self.points[0][1]
        start, value = self.points[after - 1]
        if self.step or after == len(self.points):
            return value
        stop, following = self.points[after]
        return _straight(value, following, (float(t) - start) / (stop - start))


@dataclass(frozen=True, repr=False)
class LogUniform(_Value):
    """A draw at every time, uniform in log space, and always the same one at the same time.

    log β(t) ~ U(log lower, log upper), independent for different t: a hash of `seed` and t, so that
    a resumed run and every process see the same draws. Endless. Raises a ValueError unless
    0 < lower ≤ upper are finite and `seed` is an int.

    Bae et al. 2023, "Multi-rate VAE" (which draws a β for each example).

    >>> draw = LogUniform(0.01, 10, seed=0)
    >>> draw(1) == draw(1), draw(1) == draw(2)
    (True, False)
    """

    lower: float
    upper: float
    seed: int

    def __post_init__(self) -> None:
        self._settle(lower=_POSITIVE, upper=_POSITIVE)
        self._require(self.upper >= self.lower, "upper", f"at least lower={_written(self.lower)}")
        self._require(_is_int(self.seed), "seed", "an int, such as 0")
        object.__setattr__(self, "seed", int(self.seed))

    @property
    @override
    def duration(self) -> float:
        return inf

    @override
    def __call__(self, t: float) -> float:
        key = f"{self.seed} {max(0.0, float(t))!r}"
        draw = int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big")
        return _geometric(self.lower, self.upper, draw / 2**64)


@dataclass(frozen=True, repr=False)
class Cyclic(_Value):
    """A schedule again and again: reset, replay, hold its end until the period is over.

    β(t) = schedule(t mod period). With `cycles` the last cycle holds its end; without, it never
    ends. `period` is a time; a schedule without end is cut at it. Raises a ValueError unless
    `period` is finite, above 0 and no shorter than a schedule that ends, and `cycles` is an int of
    1 or more, or None.

    Fu et al. 2019, "Cyclical annealing schedule", with M = 4 cycles, R = 0.5 of each spent on the
    ramp, and t the fraction of the run:

    >>> beta = Cyclic(Linear(0, 1, over=0.125), period=0.25, cycles=4)
    >>> [beta(step / 16) for step in range(18)]  # doctest: +ELLIPSIS
    [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 0.0, ..., 1.0, 1.0, 1.0, 1.0]
    """

    schedule: Schedule | float
    period: float
    cycles: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedule", as_schedule(self.schedule))
        self._settle(period=_POSITIVE)
        if self.cycles is not None:
            countable = _is_int(self.cycles) and self.cycles >= 1
            self._require(countable, "cycles", "an int of 1 or more, or None for no end")
            object.__setattr__(self, "cycles", int(self.cycles))
        lasts = self._inner.duration
        fits = lasts == inf or lasts <= self.period * (1 + _EDGE)
        self._require(fits, "period", f"at least {_written(lasts)}, which its schedule lasts")

    @property
    @override
    def duration(self) -> float:
        return inf if self.cycles is None else self.cycles * self.period

    @override
    def __call__(self, t: float) -> float:
        t = float(t)
        if self.cycles is not None and t / self.period > self.cycles - _EDGE:
            lasts = self._inner.duration
            return self._inner(self.period if lasts == inf else lasts)
        return self._inner(self._phase(t))

    @property
    def _inner(self) -> Schedule:
        # For the type checker: a number became a schedule when this was made.
        return as_schedule(self.schedule)

    def _phase(self, t: float) -> float:
        """The time since the cycle began; before the first one, t itself."""
        if t < 0:
            return t
        # fmod is exact and never overflows, unlike t − k · period.
        phase = fmod(t, self.period)
        near = min(phase, self.period - phase) < _EDGE * self.period
        return 0.0 if near else phase

    @override
    def _horizon(self) -> float:
        return 4 * self.period if self.cycles is None else self.duration


@dataclass(frozen=True, repr=False)
class Chain(_Value):
    """One schedule after the other: `Chain([a, b])`, or `a >> b`.

    β(t) = a(t) for t < a.duration and b(t − a.duration) from there on. It lasts as long as all of
    them. A chain in a chain is the same as the longer chain. Raises a ValueError for no schedules,
    or where one before the last has no end.

    Li et al. 2020, "Optimus", a cycle of zero, ramp and hold:

    >>> beta = Cyclic(Constant(0, over=50) >> Linear(0, 1, over=25), period=100)
    >>> beta
    Cyclic(Constant(0, over=50) >> Linear(0, 1, over=25), period=100)
    >>> [beta(t) for t in (25, 50, 70, 75, 99, 100)]
    [0.0, 0.0, 0.8, 1.0, 1.0, 0.0]
    """

    schedules: Sequence[Schedule | float]

    def __post_init__(self) -> None:
        listed = isinstance(self.schedules, Sequence) and len(self.schedules) > 0
        self._require(listed, "schedules", "a list of schedules, such as [Linear(0, 1, over=10)]")
        links = tuple(link for part in self._links for link in _flat(part))
        object.__setattr__(self, "schedules", links)
        for link in links[:-1]:
            if link.duration == inf:
                raise ValueError(
                    f"Chain needs an end of every schedule but the last, got {link!r}, which has "
                    "none: give it one, as in Constant(0, over=10) or Cyclic(..., cycles=4)."
                )

    @property
    @override
    def duration(self) -> float:
        return self._starts[-1] + self._links[-1].duration

    @override
    def __call__(self, t: float) -> float:
        links, starts = self._links, self._starts
        if t >= self.duration:
            return links[-1](links[-1].duration)
        i = max(bisect_right(starts, _reached(t)) - 1, 0)
        # A time beside the edge is on it; one before 0 is for the first schedule to answer.
        return links[i](max(t - starts[i], min(t, 0.0)))

    @override
    def __repr__(self) -> str:
        links = [repr(link) for link in self._links]
        return " >> ".join(links) if len(links) > 1 else f"Chain([{links[0]}])"

    @property
    def _links(self) -> list[Schedule]:
        return [as_schedule(schedule) for schedule in self.schedules]

    @property
    def _starts(self) -> list[float]:
        return [0.0, *accumulate(link.duration for link in self._links[:-1])]

    @override
    def _horizon(self) -> float:
        return self._starts[-1] + self._links[-1]._horizon()


def _flat(schedule: Schedule) -> list[Schedule]:
    return schedule._links if isinstance(schedule, Chain) else [schedule]


def _float(value: object) -> float:
    """`value` as a float; NaN, which every check refuses, for what is no number."""
    try:
        return float(value) if isinstance(value, Real) and not isinstance(value, bool) else nan
    except OverflowError:
        return nan


def _is_int(value: object) -> bool:
    return isinstance(value, Integral) and isfinite(_float(value))


def _pairs(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The points as floats; none at all where one is not a pair of finite numbers."""
    try:
        pairs = tuple((_float(t), _float(value)) for t, value in points)
    except (TypeError, ValueError):
        return ()
    return pairs if all(isfinite(x) for pair in pairs for x in pair) else ()


def _written(value: object) -> str:
    """`value` as a person writes it: 1 for 1.0, and points in a list."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    if isinstance(value, tuple):
        inside = ", ".join(_written(item) for item in value)
        return f"[{inside}]" if isinstance(value[0], tuple) else f"({inside})"
    return repr(value)


def _reached(t: float) -> float:
    """The last edge that counts as reached at t."""
    return t * (1 + _EDGE)


def _straight(start: float, stop: float, u: float) -> float:
    """start + (stop − start) · u: monotone in u for all the rounding, and never out of bounds."""
    # Two halves, since stop − start may overflow.
    half = stop / 2 - start / 2
    return _within(start, stop, start + u * half + u * half)


def _geometric(start: float, stop: float, u: float) -> float:
    """The straight line of the logarithms."""
    return _within(start, stop, start ** (1 - u) * stop**u)


def _within(start: float, stop: float, value: float) -> float:
    return min(max(value, min(start, stop)), max(start, stop))


def _logistic(x: float) -> float:
    small = exp(-abs(x))
    return (1.0 if x >= 0 else small) / (1 + small)
