"""Hyperparameters that a checkpoint can hold and torch.load(weights_only=True) reads back."""

from collections.abc import Sequence
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.core.mixins import hparams_mixin
from lightning.pytorch.utilities.parsing import collect_init_args

__all__ = ["built_by_cli", "save_plain_hyperparameters"]


def save_plain_hyperparameters(
    module: LightningModule, frame: FrameType | None, ignore: Sequence[str] = ()
) -> None:
    """Save a module's constructor arguments: under LightningCLI all, as class paths; else plain ones.

    Only so can a checkpoint be resumed and loaded both by the CLI and in Python: it may hold
    neither networks (they are in the state) nor anything that needs pickle.

    Args:
        module: The module, within whose constructor this is called.
        frame: The constructor's frame.
        ignore: Arguments not to save outside the CLI.
    """
    if built_by_cli():
        module.save_hyperparameters()
        return
    given: dict[str, Any] = {}
    if frame is not None:
        for arguments in collect_init_args(frame, [], classes=(LightningModule,)):
            given.update(arguments)
    unsafe = [name for name, value in given.items() if not _is_plain(value)]
    module.save_hyperparameters(ignore=[*unsafe, *ignore], frame=frame)


def built_by_cli() -> bool:
    """Whether a module is being made from a configuration, or from a checkpoint of one."""
    # Private: Lightning offers no public way to ask.
    return hparams_mixin._given_hyperparameters.get() is not None


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(element) for element in value)
    if isinstance(value, dict):
        return all(_is_plain(element) for pair in value.items() for element in pair)
    return value is None or type(value) in (bool, int, float, str)
