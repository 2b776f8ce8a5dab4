"""Independent oracles: formulas in another arithmetic, written from the papers and the contracts.

Nothing here imports what it judges.
"""

from fractions import Fraction
from math import ceil, cos, exp, pi

import mpmath


def fu(t: int, total: int, cycles: int, ratio: float, shape: str) -> float:
    """β at iteration t = 1, ..., total of Fu et al. 2019, "Cyclical annealing schedule".

    τ = mod(t − 1, ⌈T/M⌉) / (T/M); β = f(τ) for τ ≤ R, else 1, with f(0) = 0 and f(R) = 1.
    """
    tau = ((t - 1) % ceil(total / cycles)) / (total / cycles)
    return SHAPES[shape](tau / ratio) if tau <= ratio else 1.0


def _rescaled_sigmoid(v: float) -> float:
    """The authors' 1 / (1 + exp(6 − 12 v)), moved and stretched so that f(0) = 0 and f(R) = 1."""
    low, here, high = (1 / (1 + exp(6 - 12 * x)) for x in (0, v, 1))
    return (here - low) / (high - low)


SHAPES = {
    "linear": lambda v: v,
    "cosine": lambda v: 0.5 - 0.5 * cos(pi * v),
    "sigmoid": _rescaled_sigmoid,
}


def run_cycle(step: int, total: int, cycles: int) -> tuple[int, Fraction]:
    """Which of `cycles` equal parts of a run `step` is in, and which fraction of it is done."""
    position = Fraction(step * cycles, total)
    return int(position), position - int(position)


def curve(name: str, u: float, **k: float) -> float:
    """The curves of time with fifty digits, u being t / over (or t itself for the logistic)."""
    with mpmath.workdps(50):
        x = {key: mpmath.mpf(value) for key, value in k.items()}
        return float(CURVES[name](mpmath.mpf(u), **x))


def _sigma(x: mpmath.mpf) -> mpmath.mpf:
    return 1 / (1 + mpmath.exp(-x))


def _sigmoid(u: mpmath.mpf, start: mpmath.mpf, stop: mpmath.mpf, k: mpmath.mpf) -> mpmath.mpf:
    low, here, high = (_sigma(k * (x - mpmath.mpf(1) / 2)) for x in (0, u, 1))
    return start + (stop - start) * (here - low) / (high - low)


CURVES = {
    "linear": lambda u, start, stop: start + (stop - start) * u,
    "cosine": lambda u, start, stop: start + (stop - start) * (1 - mpmath.cos(mpmath.pi * u)) / 2,
    "exponential": lambda u, start, stop: start ** (1 - u) * stop**u,
    "sigmoid": _sigmoid,
    "logistic": lambda t, lower, upper, midpoint, rate: (
        lower + (upper - lower) * _sigma(rate * (t - midpoint))
    ),
}


class Track:
    """A schedule of straight pieces in exact rational arithmetic, `lasts` None for no end.

    `Track.line(a, b, over)`, `x.then(y)`, `x.cycle(period, cycles)`; `at(t)` is its value.
    """

    def __init__(self, lasts, at):
        self.lasts, self.at = lasts, at

    @classmethod
    def line(cls, start, stop, over):
        start, stop, over = Fraction(start), Fraction(stop), Fraction(over)

        def at(t):
            if t >= over:
                return stop
            return start if t <= 0 else start + (stop - start) * t / over

        return cls(over, at)

    @classmethod
    def level(cls, value, over):
        return cls(None if over is None else Fraction(over), lambda t: Fraction(value))

    def then(self, other):
        lasts = None if other.lasts is None else self.lasts + other.lasts
        return Track(lasts, lambda t: self.at(t) if t < self.lasts else other.at(t - self.lasts))

    def cycle(self, period, cycles):
        period = Fraction(period)
        end = self.at(period)

        def at(t):
            if cycles is not None and t >= cycles * period:
                return end
            return self.at(t if t < 0 else t % period)

        return Track(None if cycles is None else cycles * period, at)
