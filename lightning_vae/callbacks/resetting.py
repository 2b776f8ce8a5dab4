"""What begins anew when a phase of training does: optimizer state, learning rate, submodules."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import nn
from typing_extensions import override

from lightning_vae import clock
from lightning_vae.callbacks.printing import as_written
from lightning_vae.evaluation import seeded

__all__ = ["Beginning", "Reset", "ResetAt", "reinitialise"]


@dataclass(frozen=True)
class Reset:
    """What begins anew: nothing by default.

    Args:
        optimizer: Whether all optimizers forget their state, such as Adam's moments.
        learning_rate: Whether all learning-rate schedulers start again from their beginning.
        modules: Submodules whose parameters are drawn anew, as dotted paths from the module, such
            as ``("decoder",)``; optimizers forget their state of these in any case.

    >>> Reset(optimizer=True, modules=("decoder",))
    Reset(optimizer=True, learning_rate=False, modules=('decoder',))
    """

    optimizer: bool = False
    learning_rate: bool = False
    modules: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.modules, str):
            raise ValueError(f"modules must be a sequence; write modules=({self.modules!r},).")


def refuse_no_reset(reset: object) -> None:
    """Refuse what is no :class:`Reset`."""
    if not isinstance(reset, Reset):
        raise ValueError(f"reset must be a Reset, got {reset!r}; write Reset(optimizer=True).")


def _positive(time: object) -> bool:
    if isinstance(time, bool) or not isinstance(time, int | float):
        return False
    return 0 < time < math.inf


def reinitialise(module: nn.Module, seed: int) -> None:
    """Draw a module's parameters anew, the same for the same seed, on every rank.

    Raises:
        ValueError: if it has parameters that no ``reset_parameters`` makes.

    >>> import torch
    >>> one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    >>> for module in (one, other):
    ...     reinitialise(module, seed=1)
    >>> torch.equal(one.weight, other.weight)
    True
    """
    resets = _resets(module)
    device = next((p.device for p in module.parameters()), None)
    if device is not None:
        with seeded(seed, device):
            for reset in resets:
                reset()


def _resets(module: nn.Module) -> list[Callable[[], None]]:
    resets = []
    for part in module.modules():
        # torch's attention has it under a private name alone.
        reset = getattr(part, "reset_parameters", getattr(part, "_reset_parameters", None))
        if reset is not None:
            resets.append(reset)
        elif any(True for _ in part.parameters(recurse=False)):
            raise ValueError(
                f"{type(part).__name__} has parameters, but no reset_parameters() to draw them "
                f"anew; give it one."
            )
    return resets


class Beginning:
    """The beginning of a fit, to go back to: made in ``on_fit_start``, before a checkpoint's state.

    Raises:
        ValueError: if there is nothing to reset, or no such submodule, or one that cannot be.
    """

    def __init__(self, reset: Reset, trainer: Trainer, pl_module: LightningModule) -> None:
        self.reset = reset
        self.modules = [_submodule(pl_module, path) for path in reset.modules]
        for module in self.modules:
            _resets(module)
        self.schedulers = [
            copy.deepcopy(config.scheduler.state_dict()) for config in trainer.lr_scheduler_configs
        ]
        self.rates = [[group["lr"] for group in o.param_groups] for o in trainer.optimizers]
        if reset.learning_rate and not self.schedulers:
            raise ValueError(
                "learning_rate=True restarts learning-rate schedulers, but there are none; write "
                "VAEModule(..., lr_scheduler=...)."
            )

    def again(self, trainer: Trainer, seed: int, said: str) -> None:
        """Begin again, and say so."""
        for k, module in enumerate(self.modules):
            reinitialise(module, seed + k)
        drawn = {parameter for module in self.modules for parameter in module.parameters()}
        for optimizer in trainer.optimizers:
            for parameter in list(optimizer.state):
                if self.reset.optimizer or parameter in drawn:
                    del optimizer.state[parameter]
        if self.reset.learning_rate:
            self._restart(trainer)
        rank_zero_info(f"{said} begins with a {self.reset}.")

    def _restart(self, trainer: Trainer) -> None:
        for config, state in zip(trainer.lr_scheduler_configs, self.schedulers, strict=True):
            config.scheduler.load_state_dict(copy.deepcopy(state))
        for optimizer, rates in zip(trainer.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate


def _submodule(pl_module: LightningModule, path: str) -> nn.Module:
    try:
        return pl_module.get_submodule(path)
    except AttributeError as reason:
        names = [name for name, _ in pl_module.named_children()]
        raise ValueError(f"modules has {path!r}: {reason}; there are {names}.") from reason


class ResetAt(Callback):
    r"""Begin a new phase of training at given times, by a :class:`Reset`.

    An autoencoder first, then its encoder with a new decoder and free bits, is a schedule that
    stays at 0, and a reset when it leaves it::

        BetaAnnealing(Constant(0, over=5) >> Linear(0, 1, over=10))
        ResetAt(5, Reset(optimizer=True, modules=("decoder",)))
        VAEModule(..., objective=ELBO(free_bits=0.25))

    It is done before the first batch of the phase, once, and not again when a run is resumed in it.

    Args:
        at: When, above 0; several times are several resets.
        reset: What begins anew.
        unit: What ``at`` counts, ``"epoch"`` or ``"step"`` (optimizer steps).

    Raises:
        ValueError: if a time is not above 0, or the unit is another; before the first batch, if
            what is to be reset is not there.

    Source: Li et al. 2019, "A Surprisingly Effective Fix for Deep Latent Variable Modeling of
    Text", section 3.

    >>> ResetAt(5, Reset(modules=("decoder",))).due(4.0), ResetAt((5, 8), Reset()).due(9)
    (0, 2)
    """

    done: int | None  # how many of the times have passed

    def __init__(
        self, at: float | Sequence[float], reset: Reset, unit: Literal["epoch", "step"] = "epoch"
    ) -> None:
        times = tuple(at) if isinstance(at, Sequence) else (at,)
        if not times or not all(map(_positive, times)):
            raise ValueError(f"at must be times above 0, got {at}; write 5, or (5, 8).")
        refuse_no_reset(reset)
        if unit not in ("epoch", "step"):
            raise ValueError(f"unit must be 'epoch' or 'step', got {unit!r}.")
        self.at, self.times, self.reset, self.unit = at, times, reset, unit
        self.done = None

    def __repr__(self) -> str:
        return as_written(self)

    def due(self, t: float) -> int:
        """How many resets are due at time t."""
        return sum(time <= t for time in self.times)

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.global_step == 0:
            self.done = None

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._beginning = Beginning(self.reset, trainer, pl_module)

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        epochs = self.unit == "epoch"
        due = self.due(trainer.current_epoch if epochs else clock.optimizer_steps(trainer))
        if self.done is not None and due > self.done:
            self._beginning.again(trainer, trainer.global_step, f"Phase {due} of {self}")
            clock.write(trainer, {"schedule/phase": float(due)})
        self.done = due

    @property
    @override
    def state_key(self) -> str:
        return self._generate_state_key(at=list(self.times), unit=self.unit)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.done = state_dict["done"]
