"""What Lightning counts and when it writes: the one place that reaches into its loops."""

import math
from collections.abc import Mapping

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from lightning_vae.objectives.ranks import mean_over_ranks

__all__ = [
    "callbacks",
    "closes_step",
    "ends",
    "expose",
    "exposed",
    "last_step",
    "logger_step",
    "metric",
    "optimizer_steps",
    "rehearses",
    "run_length",
    "show",
    "steps_an_epoch",
    "training_examples",
    "within_epoch",
    "write",
    "writes_now",
    "writes_step",
]


def logger_step(trainer: Trainer) -> int:
    """The loggers' x axis: batches after which an optimizer stepped, whatever their number."""
    # Private, but what Lightning's own LearningRateMonitor reads; global_step counts every
    # optimizer, so it runs twice as fast under manual optimisation with two.
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


def last_step(trainer: Trainer) -> int:
    """The last step on that axis after an epoch, which is where Lightning logs its means."""
    return max(logger_step(trainer) - 1, 0)


def optimizer_steps(trainer: Trainer) -> int:
    """Optimizer steps done so far; batches under manual optimisation, however many step."""
    if trainer.lightning_module.automatic_optimization:
        return trainer.global_step
    return logger_step(trainer)


def callbacks(trainer: Trainer) -> list[Callback]:
    """The trainer's callbacks, which it sets without declaring."""
    attached: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return attached


def rehearses(trainer: Trainer) -> bool:
    """Whether nothing is meant to be kept: the sanity check, or ``fast_dev_run``."""
    return bool(trainer.sanity_checking or trainer.fast_dev_run)  # type: ignore[attr-defined]


def steps_an_epoch(trainer: Trainer) -> float:
    """The optimizer steps of an epoch; inf where the number of batches is not known."""
    batches, window = trainer.num_training_batches, trainer.accumulate_grad_batches
    return math.ceil(batches / window) if math.isfinite(batches) else math.inf


def training_examples(trainer: Trainer) -> int | None:
    """How many examples the data set has that is trained on; None where that is not known."""
    try:
        return len(trainer.train_dataloader.dataset)  # type: ignore[union-attr]
    except (AttributeError, TypeError, NotImplementedError):  # several loaders, or an endless one
        return None


def within_epoch(trainer: Trainer, batch_idx: int) -> float:
    """The part of the epoch's optimizer steps that are done."""
    return (batch_idx // trainer.accumulate_grad_batches) / steps_an_epoch(trainer)


def ends(trainer: Trainer) -> tuple[float, float]:
    """The epochs and the optimizer steps of the whole fit; inf where they are not known."""
    epochs, steps = _limit(trainer.max_epochs), math.inf
    # Under manual optimisation max_steps counts every optimizer's steps, and our clock batches.
    if trainer.lightning_module.automatic_optimization:
        steps = _limit(trainer.max_steps)
    an_epoch = steps_an_epoch(trainer)
    if an_epoch == math.inf or _accumulation_changes(trainer):
        return epochs, steps
    return min(epochs, steps / an_epoch), min(steps, epochs * an_epoch)


def _limit(limit: int | None) -> float:
    return math.inf if limit is None or limit < 0 else limit


def _accumulation_changes(trainer: Trainer) -> bool:
    # By name: a pytorch_lightning Trainer has a class of its own.
    names = [cls.__name__ for other in callbacks(trainer) for cls in type(other).__mro__]
    return "GradientAccumulationScheduler" in names


def run_length(trainer: Trainer, callback: Callback) -> int:
    """The optimizer steps of the whole fit.

    Raises:
        ValueError: if it has no known length; the callback is the one that needs it.
    """
    if _accumulation_changes(trainer):
        raise ValueError(
            f"{callback} cannot tell the length of the run under a GradientAccumulationScheduler; "
            f"write unit='step' or unit='epoch'."
        )
    if not trainer.lightning_module.automatic_optimization and trainer.max_steps > 0:
        raise ValueError(
            f"{callback} cannot tell the length of the run under manual optimisation with "
            f"max_steps, which counts optimizer steps, not batches; write Trainer(max_epochs=...)."
        )
    length = trainer.estimated_stepping_batches
    if not 0 < length < math.inf:
        raise ValueError(
            f"{callback} needs a run of known length, got {length} steps; write "
            f"Trainer(max_steps=...), or unit='step'."
        )
    return int(length)


def writes_now(trainer: Trainer) -> bool:
    """Whether this training batch is one to write: the loggers' turn, or the last of an epoch."""
    return bool(trainer._logger_connector.should_update_logs) or trainer.is_last_batch


def closes_step(trainer: Trainer, batch_idx: int) -> bool:
    """Whether this training batch is the last that is accumulated: the optimizer steps on it."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch


def writes_step(trainer: Trainer, batch_idx: int) -> bool:
    """Whether to write, once an optimizer step: on the last batch that is accumulated."""
    return closes_step(trainer, batch_idx) and writes_now(trainer)


def metric(trainer: Trainer, key: str, wanted_by: str) -> float:
    """A logged metric, its mean over all ranks.

    Raises:
        ValueError: if there is none of that key, or it is not finite.
    """
    metrics = trainer.callback_metrics
    if key not in metrics:
        raise ValueError(f"{wanted_by} finds no metric {key!r}; logged so far: {sorted(metrics)}.")
    value = mean_over_ranks(metrics[key].detach().float()).item()
    if not math.isfinite(value):
        raise ValueError(f"{wanted_by} finds {key}={value}, which is not finite.")
    return value


def write(trainer: Trainer, scalars: Mapping[str, float]) -> None:
    """Write to every logger at the current step, and to the metrics that monitors read.

    Not ``self.log``: it costs 0.4 ms a key, is forbidden in some hooks, and drops what it is given
    on the last batch of a short epoch.
    """
    for logger in trainer.loggers:
        logger.log_metrics(dict(scalars), step=logger_step(trainer))
    expose(trainer, scalars)


def expose(trainer: Trainer, scalars: Mapping[str, float]) -> None:
    """Put scalars where ModelCheckpoint and EarlyStopping look, as tensors nobody else holds."""
    tensors: dict[str, Tensor] = {key: torch.tensor(value) for key, value in scalars.items()}
    # trainer.callback_metrics is this dictionary too, but works every metric out before it answers.
    trainer._logger_connector._callback_metrics.update(tensors)


def exposed(trainer: Trainer) -> Mapping[str, Tensor]:
    """What was put there, and what Lightning has put beside it so far."""
    # Not trainer.callback_metrics, which works every metric out before it answers.
    metrics: Mapping[str, Tensor] = trainer._logger_connector._callback_metrics
    return metrics


def show(trainer: Trainer, scalars: Mapping[str, float]) -> None:
    """Put scalars into the progress bar.

    Not ``self.log(prog_bar=True)``: after one call Lightning gathers its results at every step.
    """
    trainer.progress_bar_metrics.update(scalars)
