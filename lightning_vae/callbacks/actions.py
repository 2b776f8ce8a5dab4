"""What to do about a collapse, by itself: raise the floor, restart the cycle, back β off."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from lightning.pytorch import LightningModule, Trainer

from lightning_vae import clock
from lightning_vae.callbacks.annealing import CyclicalAnnealing
from lightning_vae.callbacks.owner import Owner
from lightning_vae.callbacks.targets import Target, find

__all__ = ["Action", "LowerBeta", "RaiseFloor", "RestartCycle"]


class Action(ABC):
    """Something that is done to a module in training, on every rank alike."""

    @abstractmethod
    def prepare(self, trainer: Trainer, module: LightningModule) -> None:
        """Look that it can be done, before the first batch.

        Raises:
            ValueError: if it cannot.
        """

    @abstractmethod
    def act(self, trainer: Trainer, module: LightningModule) -> dict[str, float]:
        """Do it; the values that were set, by target, for a resumed run to set again."""


@dataclass(frozen=True)
class LowerBeta(Action):
    """Multiply β by a factor, down to a least value.

    Args:
        factor: In (0, 1).
        least: The value below which it does not go.
        target: What is lowered, a path from the module.

    Raises:
        ValueError: if a number is out of its range; before the first batch, if a callback owns the
            target, which would undo it at the next step.

    >>> LowerBeta(factor=0.5)
    LowerBeta(factor=0.5, least=0.01, target='objective.beta')
    """

    factor: float = 0.5
    least: float = 0.01
    target: str = "objective.beta"

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must be in (0, 1), got {self.factor}.")
        if not self.least >= 0:
            raise ValueError(f"least must be 0 or more, got {self.least}.")

    def prepare(self, trainer: Trainer, module: LightningModule) -> None:
        _unowned(trainer, module, self.target, self)

    def act(self, trainer: Trainer, module: LightningModule) -> dict[str, float]:
        target = find(module, self.target)
        value = min(float(target.get()), max(self.least, target.get() * self.factor))
        target.set(value)
        return {self.target: value}


@dataclass(frozen=True)
class RaiseFloor(Action):
    """Add to the free bits, up to a greatest value.

    Args:
        by: Nats to add.
        most: The value above which it does not go.
        target: What is raised, a path from the module.

    Raises:
        ValueError: if a number is out of its range; before the first batch, if a callback owns the
            target, which would undo it at the next step.

    >>> RaiseFloor(by=0.05)
    RaiseFloor(by=0.05, most=0.5, target='objective.free_bits')
    """

    by: float = 0.1
    most: float = 0.5
    target: str = "objective.free_bits"

    def __post_init__(self) -> None:
        if not 0 < self.by <= self.most:
            raise ValueError(f"by must be above 0 and at most most={self.most}, got {self.by}.")

    def prepare(self, trainer: Trainer, module: LightningModule) -> None:
        # What a floor cannot be put on is refused at the first batch, not when it is raised.
        _unowned(trainer, module, self.target, self).plan(self.most)

    def act(self, trainer: Trainer, module: LightningModule) -> dict[str, float]:
        target = find(module, self.target)
        value = max(float(target.get()), min(self.most, target.get() + self.by))
        target.set(value)
        return {self.target: value}


@dataclass(frozen=True)
class RestartCycle(Action):
    """Start the cycles of β anew, through the :class:`CyclicalAnnealing` that owns them.

    Cycles that still run go on as they are; those that are held begin again at the next step.

    Raises:
        ValueError: before the first batch, if there is no CyclicalAnnealing.

    >>> RestartCycle()
    RestartCycle()
    """

    def prepare(self, trainer: Trainer, module: LightningModule) -> None:
        if not _cycles(trainer):
            raise ValueError(
                f"{self} needs cycles to restart: add CyclicalAnnealing() to the callbacks."
            )

    def act(self, trainer: Trainer, module: LightningModule) -> dict[str, float]:
        for cycles in _cycles(trainer):
            cycles.start_cycling()
        return {}  # the callback keeps its own events


def _cycles(trainer: Trainer) -> list[CyclicalAnnealing]:
    attached = clock.callbacks(trainer)
    return [c for c in attached if isinstance(c, CyclicalAnnealing) and c.enabled]


def _unowned(trainer: Trainer, module: LightningModule, path: str, action: Action) -> Target:
    target = find(module, path)
    attached = clock.callbacks(trainer)
    for other in (c for c in attached if isinstance(c, Owner) and c.enabled):
        if target.overlaps(find(module, other.target)):
            raise ValueError(
                f"{action} would move {path!r}, but {other} owns it and sets it at every step; "
                f"take that out, or write action=RestartCycle() with CyclicalAnnealing()."
            )
    return target
