"""RateController: hold the rate at a set point (ControlVAE, DynamicVAE)."""

import math
from typing import NamedTuple

from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.callbacks.control import Controller
from lightning_vae.callbacks.owner import Unit
from lightning_vae.schedules import Schedule

__all__ = ["PI", "RateController", "controlled"]

# Scaled gains: the sigmoid's slope is 1/4, so with a quarter of the rate as the unit, β follows the
# rate's relative error one to one at once, and with 2 % of it at every further step.
_KP, _KI = 1.0, 0.005


class PI(NamedTuple):
    """What a PI controller remembers."""

    u: float  # its output before the bounds
    proportional: float | None = None  # σ(−e) of the last step; None before the first
    recent: tuple[float, ...] = ()  # the observations that are averaged


def controlled(
    state: PI,
    error: float,
    kp: float,
    ki: float,
    lower: float,
    upper: float,
) -> PI:
    r"""One step of PI control, in increments, that does not wind up at either bound.

    .. math:: u_t = u_{t-1} + K_p\,[\sigma(-e_t) - \sigma(-e_{t-1})] - K_i\, e_t

    The integral is held while the output is at a bound and the error pushes it further out. The
    first step has no proportional part, so control begins without a bump. ControlVAE's positional
    form :math:`K_p\,\sigma(-e_t) - K_i \sum_j e_j + \beta_{\min}` is the sum of these increments.

    Source: Shao et al. 2020 (ControlVAE); Shao et al. 2021 (DynamicVAE).

    >>> state = controlled(PI(1.0), error=2.0, kp=0.01, ki=0.1, lower=0.0, upper=1.0)
    >>> state.u
    0.8
    >>> controlled(PI(1.0), error=-2.0, kp=0.01, ki=0.1, lower=0.0, upper=1.0).u
    1.0
    """
    proportional = _sigmoid(-error)
    before = proportional if state.proportional is None else state.proportional
    outwards = (state.u >= upper and error < 0) or (state.u <= lower and error > 0)
    integral = 0.0 if outwards else ki * error
    return state._replace(
        u=state.u + kp * (proportional - before) - integral, proportional=proportional
    )


def _sigmoid(x: float) -> float:
    return 0.5 * (1 + math.tanh(0.5 * x))  # never overflows


class RateController(Controller):
    r"""Move β until the rate is at a set point, and hold it there.

    PI control: with the error :math:`e_t = C_t - \bar R_t` and u = log β (or β),

    .. math:: u_t = u_{t-1} + K_p\,[\sigma(-e_t) - \sigma(-e_{t-1})] - K_i\, e_t

    Without gains e is in units of a quarter of the rate or its set point, whichever is greater:
    that suits any set point. Gains are per nat, as in the papers. ControlVAE on text is
    ``RateController(3.0, kp=0.01, ki=1e-4, log_space=False, minimum=0.0, maximum=1.0, average=1)``
    from ``ELBO(beta=0.0)``, DynamicVAE
    ``RateController(20.0, kp=0.01, ki=0.005, log_space=False, minimum=0.1)`` from
    ``ELBO(beta=50.0)``.

    Choose a set point by training at β = 1 and looking at the rate. It is reached if a β between
    the bounds has it; otherwise β stays at a bound, which is said once.

    Args:
        set_point: C in nats, or a schedule of it.
        kp: The proportional gain; give both gains or neither.
        ki: The integral gain.
        minimum: The least β; above 0 with log_space.
        maximum: The greatest β.
        log_space: Control log β, so that equal errors change β by equal factors; or else β itself.
        average: Over how many of the last steps R is averaged.
        warmup: A schedule of β that comes first; control takes over at its last value.
        unit: What the times of set_point and warmup count: ``"epoch"``, ``"step"`` or ``"run"``.
        target: What to move; anything that lowers what is observed when it rises.
        observe: A key of what ``training_step`` returns, or logs at every step.
        name: What to log as ``schedule/<name>`` and ``control/<name>/...``.
        enabled: False leaves β alone.

    Raises:
        ValueError: if an argument is out of range, or when the rate is not finite.

    Source: Shao et al. 2020 (ControlVAE); Shao et al. 2021 (DynamicVAE).

    >>> from lightning_vae import Linear
    >>> RateController(20.0, warmup=Linear(0.01, 1, over=2), unit="epoch")
    RateController(Constant(20), warmup=Linear(0.01, 1, over=2), unit='epoch')
    """

    State = PI

    def __init__(
        self,
        set_point: Schedule | float,
        kp: float | None = None,
        ki: float | None = None,
        minimum: float = 1e-3,
        maximum: float = 1e3,
        log_space: bool = True,
        average: int = 5,
        warmup: Schedule | None = None,
        unit: Unit = "step",
        target: str = "objective.beta",
        observe: str = "rate",
        name: str | None = None,
        enabled: bool = True,
    ) -> None:
        super().__init__(set_point, minimum, maximum, target, observe, warmup, unit, name, enabled)
        if (kp is None) != (ki is None):
            raise ValueError(f"give both gains or neither, got kp={kp} and ki={ki}.")
        if kp is not None and ki is not None and not (0 <= kp < math.inf and 0 < ki < math.inf):
            raise ValueError(f"gains must be positive and finite, got kp={kp} and ki={ki}.")
        if log_space and minimum <= 0:
            raise ValueError(f"log β needs minimum > 0, got {minimum}; or write log_space=False.")
        self.kp, self.ki, self.log_space = kp, ki, log_space
        self.average = whole("average", average)
        self._refuse_set_points(above=0.0 if kp is None else -math.inf)

    @override
    def begun(self, value: float) -> PI:
        return PI(math.log(value) if self.log_space else value)

    @override
    def updated(self, state: PI, observed: float, set_point: float) -> PI:
        recent = (*state.recent, observed)[-self.average :]
        average = math.fsum(recent) / len(recent)
        unit = 1.0 if self.kp is not None else max(set_point, average) / 4
        kp, ki = (_KP, _KI) if self.kp is None or self.ki is None else (self.kp, self.ki)
        error = (set_point - average) / unit
        return controlled(state._replace(recent=recent), error, kp, ki, *self._bounds)

    @override
    def number(self, state: PI) -> float:
        lower, upper = self._bounds
        if not lower < state.u < upper:  # exp(log x) may miss x by a rounding
            return self.minimum if state.u <= lower else self.maximum
        return math.exp(state.u) if self.log_space else state.u

    @property
    def _bounds(self) -> tuple[float, float]:
        return self.begun(self.minimum).u, self.begun(self.maximum).u

    @override
    def stuck(self, value: float, observed: float, set_point: float) -> bool:
        too_high = value >= self.maximum and observed > set_point
        return too_high or (value <= self.minimum and observed < set_point)
