r"""Anneal: move a number by a schedule, exactly and across resumes.

The value at a training step is a pure function of the trainer's counters,

.. math:: \beta = s(t), \qquad t = \text{epoch},\ \text{optimizer steps, or their fraction of the run},

so there is nothing to lose on resume. It is set before every batch and written to the loggers with
the step whose loss it entered.
"""

import math
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from lightning_vae import clock
from lightning_vae.callbacks.lookahead import extent, times
from lightning_vae.callbacks.printing import as_written
from lightning_vae.callbacks.targets import Target, find
from lightning_vae.schedules import Constant, Schedule, as_schedule

__all__ = ["Anneal", "Unit"]

Unit = Literal["epoch", "step", "run"]

_LENGTHS = "lightning_vae_run_lengths"  # where a checkpoint keeps them, by target


class Anneal(Callback):
    r"""Move a number of any LightningModule by a schedule.

    Args:
        target: A dotted path from the LightningModule, such as ``"objective.beta"``, or
            ``"model.loss.kl_weight"`` in someone else's; ``"objective.beta.0"`` is one group's.
        schedule: The value over time; a float is a constant.
        unit: What t counts: ``"epoch"``; ``"step"``, optimizer steps (neither micro-batches nor a
            second optimizer's; batches under manual optimisation); ``"run"``, optimizer steps done
            over those of the whole fit, so the last step sees (T-1)/T.
        glide: With ``unit="epoch"``, let t move with every optimizer step within the epoch.
        name: What to log as ``schedule/<name>``; by default the target without ``objective.``.
        enabled: False leaves the target alone, as if the callback were not there.

    Raises:
        ValueError: before the first batch, if the target does not exist or is not a number, has
            a second owner, would be given a value that is not legal (up to a thousand values of
            the fit are tried), or t is not defined: glide and ``"run"`` need a known length.

    ``"epoch"`` has one exception to exact resume, which is Lightning's own: from a checkpoint
    saved at an epoch's end without validation under ``max_steps``, ``current_epoch`` turns over
    one batch late from then on. ``"step"`` has none.

    >>> from lightning_vae import Linear
    >>> Anneal("kl_weight", Linear(0, 1, over=1000), unit="step")
    Anneal('kl_weight', Linear(0, 1, over=1000), unit='step')
    """

    length: int | None  # optimizer steps of the fit, for unit="run"
    _t: float | None  # the time last applied

    def __init__(
        self,
        target: str,
        schedule: Schedule | float,
        unit: Unit = "epoch",
        glide: bool = False,
        name: str | None = None,
        enabled: bool = True,
    ) -> None:
        if not isinstance(target, str):
            raise ValueError(
                f"target must be a dotted path, such as 'objective.beta', got {target!r}."
            )
        if unit not in ("epoch", "step", "run"):
            raise ValueError(f"unit must be 'epoch', 'step' or 'run', got {unit!r}.")
        if glide and unit != "epoch":
            raise ValueError(f"glide moves within epochs: drop it with unit={unit!r}.")
        self.target, self.schedule = target, as_schedule(schedule)
        self.unit, self.glide, self.name, self.enabled = unit, glide, name, enabled
        self.key = f"schedule/{name or target.removeprefix('objective.')}"
        self._found: Target | None = None
        self._fits = True  # False while a checkpoint is only looked at
        self._last_shown: tuple[int | None, float | None] = (None, None)  # step written, value
        self._forget()

    def __repr__(self) -> str:
        return as_written(self)

    def value(self, t: float) -> float:
        """The value at time t, in the callback's unit."""
        return float(self.schedule(t))

    def time(self, trainer: Trainer, batch_idx: int = 0) -> float:
        """What t is now, from the trainer's counters alone."""
        if self.unit == "epoch":
            done = clock.within_epoch(trainer, batch_idx) if self.glide else 0.0
            return trainer.current_epoch + done
        if self.unit == "step":
            return float(clock.optimizer_steps(trainer))
        if self.length is None:
            raise RuntimeError(f"the length of the run in {self} is known from on_train_start on.")
        return clock.optimizer_steps(trainer) / self.length

    def rises(self, trainer: Trainer) -> bool:
        """Whether a value greater than the present one is still to come in this fit."""
        if self._found is None or self._t is None:
            return False
        now = self._found.get()
        return any(self.value(t) > now for t in self._times(trainer) if t > self._t)

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
            self._look_ahead(trainer)
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
            self._write(trainer)

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

    def _forget(self) -> None:
        """What belongs to one run, and not to the next with the same callback."""
        self.length = None
        self._t = None

    def _let_go(self) -> None:
        if self._found is not None:
            self._found.forget_plan()
            self._found = None

    def _apply(self, trainer: Trainer, batch_idx: int = 0) -> None:
        t = self.time(trainer, batch_idx)
        self._give(t)
        self._t = t

    def _give(self, t: float) -> float:
        """Set the target to its value at t; what is not legal leaves it as it was."""
        assert self._found is not None
        try:
            value = self.value(t)
            if not math.isfinite(value):
                raise ValueError(f"it must be finite, got {value}.")
            self._found.set(value)
        except (ArithmeticError, TypeError, ValueError) as reason:
            raise ValueError(
                f"{self} gives {self.target} no legal value at t={t:.9g}: {reason}"
            ) from reason
        return value

    def _write(self, trainer: Trainer) -> None:
        assert self._found is not None
        value, step = self._found.get(), clock.logger_step(trainer)
        last_step, last_value = self._last_shown
        epoch_changed = self.unit == "epoch" and not self.glide and value != last_value
        if step != last_step and (epoch_changed or clock.writes_now(trainer)):
            clock.write(trainer, {self.key: value})
            self._last_shown = (step, value)
        elif value != last_value:
            clock.expose(trainer, {self.key: value})
            self._last_shown = (last_step, value)

    def _refuse_rivals(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self._found is not None
        others = [c for c in clock.callbacks(trainer) if isinstance(c, Anneal) and c is not self]
        for other in (c for c in others if c.enabled):
            if self._found.overlaps(find(pl_module, other.target)):
                raise ValueError(
                    f"two callbacks move {self.target!r}: {self} and {other}; keep one, or chain "
                    f"their schedules: a >> b."
                )
            if other.key == self.key:
                raise ValueError(
                    f"two callbacks log {self.key!r}: {self} and {other}; give one another name: "
                    f"Anneal(..., name='...')."
                )

    def _warn_of_monitors(self, trainer: Trainer) -> None:
        """A loss that is weighed differently later compares with nothing."""
        for callback in clock.callbacks(trainer):
            monitor = str(getattr(callback, "monitor", None))
            if monitor.endswith("/loss") and not isinstance(self.schedule, Constant):
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
        if self.glide and not math.isfinite(trainer.num_training_batches):
            raise ValueError(
                f"glide in {self} needs a known number of batches an epoch; write "
                f"Trainer(limit_train_batches=...), or unit='step'."
            )

    def _look_ahead(self, trainer: Trainer) -> None:
        """Try the values of the whole fit: what is not legal is refused before any batch."""
        assert self._found is not None
        before = self._found.get()
        try:
            values = [self._give(t) for t in self._times(trainer)]
        finally:
            self._found.set(before)
        self._found.plan(max(values))

    def _times(self, trainer: Trainer) -> list[float]:
        """The times of the whole fit; where its end is not known, as far as the schedule goes."""
        # How many values a unit has: one, or one a step.
        per_unit = clock.steps_an_epoch(trainer) if self.glide else self.length or 1
        epochs, steps = clock.ends(trainer)
        end = {"epoch": epochs, "step": steps, "run": 1.0}[self.unit]
        if end == math.inf:
            end = extent(self.schedule) + 1 / per_unit
        return times(math.ceil(end * per_unit - 1e-9), per_unit)
