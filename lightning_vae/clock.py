"""What Lightning counts and when it writes: the one place that reaches into its loops."""

from collections.abc import Mapping

import torch
from lightning.pytorch import Trainer
from torch import Tensor

__all__ = ["logger_step", "optimizer_steps", "write", "writes_now"]


def logger_step(trainer: Trainer) -> int:
    """The loggers' x axis: batches after which an optimizer stepped, whatever their number."""
    # Private, but what Lightning's own LearningRateMonitor reads; global_step counts every
    # optimizer, so it runs twice as fast under manual optimisation with two.
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


def optimizer_steps(trainer: Trainer) -> int:
    """Optimizer steps done so far, a second optimizer's not counted."""
    if trainer.lightning_module.automatic_optimization:
        return trainer.global_step
    return logger_step(trainer)


def writes_now(trainer: Trainer) -> bool:
    """Whether this training batch is one to write: the loggers' turn, or the last of an epoch."""
    return bool(trainer._logger_connector.should_update_logs) or trainer.is_last_batch


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
    trainer.callback_metrics.update(tensors)
