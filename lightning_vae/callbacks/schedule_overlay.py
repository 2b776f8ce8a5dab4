"""The coefficients and what they did, on one chart."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from lightning_vae import clock
from lightning_vae.arguments import whole
from lightning_vae.callbacks.owner import Owner
from lightning_vae.callbacks.printing import as_written
from lightning_vae.pictures.figure import rendered
from lightning_vae.pictures.loggers import chart, publish
from lightning_vae.pictures.overlay import overlay
from lightning_vae.pictures.thinning import thinned

__all__ = ["ScheduleOverlay"]

_TERMS = ("rate", "distortion", "elbo")
_POINTS = 1000


class ScheduleOverlay(Callback):
    """The schedules over rate, distortion and ELBO: a figure, and TensorBoard's custom scalars.

    It works with any LightningModule: it draws what was logged, as it stood at every step at which
    something was, and keeps up to a thousand points of it in the checkpoint, so that a resumed
    run's figure begins at the beginning.

    Args:
        terms: What is drawn of ``train/`` and ``val/`` besides all of ``schedule/``.
        every_n_epochs: Every how many epochs, at their end; and at the end of the fit.
        key: What the loggers call it.
        folder: Where to write it as a file as well, ``<key>-<step>.png``.

    Raises:
        ValueError: if ``every_n_epochs`` is not a whole number of at least 1.

    >>> ScheduleOverlay(every_n_epochs=5)
    ScheduleOverlay(every_n_epochs=5)
    """

    def __init__(
        self,
        terms: tuple[str, ...] = _TERMS,
        every_n_epochs: int = 1,
        key: str = "pictures/schedules",
        folder: str | None = None,
    ) -> None:
        self.terms, self.key, self.folder = tuple(terms), key, folder
        self.every_n_epochs = whole("every_n_epochs", every_n_epochs)
        self._curves: dict[str, tuple[list[int], list[float]]] = {}
        self._due: int | None = None  # the step whose values are to be read

    def __repr__(self) -> str:
        return as_written(self)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {key: [*curve] for key, curve in self._curves.items()}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._curves = {key: (list(x), list(y)) for key, (x, y) in state_dict.items()}

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # A trainer that has done no step begins anew; what it resumes is loaded after this hook.
        if stage == "fit" and trainer.global_step == 0:
            self._curves, self._due = {}, None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            scheduled = [
                c.key for c in clock.callbacks(trainer) if isinstance(c, Owner) and c.enabled
            ]
            charts = {
                f"{stage}: {', '.join(self.terms)}": [
                    *scheduled,
                    *(f"{stage}/{term}" for term in self.terms),
                ]
                for stage in ("train", "val")
            }
            chart(trainer.loggers, "lightning-vae", charts)

    # Values are read a hook after they were written, when every callback has had its turn.
    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._due is not None:
            self._read_step(trainer)

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if trainer.is_global_zero and clock.writes_step(trainer, batch_idx):
            self._due = clock.logger_step(trainer)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._read_step(trainer)
            if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
                self._show(trainer)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._read_step(trainer)
            self._keep(trainer.callback_metrics, clock.logger_step(trainer), "val/")

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and trainer.current_epoch % self.every_n_epochs != 0:
            self._show(trainer)

    # ---- private -----------------------------------------------------------------------------------

    def _read_step(self, trainer: Trainer) -> None:
        """Keep what was written at the last step, if anything was."""
        if self._due is not None:
            for stage in ("schedule/", "train/"):
                self._keep(clock.exposed(trainer), self._due, stage)
            self._due = None

    def _keep(self, metrics: Mapping[str, Tensor], step: int, stage: str) -> None:
        for key, value in metrics.items():
            wanted = stage == "schedule/" or key.removeprefix(stage) in self.terms
            if key.startswith(stage) and wanted:
                steps, values = self._curves.get(key, ([], []))
                self._curves[key] = thinned([*steps, step], [*values, float(value)], _POINTS)

    def _show(self, trainer: Trainer) -> None:
        if not self._curves or clock.rehearses(trainer):
            return
        drawn = rendered(overlay(dict(sorted(self._curves.items()))))
        folder = None if self.folder is None else Path(self.folder)
        step, otherwise = clock.last_step(trainer), Path(trainer.default_root_dir)
        publish(trainer.loggers, self.key, drawn, step, folder, otherwise)
