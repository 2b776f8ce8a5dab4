"""What a training step shows: a scalar of its output or of its log, and the mean over a window."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.objectives.ranks import mean_over_ranks

__all__ = ["mean", "observation"]


def observation(trainer: Trainer, outputs: Any, key: str) -> Tensor | None:
    """A scalar by its key in what ``training_step`` returned, or else in what it logged.

    Returns:
        A scalar where the module is, detached; None for a step that was left out.

    Raises:
        ValueError: if there is no such key, or its value is no scalar.
    """
    automatic = trainer.lightning_module.automatic_optimization
    if automatic and not outputs:
        return None
    if isinstance(outputs, Mapping) and key in outputs:
        value = torch.as_tensor(outputs[key]).detach()
        # Lightning has divided the loss that it hands out.
        scale = trainer.accumulate_grad_batches if automatic and key == "loss" else 1
    else:
        value, scale = _logged(trainer, outputs, key), 1
    if value.numel() != 1:
        raise ValueError(f"{key!r} has shape {tuple(value.shape)}; return its mean, a scalar.")
    seen = at_least_float32(value.reshape(())).to(trainer.strategy.root_device)
    return seen * scale if scale != 1 else seen


def _logged(trainer: Trainer, outputs: Any, key: str) -> Tensor:
    logged = trainer.callback_metrics
    if key not in logged:
        returned = sorted(outputs) if isinstance(outputs, Mapping) else []
        raise ValueError(
            f"there is no {key!r} to observe: training_step returned {returned}, and logged are "
            f"{sorted(logged)}. Return it beside the loss, {{'loss': loss, {key!r}: ...}}, or log it "
            f"at every step. Validation does not count."
        )
    return logged[key].detach()


def mean(window: Sequence[Tensor], device: torch.device) -> float | None:
    """The mean of what all ranks observed, read off the device in one go; None if that is nothing.

    >>> mean([torch.tensor(1.0), torch.tensor(2.0)], torch.device("cpu"))
    1.5
    """
    total = torch.stack(list(window)).sum() if window else torch.zeros((), device=device)
    count = total.new_full((), len(window))
    seen, times = mean_over_ranks(torch.stack([total, count])).tolist()
    return seen / times if times else None
