"""EvaluationReport: the results of an evaluation beside the checkpoint, with where they come from."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from lightning_vae import checkpoints, clock
from lightning_vae.callbacks.owner import Owner
from lightning_vae.callbacks.printing import as_written

__all__ = ["EvaluationReport", "provenance", "written"]

_KEY = "lightning_vae_provenance"  # where a checkpoint keeps what it was trained by


def provenance(trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    """What decides a run: objective, coefficients, schedules, data, seed and versions; plain values.

    The parts of the data module are those of its public attributes that are plain values.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    seed = os.environ.get("PL_GLOBAL_SEED")
    schedules = [c for c in clock.callbacks(trainer) if isinstance(c, Owner) and c.enabled]
    return {
        "model": _name(module),
        "objective": repr(getattr(module, "objective", None)),
        "coefficients": _plain(checkpoints.coefficients(module)),
        "schedules": {c.target: repr(c) for c in schedules},
        "data": None if data is None else {"class": _name(data), **_settings(data)},
        "seed": None if seed is None else int(seed),
        "epoch": trainer.current_epoch,
        "step": trainer.global_step,
        "versions": {name: _version(name) for name in ("lightning-vae", "lightning", "torch")},
    }


def written(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON in one step: a reader finds the old file or the whole new one.

    Numbers that JSON lacks are written as strings, "nan" and "inf".

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "results.json"
    >>> written(path, {"nll": 80.5, "gap": math.nan})
    >>> json.loads(path.read_text())
    {'nll': 80.5, 'gap': 'nan'}
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")
    os.replace(part, path)


class EvaluationReport(Callback):
    """Write what ``validate`` and ``test`` find to a JSON beside the checkpoint they evaluate.

    ``last.ckpt`` gets ``last.validate.json`` or ``last.test.json``, anew at every evaluation; one
    without a checkpoint writes into the log folder. It holds ``metrics``, all that was logged; what
    other callbacks ``report()``, by their class; ``trained``, the provenance of the checkpoint
    (objective, coefficients, schedules, data, seed), where this callback was there as well when it
    was trained; and ``evaluated``, that of the evaluation. Only rank zero writes.

    Args:
        folder: Where to write instead.

    Raises:
        ValueError: before the first batch, if the checkpoint is not on this machine, and no folder
            is given.

    >>> EvaluationReport("results")
    EvaluationReport(folder='results')
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder
        self._trained: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return as_written(self)

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._trained = None
        if stage in ("validate", "test"):
            self.path(trainer)

    def path(self, trainer: Trainer) -> Path:
        """Where the results of this evaluation go."""
        stage, checkpoint = _stage(trainer), trainer.ckpt_path
        if checkpoint is None:
            anywhere = self.folder or trainer.log_dir or trainer.default_root_dir
            return Path(anywhere) / f"{stage}.json"
        if self.folder is None and "://" in str(checkpoint):
            raise ValueError(
                f"the checkpoint {checkpoint} is not on this machine; write "
                f"EvaluationReport(folder='results')."
            )
        beside = Path(checkpoint)
        folder = beside.parent if self.folder is None else Path(self.folder)
        return folder / f"{beside.stem}.{stage}.json"

    @override
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[_KEY] = provenance(trainer, pl_module)

    @override
    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._trained = checkpoint.get(_KEY)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._write(trainer, pl_module)

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, module: LightningModule) -> None:
        metrics = dict(trainer.callback_metrics)  # worked out on every rank
        if not trainer.is_global_zero:
            return
        attached = [c for c in clock.callbacks(trainer) if hasattr(c, "report")]
        content = {
            "checkpoint": None if trainer.ckpt_path is None else str(trainer.ckpt_path),
            "metrics": metrics,
            **{type(c).__name__: c.report() for c in attached},
            "trained": self._trained,
            "evaluated": provenance(trainer, module),
        }
        written(self.path(trainer), content)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # run from its source
        return None


def _stage(trainer: Trainer) -> str:
    return "validate" if trainer.state.fn is None else trainer.state.fn.value


def _name(made: object) -> str:
    return f"{type(made).__module__}.{type(made).__qualname__}"


def _settings(data: object) -> dict[str, Any]:
    """The public attributes of a data module that are plain values."""
    lightnings = vars(LightningDataModule())
    named = {k: v for k, v in vars(data).items() if not k.startswith("_") and k not in lightnings}
    said = {name: _said(value) for name, value in named.items()}
    return {name: value for name, value in said.items() if _is_plain(value)}


def _said(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value) if isinstance(value, Path) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
