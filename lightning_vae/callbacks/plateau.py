"""Plateau: a metric that has stopped getting better."""

from dataclasses import dataclass
from typing import Literal

from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.callbacks.trigger import Seen, Trigger, When

__all__ = ["Plateau"]


@dataclass(frozen=True)
class Plateau(Trigger):
    """A metric has not got better for several looks at it, as when the reconstruction is learnt.

    A schedule waits for it at its first value: ``Anneal(..., after=Plateau("val/distortion"))``.
    What was seen is kept in the checkpoint. One saved in the step of a validation, but before it,
    resumes without that look: Lightning does not make up for the validation.

    Args:
        monitor: The metric's key, such as ``"val/distortion"``.
        patience: How many looks in a row without a better value make a plateau.
        min_delta: By how much, in the metric's unit, a value has to be better.
        mode: ``"min"`` where less is better, ``"max"`` where more is.
        when: ``"validation"`` looks after every validation, ``"epoch"`` after every epoch of
            training: for a metric of training.

    Raises:
        ValueError: if an argument is out of range.

    >>> plateau, seen = Plateau("val/distortion", patience=2, min_delta=0.5), Seen()
    >>> for value in (100.0, 90.0, 89.8, 89.7):
    ...     seen = plateau.see(seen, value)
    >>> seen
    Seen(best=90.0, waited=2, met=True)
    """

    monitor: str
    patience: int = 3
    min_delta: float = 0.0
    mode: Literal["min", "max"] = "min"
    when: When = "validation"

    def __post_init__(self) -> None:
        if not isinstance(self.monitor, str):
            raise ValueError(
                f"monitor must be a metric's key, such as 'val/distortion', got {self.monitor!r}."
            )
        whole("patience", self.patience)
        if not 0 <= self.min_delta < float("inf"):
            raise ValueError(f"min_delta must be finite and at least 0, got {self.min_delta}.")
        if self.mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {self.mode!r}.")
        if self.when not in ("validation", "epoch"):
            raise ValueError(f"when must be 'validation' or 'epoch', got {self.when!r}.")

    @override
    def see(self, seen: Seen, value: float) -> Seen:
        if seen.best is None or self._gain(seen.best, value) > self.min_delta:
            return seen._replace(best=value, waited=0)
        waited = seen.waited + 1
        return seen._replace(waited=waited, met=seen.met or waited >= self.patience)

    def _gain(self, best: float, value: float) -> float:
        return best - value if self.mode == "min" else value - best
