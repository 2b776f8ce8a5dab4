"""The optimizer by default, and what Lightning wants to know of a learning-rate scheduler."""

from collections.abc import Callable, Iterable
from typing import Any

from lightning.pytorch import Trainer
from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

__all__ = ["LRSchedulerCallable", "OptimizerCallable", "adam", "with_scheduler"]

OptimizerCallable = Callable[[Iterable[nn.Parameter]], Optimizer]
LRSchedulerCallable = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]

_FUSED = {"cpu", "cuda", "mps", "xpu"}


def adam(parameters: Iterable[nn.Parameter], trainer: Trainer) -> Optimizer:
    """Adam at 1e-3, fused where torch can and the trainer lets it."""
    parameters = list(parameters)
    # Lightning refuses to clip what a fused optimizer unscales by itself.
    clips_scaled = trainer.precision == "16-mixed" and trainer.gradient_clip_val
    fused = all(p.device.type in _FUSED for p in parameters) and not clips_scaled
    return Adam(parameters, lr=1e-3, fused=fused)


def with_scheduler(optimizer: Optimizer, scheduler: LRScheduler | ReduceLROnPlateau) -> Any:
    """The pair in Lightning's form: stepped once an epoch, a plateau watched on val/elbo.

    Raises:
        ValueError: if a plateau of val/elbo, which rises, is looked for with ``mode="min"``.
    """
    if not isinstance(scheduler, ReduceLROnPlateau):
        return [optimizer], [scheduler]
    monitor = getattr(scheduler, "monitor", "val/elbo")
    if monitor == "val/elbo" and scheduler.mode != "max":
        raise ValueError(
            f"lr_scheduler ReduceLROnPlateau watches val/elbo, which rises, with "
            f"mode={scheduler.mode!r}; write mode='max'."
        )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": monitor}}
