"""Owner: what every callback that moves a number of a module has in common."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from lightning_vae import clock
from lightning_vae.callbacks.lookahead import extent, times
from lightning_vae.callbacks.printing import as_written
from lightning_vae.callbacks.targets import Target, find
from lightning_vae.schedules import Schedule

__all__ = ["Owner", "Unit"]

Unit = Literal["epoch", "step", "run"]

_LENGTHS = "lightning_vae_run_lengths"  # where a checkpoint keeps them, by target
_LIMITS = ("capacity", "free_bits", "total_floor")
_NOTHING: Mapping[str, float] = MappingProxyType({})


class Owner(Callback, ABC):
    """The one callback that moves a number: it finds it, keeps rivals off, sets it and logs it.

    A subclass says how the number is set before a step, and what is done after one.

    Args:
        target: A dotted path from the LightningModule, such as ``"objective.beta"``.
        unit: What its time counts: ``"epoch"``, ``"step"`` or ``"run"``.
        name: What to log as ``schedule/<name>``; by default the target without ``objective.``.
        enabled: False leaves the target alone, as if the callback were not there.
    """

    length: int | None  # optimizer steps of the fit, for unit="run"

    def __init__(self, target: str, unit: Unit, name: str | None, enabled: bool) -> None:
        if not isinstance(target, str):
            raise ValueError(
                f"target must be a dotted path, such as 'objective.beta', got {target!r}."
            )
        if unit not in ("epoch", "step", "run"):
            raise ValueError(f"unit must be 'epoch', 'step' or 'run', got {unit!r}.")
        self.target, self.unit, self.name, self.enabled = target, unit, name, enabled
        self.key = f"schedule/{name or target.removeprefix('objective.')}"
        self._found: Target | None = None
        self._fits = True  # False while a checkpoint is only looked at
        self._last_shown: tuple[int | None, float | None] = (None, None)  # step written, value
        self._forget()

    def __repr__(self) -> str:
        return as_written(self)

    def time(self, trainer: Trainer, batch_idx: int = 0) -> float:
        """What t is now, from the trainer's counters alone."""
        if self.unit == "epoch":
            return float(trainer.current_epoch)
        if self.unit == "step":
            return float(clock.optimizer_steps(trainer))
        if self.length is None:
            raise RuntimeError(f"the length of the run in {self} is known from on_train_start on.")
        return clock.optimizer_steps(trainer) / self.length

    @property
    def limits(self) -> bool:
        """Whether the number holds the rate, as a capacity or a floor does, and weighs none."""
        return any(name in _LIMITS for name in self.target.split("."))

    def loosens(self, trainer: Trainer) -> bool:
        """Whether, later in this fit, more rate is asked for than now, by a set point or a limit."""
        return self.limits and self.rises(trainer)

    # ---- what a subclass says ----------------------------------------------------------------------

    @abstractmethod
    def rises(self, trainer: Trainer) -> bool:
        """Whether a value greater than the present one is still to come in this fit."""

    @property
    @abstractmethod
    def moves(self) -> bool:
        """Whether the value changes during a fit."""

    @abstractmethod
    def _begin(self, trainer: Trainer) -> None:
        """Before the first batch: refuse what cannot go well."""

    @abstractmethod
    def _apply(self, trainer: Trainer, batch_idx: int = 0) -> None:
        """Before a batch: set the target."""

    @abstractmethod
    def _end(self, trainer: Trainer, outputs: Any, batch_idx: int) -> None:
        """After a batch: write what entered its loss."""

    def _forget(self) -> None:
        """What belongs to one run, and not to the next with the same callback."""
        self.length = None

    # ---- hooks -------------------------------------------------------------------------------------

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._fits = stage == "fit"
        # A trainer that has done no step begins anew; what it resumes is loaded after this hook.
        if self._fits and trainer.global_step == 0:
            self._forget()

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_shown = (None, None)
        if self.enabled:
            self._found = find(pl_module, self.target)
            self._refuse_rivals(trainer, pl_module)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.enabled:
            self._settle_length(trainer)
            self._begin(trainer)
            self._warn_of_monitors(trainer)
            self._apply(trainer)

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.enabled:
            self._apply(trainer)

    # Also before every batch: a resume in mid-epoch calls no on_train_epoch_start.
    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.enabled:
            self._apply(trainer, batch_idx)

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self.enabled:
            self._end(trainer, outputs, batch_idx)

    @override
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # A killed run keeps what it logged up to its last checkpoint: event files wait 120 s.
        for logger in trainer.loggers:
            logger.save()
        if self.length is not None:
            checkpoint.setdefault(_LENGTHS, {})[self.target] = self.length

    @override
    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Lightning loads callbacks to validate and to test, too.
        if self._fits:
            self._forget()
            if self.unit == "run":
                self.length = checkpoint.get(_LENGTHS, {}).get(self.target)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._let_go()

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._let_go()

    # ---- private -----------------------------------------------------------------------------------

    def _let_go(self) -> None:
        if self._found is not None:
            self._found.forget_plan()
            self._found = None

    def _set(self, value_at: Callable[[float], float], t: float) -> float:
        """Set the target to its value at t; what is not legal leaves it as it was."""
        assert self._found is not None
        try:
            value = value_at(t)
            if not math.isfinite(value):
                raise ValueError(f"it must be finite, got {value}.")
            self._found.set(value)
        except (ArithmeticError, TypeError, ValueError) as reason:
            raise ValueError(
                f"{self} gives {self.target} no legal value at t={t:.9g}: {reason}"
            ) from reason
        return value

    def _times(self, trainer: Trainer, schedule: Schedule, per_unit: float) -> list[float]:
        """The times of the whole fit; where its end is not known, as far as the schedule goes."""
        epochs, steps = clock.ends(trainer)
        end = {"epoch": epochs, "step": steps, "run": 1.0}[self.unit]
        if end == math.inf:
            end = extent(schedule) + 1 / per_unit
        return times(math.ceil(end * per_unit - 1e-9), per_unit)

    def _write(
        self, trainer: Trainer, beside: Mapping[str, float] = _NOTHING, at_once: bool = False
    ) -> None:
        """Write the target's value, and what belongs beside it, with the step whose loss it entered.

        Args:
            trainer: Has the loggers.
            beside: What else changes at every step, by key.
            at_once: Whether to write a new value without waiting for the loggers' turn.
        """
        assert self._found is not None
        value, step = self._found.get(), clock.logger_step(trainer)
        last_step, last_value = self._last_shown
        due = (at_once and value != last_value) or clock.writes_now(trainer)
        if step != last_step and due:
            clock.write(trainer, {self.key: value, **beside})
            self._last_shown = (step, value)
        elif value != last_value or beside:
            clock.expose(trainer, {self.key: value, **beside})
            self._last_shown = (last_step, value)

    def _refuse_rivals(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self._found is not None
        others = [c for c in clock.callbacks(trainer) if isinstance(c, Owner) and c is not self]
        for other in (c for c in others if c.enabled):
            if self._found.overlaps(find(pl_module, other.target)):
                raise ValueError(
                    f"two callbacks move {self.target!r}: {self} and {other}; keep one, or chain "
                    f"their schedules: a >> b."
                )
            if other.key == self.key:
                raise ValueError(
                    f"two callbacks log {self.key!r}: {self} and {other}; give one another name: "
                    f"{type(self).__name__}(..., name='...')."
                )

    def _warn_of_monitors(self, trainer: Trainer) -> None:
        """A loss that is weighed differently later compares with nothing."""
        for callback in clock.callbacks(trainer):
            monitor = str(getattr(callback, "monitor", None))
            if monitor.endswith("/loss") and self.moves:
                rank_zero_warn(
                    f"{type(callback).__name__} watches {monitor}, whose meaning changes while "
                    f"{self.target} moves; watch val/elbo, with mode='max'."
                )

    def _settle_length(self, trainer: Trainer) -> None:
        if self.unit == "run":
            before, self.length = self.length, clock.run_length(trainer, self)
            if before not in (None, self.length):
                rank_zero_warn(
                    f"{self} began in a run of {before} steps and goes on in one of "
                    f"{self.length}: its fraction of the run, and so its value, jumps."
                )
