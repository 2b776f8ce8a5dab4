"""MinimumRate: the ELBO under the constraint of a least rate (MDR)."""

import math
from typing import NamedTuple

from typing_extensions import override

from lightning_vae.callbacks.control import Controller
from lightning_vae.callbacks.owner import Unit
from lightning_vae.schedules import Schedule

__all__ = ["Ascent", "MinimumRate", "ascended"]

_EPS = 1e-8  # RMSprop's


class Ascent(NamedTuple):
    """What MinimumRate remembers."""

    u: float  # the multiplier
    square: float = 0.0  # RMSprop's mean of squared gradients


def ascended(state: Ascent, gradient: float, lr: float, alpha: float, upper: float) -> Ascent:
    r"""One step of RMSprop up the dual, projected on [0, upper].

    .. math:: v_t = \alpha v_{t-1} + (1-\alpha) g_t^2, \qquad
              u_t = u_{t-1} + \eta\, g_t / (\sqrt{v_t} + \epsilon)

    Source: Pelsmaeker & Aziz 2020.

    >>> ascended(Ascent(0.5, square=4.0), gradient=2.0, lr=0.125, alpha=0.75, upper=1.0)
    Ascent(u=0.624999999375, square=4.0)
    """
    square = alpha * state.square + (1 - alpha) * gradient**2
    u = state.u + lr * gradient / (math.sqrt(square) + _EPS)
    return Ascent(min(max(u, 0.0), upper), square)


class MinimumRate(Controller):
    r"""Optimise the ELBO under the constraint that the rate is at least a minimum (MDR).

    .. math:: \max_{u \ge 0} \min_\theta\; D + R + u\,(R_{\min} - R), \qquad \beta = 1 - u

    A rate that is above the minimum anyhow leaves β = 1. Where the paper takes \|u\|, and a β that
    may be negative, u is kept from 0 to 1. It begins where the module is: ``ELBO(beta=0.0)`` is
    the authors' start, and does not let the rate collapse first.

    Args:
        rate: R_min in nats, or a schedule of it.
        lr: η, RMSprop's learning rate for u.
        alpha: RMSprop's decay.
        minimum: The least β, from 0 to 1.
        unit: What the times of a scheduled rate count.
        target: What to move: 1 − u.
        observe: A key of what ``training_step`` returns, or logs at every step.
        name: What to log as ``schedule/<name>`` and ``control/<name>/...``.
        enabled: False leaves β alone.

    Raises:
        ValueError: if an argument is out of range, or the rate is not finite.

    Source: Pelsmaeker & Aziz 2020, "Effective Estimation of Deep Generative Language Models".

    >>> MinimumRate(5.0)
    MinimumRate(Constant(5))
    """

    State = Ascent
    argument = "rate"

    def __init__(
        self,
        rate: Schedule | float,
        lr: float = 1e-3,
        alpha: float = 0.99,
        minimum: float = 0.0,
        unit: Unit = "step",
        target: str = "objective.beta",
        observe: str = "rate",
        name: str | None = None,
        enabled: bool = True,
    ) -> None:
        super().__init__(rate, minimum, 1.0, target, observe, None, unit, name, enabled)
        if not 0 < lr < math.inf:
            raise ValueError(f"lr must be positive and finite, got {lr}.")
        if not 0 <= alpha < 1:
            raise ValueError(f"alpha must be at least 0 and below 1, got {alpha}.")
        self.rate, self.lr, self.alpha = self.set_point, lr, alpha
        self._refuse_set_points(above=0.0)

    @override
    def begun(self, value: float) -> Ascent:
        return Ascent(1 - value)

    @override
    def updated(self, state: Ascent, observed: float, set_point: float) -> Ascent:
        return ascended(state, set_point - observed, self.lr, self.alpha, 1 - self.minimum)

    @override
    def number(self, state: Ascent) -> float:
        return min(max(1 - state.u, self.minimum), self.maximum)

    @override
    def stuck(self, value: float, observed: float, set_point: float) -> bool:
        return value <= self.minimum and observed < set_point
