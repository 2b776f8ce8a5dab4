"""The optimizer by default, and what Lightning wants to know of a learning-rate scheduler."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from lightning.pytorch import Trainer
from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

__all__ = [
    "LRSchedulerCallable",
    "OptimizerCallable",
    "adam",
    "as_optimizer",
    "callable_or_none",
    "free_gradients",
    "step_plateaus",
    "step_schedulers",
    "with_scheduler",
]

OptimizerCallable = Callable[[Iterable[nn.Parameter]], Optimizer]
Scheduler = LRScheduler | ReduceLROnPlateau
LRSchedulerCallable = Callable[[Optimizer], Scheduler]

T = TypeVar("T")
_FUSED = {"cpu", "cuda", "mps", "xpu"}


def callable_or_none(name: str, value: T) -> T:
    """A callable as it is.

    Raises:
        TypeError: if it is an optimizer or scheduler that has been made already.
    """
    if value is None or callable(value):
        return value
    made = isinstance(value, Optimizer | LRScheduler | ReduceLROnPlateau)
    example = type(value).__name__ if made else "torch.optim.Adam"
    raise TypeError(
        f"{name} must be a callable that makes it, got {_said(value)}; write "
        f"{name}=functools.partial({example}, ...)."
    )


def _said(value: object) -> str:
    is_plain = isinstance(value, int | float | str)
    return repr(value) if is_plain else f"the {type(value).__name__} itself"


def as_optimizer(name: str, made: object) -> Optimizer:
    """What a callable has made.

    Raises:
        TypeError: if it is no optimizer.
    """
    if isinstance(made, Optimizer):
        return made
    raise TypeError(f"{name} must return an optimizer, got {made!r}; is its return missing?")


def adam(parameters: Iterable[nn.Parameter], trainer: Trainer) -> Optimizer:
    """Adam at 1e-3, fused where torch can and the trainer lets it."""
    parameters = list(parameters)
    # Lightning refuses to clip what a fused optimizer unscales by itself.
    clips_scaled = trainer.precision == "16-mixed" and trainer.gradient_clip_val
    fused = all(p.device.type in _FUSED for p in parameters) and not clips_scaled
    return Adam(parameters, lr=1e-3, fused=fused)


def with_scheduler(
    optimizer: Optimizer, scheduler: Scheduler | None, by_hand: bool = False
) -> dict[str, Any]:
    """The pair in Lightning's form: stepped once an epoch, a plateau watched on val/elbo.

    Args:
        optimizer: The optimizer.
        scheduler: Its scheduler.
        by_hand: Whether the module will step it, not Lightning.

    Raises:
        ValueError: if a plateau of val/elbo, which rises, is looked for with ``mode="min"``.
    """
    if scheduler is None:
        return {"optimizer": optimizer}
    if not isinstance(scheduler, ReduceLROnPlateau):
        return {"optimizer": optimizer, "lr_scheduler": scheduler}
    monitor = _monitor(scheduler)
    if monitor == "val/elbo" and scheduler.mode != "max":
        raise ValueError(
            f"lr_scheduler ReduceLROnPlateau watches val/elbo, which rises, with "
            f"mode={scheduler.mode!r}; write mode='max'."
        )
    watched = {} if by_hand else {"monitor": monitor}
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **watched}}


def free_gradients(trainer: Trainer) -> None:
    """Let go of the gradients of the last step."""
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


def step_schedulers(trainer: Trainer) -> None:
    """Step every scheduler but plateaus, as Lightning does where it optimises by itself.

    Called in an epoch's last step, so that a checkpoint of that step has the next learning rate.
    """
    for config in trainer.lr_scheduler_configs:
        if not isinstance(config.scheduler, ReduceLROnPlateau):
            config.scheduler.step()


def step_plateaus(trainer: Trainer) -> None:
    """Step every plateau, after an epoch and its validation.

    Raises:
        ValueError: if one watches what is not logged.
    """
    for config in trainer.lr_scheduler_configs:
        if not isinstance(config.scheduler, ReduceLROnPlateau):
            continue
        monitor, metrics = _monitor(config.scheduler), trainer.callback_metrics
        if monitor not in metrics:
            raise ValueError(
                f"lr_scheduler ReduceLROnPlateau watches {monitor!r}, which is not logged; there "
                f"is {sorted(metrics)}."
            )
        config.scheduler.step(metrics[monitor])


def _monitor(scheduler: ReduceLROnPlateau) -> str:
    return str(getattr(scheduler, "monitor", "val/elbo"))  # LightningCLI's own has one
