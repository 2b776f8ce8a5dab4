r"""Anneal: move a number by a schedule, exactly and across resumes.

The value at a training step is a pure function of the trainer's counters,

.. math:: \beta = s(t), \qquad t = \text{epoch},\ \text{optimizer steps, or their fraction of the run},

so there is nothing to lose on resume. It is set before every batch and written to the loggers with
the step whose loss it entered. A schedule that waits for a trigger counts t from where that was
met, which the checkpoint remembers.
"""

import math
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from typing_extensions import override

from lightning_vae import clock
from lightning_vae.callbacks.owner import Owner, Unit
from lightning_vae.callbacks.trigger import Seen, Trigger, When
from lightning_vae.schedules import Constant, Schedule, as_schedule

__all__ = ["Anneal", "Unit"]

_STARTS = "lightning_vae_starts"  # where a checkpoint keeps what triggers saw, by target


class Anneal(Owner):
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
        after: A condition on a logged metric, such as ``Plateau("val/distortion")``: the schedule
            stays at its first value until it is met, and counts t from the next batch on.

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

    _t: float | None  # the time last applied
    _seen: Seen  # what the trigger saw so far
    _origin: float | None  # t where the schedule began, if it waits for a trigger

    def __init__(
        self,
        target: str,
        schedule: Schedule | float,
        unit: Unit = "epoch",
        glide: bool = False,
        name: str | None = None,
        enabled: bool = True,
        after: Trigger | None = None,
    ) -> None:
        super().__init__(target, unit, name, enabled)
        if glide and unit != "epoch":
            raise ValueError(f"glide moves within epochs: drop it with unit={unit!r}.")
        if after is not None and not isinstance(after, Trigger):
            raise ValueError(
                f"after must be a Trigger, such as Plateau('val/distortion'), got {after!r}."
            )
        self.schedule, self.glide, self.after = as_schedule(schedule), glide, after

    def value(self, t: float) -> float:
        """The value at time t, in the callback's unit; with after, since that was met."""
        return float(self.schedule(t))

    @override
    def time(self, trainer: Trainer, batch_idx: int = 0) -> float:
        t = super().time(trainer, batch_idx)
        return t + clock.within_epoch(trainer, batch_idx) if self.glide else t

    @override
    def rises(self, trainer: Trainer) -> bool:
        if self._found is None or self._t is None:
            return False
        now, begun = self._found.get(), self._t if self._waits else self._origin or 0.0
        later = [t - begun for t in self._tried(trainer) if t > self._t]
        return any(self.value(t) > now for t in later)

    # ---- hooks -------------------------------------------------------------------------------------

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.enabled and self._seen.met and self._origin is None:
            self._origin = self.time(trainer, batch_idx)
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer, "validation")

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer, "epoch")

    @override
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self.after is not None:
            kept = {"seen": tuple(self._seen), "origin": self._origin}
            checkpoint.setdefault(_STARTS, {})[self.target] = kept

    @override
    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        super().on_load_checkpoint(trainer, pl_module, checkpoint)
        kept = checkpoint.get(_STARTS, {}).get(self.target)
        if self._fits and kept is not None:
            self._seen, self._origin = Seen(*kept["seen"]), kept["origin"]

    # ---- private -----------------------------------------------------------------------------------

    @property
    @override
    def moves(self) -> bool:
        return not isinstance(self.schedule, Constant)

    @override
    def _forget(self) -> None:
        super()._forget()
        self._t = None
        self._seen, self._origin = Seen(), None

    @override
    def _apply(self, trainer: Trainer, batch_idx: int = 0) -> None:
        t = self.time(trainer, batch_idx)
        self._set(self.value, self._since_start(t))
        self._t = t

    @property
    def _waits(self) -> bool:
        return self.after is not None and self._origin is None

    def _since_start(self, t: float) -> float:
        return 0.0 if self._waits else t - (self._origin or 0.0)

    def _look(self, trainer: Trainer, when: When) -> None:
        """Show the trigger its metric, until it is met."""
        after = self.after if self.enabled else None
        fitting = self._found is not None and not trainer.sanity_checking
        if fitting and after is not None and after.when == when and not self._seen.met:
            self._seen = after.see(self._seen, clock.metric(trainer, after.monitor, str(after)))

    @override
    def _end(self, trainer: Trainer, outputs: Any, batch_idx: int) -> None:
        self._write(trainer, at_once=self.unit == "epoch" and not self.glide)

    @override
    def _begin(self, trainer: Trainer) -> None:
        if self.glide and not math.isfinite(trainer.num_training_batches):
            raise ValueError(
                f"glide in {self} needs a known number of batches an epoch; write "
                f"Trainer(limit_train_batches=...), or unit='step'."
            )
        self._look_ahead(trainer)

    def _look_ahead(self, trainer: Trainer) -> None:
        """Try the values of the whole fit: what is not legal is refused before any batch."""
        assert self._found is not None
        before = self._found.get()
        try:
            values = [self._set(self.value, t) for t in self._tried(trainer)]
        finally:
            self._found.set(before)
        self._found.plan(max(values))

    def _tried(self, trainer: Trainer) -> list[float]:
        # How many values a unit has: one, or one a step.
        per_unit = clock.steps_an_epoch(trainer) if self.glide else self.length or 1
        return self._times(trainer, self.schedule, per_unit)
