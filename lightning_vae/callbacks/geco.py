"""GECO: the least rate that meets a constraint on the distortion, or on anything logged."""

import math
from typing import NamedTuple

from typing_extensions import override

from lightning_vae.callbacks.control import Controller
from lightning_vae.callbacks.owner import Unit
from lightning_vae.schedules import Schedule

__all__ = ["GECO", "Multiplier", "constrained"]


class Multiplier(NamedTuple):
    """What GECO remembers."""

    log_lambda: float  # held as a logarithm: it stays positive, and moves by factors
    constraint: float | None = None  # the moving average; None before the first


def constrained(
    state: Multiplier,
    constraint: float,
    nu: float,
    alpha: float,
    limit: float,
    lower: float,
    upper: float,
) -> Multiplier:
    r"""One step of a log-space Lagrange multiplier: it grows while the constraint is violated.

    .. math:: \bar C_t = \alpha \bar C_{t-1} + (1-\alpha) C_t, \qquad
              \log\lambda_t = \log\lambda_{t-1} + \mathrm{clip}(\nu\,\bar C_t)

    Args:
        state: The multiplier and the moving average so far.
        constraint: C, positive where it is violated.
        nu: ν, the gain per unit of C.
        alpha: α, what the moving average keeps.
        limit: The greatest change of log λ in a step.
        lower: The least log λ; it does not wind up there.
        upper: The greatest.

    Source: Rezende & Viola 2018.

    >>> constrained(Multiplier(0.0), 2.0, nu=0.01, alpha=0.99, limit=0.1, lower=-7, upper=7)
    Multiplier(log_lambda=0.02, constraint=2.0)
    """
    average = moved(state.constraint, constraint, alpha)
    step = min(max(nu * average, -limit), limit)
    return Multiplier(min(max(state.log_lambda + step, lower), upper), average)


def moved(average: float | None, value: float, alpha: float) -> float:
    """A moving average with one value more; the first is the value itself.

    >>> moved(None, 3.0, 0.9), moved(2.0, 3.0, 0.5)
    (3.0, 2.5)
    """
    return value if average is None else alpha * average + (1 - alpha) * value


class GECO(Controller):
    r"""Find the least rate at which the distortion is at most a tolerance.

    Minimises R + λ (D − κ) with a multiplier λ that grows while D exceeds κ. The objective's loss
    is that, divided by λ, so that

    .. math:: \beta = 1/\lambda

    with D in nats. For squared errors κ² under a Gaussian likelihood of variance s², the tolerance
    is κ²/(2s²) + ½·dims·log 2πs², and a multiplier of the squared error is 1/(2s²β).

    Args:
        tolerance: κ in nats, or a schedule of it.
        nu: ν, by how much log λ moves a step and nat.
        alpha: α, what the moving average of the constraint keeps.
        limit: The greatest change of log λ in a step.
        minimum: The least β = 1/λ.
        maximum: The greatest β.
        warmup: A schedule of β that comes first; λ goes on from its last value.
        unit: What the times of tolerance and warmup count.
        target: What to move: 1/λ.
        observe: A key of what ``training_step`` returns, or logs at every step; it has to fall when
            λ rises.
        name: What to log as ``schedule/<name>`` and ``control/<name>/...``.
        enabled: False leaves β alone.

    Raises:
        ValueError: if an argument is out of range, or what is observed is not finite.

    Source: Rezende & Viola 2018, "Taming VAEs" (α = 0.99).

    >>> GECO(tolerance=90.0)
    GECO(Constant(90))
    """

    State = Multiplier
    asks_for_rate = False
    argument = "tolerance"

    def __init__(
        self,
        tolerance: Schedule | float,
        nu: float = 5e-4,
        alpha: float = 0.99,
        limit: float = 0.01,
        minimum: float = 1e-3,
        maximum: float = 1e3,
        warmup: Schedule | None = None,
        unit: Unit = "step",
        target: str = "objective.beta",
        observe: str = "distortion",
        name: str | None = None,
        enabled: bool = True,
    ) -> None:
        super().__init__(tolerance, minimum, maximum, target, observe, warmup, unit, name, enabled)
        refuse_gains(minimum, nu=nu, limit=limit)
        refuse_average(alpha)
        self.tolerance, self.nu, self.alpha, self.limit = self.set_point, nu, alpha, limit
        self._refuse_set_points()

    @override
    def begun(self, value: float) -> Multiplier:
        return Multiplier(-math.log(value))

    @override
    def updated(self, state: Multiplier, observed: float, set_point: float) -> Multiplier:
        lower, upper = -math.log(self.maximum), -math.log(self.minimum)
        violated = observed - set_point
        return constrained(state, violated, self.nu, self.alpha, self.limit, lower, upper)

    @override
    def number(self, state: Multiplier) -> float:
        return min(max(math.exp(-state.log_lambda), self.minimum), self.maximum)

    @override
    def stuck(self, value: float, observed: float, set_point: float) -> bool:
        # At the maximum the constraint is met with room to spare.
        return self.begun(value) == self.begun(self.minimum) and observed > set_point


def refuse_gains(minimum: float, **gains: float) -> None:
    """Refuse what a controller of log β cannot do with."""
    if minimum <= 0:
        raise ValueError(f"log β needs minimum > 0, got {minimum}.")
    for name, gain in gains.items():
        if not 0 < gain < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {gain}.")


def refuse_average(alpha: float) -> None:
    """Refuse a moving average that is none."""
    if not 0 <= alpha < 1:
        raise ValueError(f"alpha must be at least 0 and below 1, got {alpha}.")
