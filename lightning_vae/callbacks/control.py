r"""Control: what every controller of a coefficient has in common.

A controller watches training and moves a coefficient until what it observes is where it should be:

.. math:: \beta_{t+1} = h(s_{t+1}), \qquad s_{t+1} = f(s_t, o_t, c_t),

with a state s of a few plain floats, an observation o and a set point c. It observes the mean over
the batches whose gradients entered one optimizer step, on all ranks, and acts once a step: ranks
hold the same coefficient, and a resumed run goes on with the saved state. A coefficient is a Python
float, so every optimizer step waits once for the device. What validates does not count.
"""

import math
from abc import abstractmethod
from typing import Any, ClassVar

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from typing_extensions import override

from lightning_vae import clock
from lightning_vae.callbacks.lookahead import extent
from lightning_vae.callbacks.observation import mean, observation
from lightning_vae.callbacks.owner import Owner, Unit
from lightning_vae.schedules import Schedule, as_schedule

__all__ = ["Controller"]

_STEPS = 200  # at a bound, away from the set point, before it is said that it cannot be reached


class Controller(Owner):
    """Move a number until what is observed is at its set point.

    A subclass says what its state is, how an observation changes it, and what the number is then.

    Args:
        set_point: Where what is observed should be; a schedule moves it.
        minimum: The least value of the number.
        maximum: The greatest.
        target: A dotted path from the LightningModule.
        observe: A key of the dict that ``training_step`` returns, or of what it logs every step.
        warmup: A schedule of the number that comes first; control begins at its last value, when
            it is over. By default it begins at once, at the number the module has.
        unit: What the times of set_point and warmup count.
        name: What to log it as.
        enabled: False leaves the target alone.
    """

    State: ClassVar[type[Any]]  # a NamedTuple of plain floats
    asks_for_rate: ClassVar[bool] = True  # a greater set point does; of a tolerance, a smaller one
    argument: ClassVar[str] = "set_point"  # what a subclass calls it
    start: float | None = None  # where control begins, if not where the module is
    _state: Any  # None before control begins

    def __init__(
        self,
        set_point: Schedule | float,
        minimum: float,
        maximum: float,
        target: str,
        observe: str,
        warmup: Schedule | None,
        unit: Unit,
        name: str | None,
        enabled: bool,
    ) -> None:
        if not 0 <= minimum < maximum < math.inf:
            raise ValueError(
                f"needs 0 <= minimum < maximum, got {minimum} and {maximum}; what is not to move "
                f"needs no controller."
            )
        if not isinstance(observe, str):
            raise ValueError(f"observe must be a key, such as 'rate', got {observe!r}.")
        self.set_point, self.warmup, self.observe = self._scheduled(set_point), warmup, observe
        self.minimum, self.maximum = float(minimum), float(maximum)
        self._refuse_warmup()
        super().__init__(target, unit, name, enabled)
        shown = self.key.removeprefix("schedule/")
        self.set_point_key = f"control/{shown}/set_point"
        self.observed_key = f"control/{shown}/observed"

    @override
    def rises(self, trainer: Trainer) -> bool:
        """By what is left of the warm-up, or by what the last observation asks for."""
        if self._found is None:
            return False
        if self._state is None and self.warmup is not None:
            now, later = self._found.get(), self._later(trainer, self.warmup)
            return any(value > now for value in later) or self._observed_asks_for_more()
        return self._observed_asks_for_more()

    @override
    def loosens(self, trainer: Trainer) -> bool:
        later = self._later(trainer, self.set_point)
        return any(c > self._aim if self.asks_for_rate else c < self._aim for c in later)

    # ---- what a subclass says ----------------------------------------------------------------------

    @abstractmethod
    def begun(self, value: float) -> Any:
        """The state in which the number is this value."""

    @abstractmethod
    def updated(self, state: Any, observed: float, set_point: float) -> Any:
        """The state after one observation."""

    @abstractmethod
    def number(self, state: Any) -> float:
        """The number in a state, from minimum to maximum."""

    @abstractmethod
    def stuck(self, value: float, observed: float, set_point: float) -> bool:
        """Whether the number is at a bound, and should be beyond it."""

    # ---- state -------------------------------------------------------------------------------------

    @property
    @override
    def state_key(self) -> str:
        return self._generate_state_key(target=self.target)

    @override
    def state_dict(self) -> dict[str, Any]:
        state = None if self._state is None else self._state._asdict()
        return {"state": state, "steps_stuck": self._steps_stuck, "said": self._said}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._fits:
            saved = state_dict["state"]
            self._state = None if saved is None else self.State(**saved)
            self._steps_stuck, self._said = state_dict["steps_stuck"], state_dict["said"]

    # ---- private -----------------------------------------------------------------------------------

    @property
    @override
    def moves(self) -> bool:
        return True

    @override
    def _forget(self) -> None:
        super()._forget()
        self._state = None
        self._aim = math.nan  # the set point of the step
        self._observed: float | None = None  # in the last step
        self._window: list[Tensor] = []  # what was observed in the step's batches
        self._steps_stuck, self._said = 0, False

    @override
    def _begin(self, trainer: Trainer) -> None:
        assert self._found is not None
        # What a checkpoint in mid-window saw is gone, with the gradients of those batches.
        self._window = []
        before = self._found.get()
        if self.warmup is not None:
            for t in self.warmup.sample(1000)[0]:
                self._set(self.warmup, t)
        self._found.set(before)
        self._found.plan(self.maximum)
        if self._state is None:
            self._refuse_start()

    @override
    def _apply(self, trainer: Trainer, batch_idx: int = 0) -> None:
        t = self.time(trainer, batch_idx)
        self._aim = float(self.set_point(t))
        if self._state is None and (self.warmup is None or t >= self.warmup.duration):
            self._state = self.begun(self._handed_over())
        self._set(self._number_at, t)

    def _number_at(self, t: float) -> float:
        if self._state is None:
            assert self.warmup is not None
            return float(self.warmup(t))
        return self.number(self._state)

    def _handed_over(self) -> float:
        """The number at which control begins."""
        assert self._found is not None
        if self.warmup is not None:
            return float(self.warmup(self.warmup.duration))
        return float(self._found.get() if self.start is None else self.start)

    @override
    def _end(self, trainer: Trainer, outputs: Any, batch_idx: int) -> None:
        seen = observation(trainer, outputs, self.observe)
        if seen is not None:
            self._window.append(seen)
        if clock.closes_step(trainer, batch_idx):
            observed, self._window = mean(self._window, trainer.strategy.root_device), []
            if observed is not None:
                self._act(trainer, observed)

    def _act(self, trainer: Trainer, observed: float) -> None:
        if not math.isfinite(observed):
            raise ValueError(
                f"{self} observes {self.observe}={observed}; a training step that is to be left "
                f"out returns None."
            )
        self._observed = observed
        self._write(trainer, {self.set_point_key: self._aim, self.observed_key: observed})
        if self._state is not None:
            self._state = self.updated(self._state, observed, self._aim)
            self._say_if_stuck(observed)

    def _say_if_stuck(self, observed: float) -> None:
        value = self.number(self._state)
        stuck = self.stuck(value, observed, self._aim)
        self._steps_stuck = self._steps_stuck + 1 if stuck else 0
        if self._steps_stuck == _STEPS and not self._said:
            self._said = True
            rank_zero_warn(
                f"{self} has held {self.target} at its bound {value:g} for {_STEPS} steps, with "
                f"{self.observe}={observed:.4g} and a set point of {self._aim:.4g}: that cannot be "
                f"reached from {self.minimum:g} to {self.maximum:g}. Widen the bounds, or choose "
                f"another set point."
            )

    def _later(self, trainer: Trainer, schedule: Schedule) -> list[float]:
        """What a schedule still has for this fit."""
        now, times = self.time(trainer), self._times(trainer, schedule, self.length or 1)
        return [float(schedule(t)) for t in times if t > now]

    def _observed_asks_for_more(self) -> bool:
        """Without what the state remembers, which is of steps before."""
        if self._observed is None:
            return False
        value = self._handed_over() if self._state is None else self.number(self._state)
        return self.number(self.updated(self.begun(value), self._observed, self._aim)) > value

    def _scheduled(self, set_point: Schedule | float) -> Schedule:
        try:
            return as_schedule(set_point)
        except ValueError:
            raise ValueError(
                f"{self.argument} must be a Schedule or a finite number, got {set_point!r}."
            ) from None

    def _refuse_warmup(self) -> None:
        warmup = self.warmup
        if warmup is not None and not isinstance(warmup, Schedule):
            raise ValueError(f"warmup must be a Schedule, such as Linear(0, 1, 5), got {warmup!r}.")
        if warmup is not None and warmup.duration == math.inf:
            raise ValueError(
                f"warmup must end for control to begin, but {warmup} does not; write for example "
                f"Constant(0.1, over=5)."
            )

    def _refuse_start(self) -> None:
        assert self._found is not None
        held = self._found.get()
        if held is None and self.warmup is None and self.start is None:
            raise ValueError(f"{self.target} is None; give it the number to begin at.")
        if not self.minimum <= (value := self._handed_over()) <= self.maximum:
            raise ValueError(
                f"{self} begins with {self.target}={value:g}, which is not from minimum="
                f"{self.minimum:g} to maximum={self.maximum:g}; move a bound, or begin within them."
            )

    def _refuse_set_points(self, above: float = -math.inf) -> None:
        """Try the set points as far as the schedule goes."""
        for value in self.set_point.sample(1000, until=extent(self.set_point))[1]:
            if not above < value < math.inf:
                raise ValueError(
                    f"{self.argument} must be finite and above {above:g}, got {value:g} of "
                    f"{self.set_point}."
                )
