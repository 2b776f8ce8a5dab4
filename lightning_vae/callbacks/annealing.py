"""The coefficients of the objective, each with a callback that anneals it."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from lightning.pytorch import LightningModule, Trainer
from typing_extensions import override

from lightning_vae import clock
from lightning_vae.arguments import whole
from lightning_vae.callbacks.anneal import Anneal, Unit
from lightning_vae.callbacks.cycling import Event, begun, cycle, cycling
from lightning_vae.callbacks.resetting import Beginning, Reset, refuse_no_reset
from lightning_vae.callbacks.trigger import Trigger
from lightning_vae.schedules import Cyclic, Linear, Schedule

__all__ = [
    "BetaAnnealing",
    "CapacityAnnealing",
    "CyclicalAnnealing",
    "FreeBitsAnnealing",
]


class _CoefficientAnnealing(Anneal):
    """Anneal one coefficient of the module's objective."""

    coefficient: ClassVar[str]

    def __init__(
        self,
        schedule: Schedule | float,
        unit: Unit = "epoch",
        glide: bool = False,
        enabled: bool = True,
        after: Trigger | None = None,
    ) -> None:
        target = f"objective.{self.coefficient}"
        super().__init__(target, schedule, unit, glide, enabled=enabled, after=after)


class BetaAnnealing(_CoefficientAnnealing):
    r"""Move β, the weight of the rate: warm-up, cycles, or any schedule.

    Args:
        schedule: β over time; a float is a constant.
        unit: What t counts: ``"epoch"``, ``"step"`` or ``"run"``; see :class:`Anneal`.
        glide: With ``unit="epoch"``, move with every optimizer step.
        enabled: False leaves β alone.
        after: What to wait for, such as ``Plateau("val/distortion")``: see :class:`Anneal`.

    Source: Bowman et al. 2016, section 3.1; Sønderby et al. 2016, section 2.3.

    >>> from lightning_vae import Cyclic, Linear
    >>> BetaAnnealing(Cyclic(Linear(0, 1, over=5), period=10)).value(12)
    0.4
    """

    coefficient = "beta"


class FreeBitsAnnealing(_CoefficientAnnealing):
    r"""Move the free bits, the floor of the rate in nats.

    Takes what :class:`BetaAnnealing` takes.

    Source: Kingma et al. 2016, appendix C.8.

    >>> from lightning_vae import Linear
    >>> FreeBitsAnnealing(Linear(0.5, 0.0, over=20)).value(10)
    0.25
    """

    coefficient = "free_bits"


class CapacityAnnealing(_CoefficientAnnealing):
    r"""Move the capacity C of γ·\|R − C\|, in nats; γ is the objective's ``beta``.

    Takes what :class:`BetaAnnealing` takes.

    Source: Burgess et al. 2018, equation 8.

    >>> from lightning_vae import Linear
    >>> CapacityAnnealing(Linear(0, 25, over=100_000), unit="step").value(50_000)
    12.5
    """

    coefficient = "capacity"


class CyclicalAnnealing(_CoefficientAnnealing):
    r"""Move β in cycles: in each a ramp from start to stop, then stop until the next.

    .. math:: \beta(t) = \begin{cases} f(\tau / R) & \tau \le R \\ 1 & \tau > R \end{cases},
              \qquad \tau = t M \bmod 1

    The last cycle holds. From the next step on, ``stop_cycling()`` lets the running cycle finish
    and hold, and ``start_cycling()`` restarts held cycles; both are kept in the checkpoint. Under
    DDP call them on every rank. A fit with a new Trainer begins without them.

    Args:
        cycles: M, the number of cycles.
        ratio: R in (0, 1], the part of a cycle spent on the ramp.
        start: β at the start of a cycle.
        stop: β at the end of the ramp.
        shape: The ramp, made as ``shape(start, stop, over)``: Linear, Cosine, Sigmoid.
        unit: What t counts. With ``"run"`` the cycles fill the fit.
        period: The length of a cycle in that unit; needed for ``"epoch"`` and ``"step"``.
        enabled: False leaves β alone, whatever is called.
        reset: What else begins anew with every cycle but the first, see :class:`Reset`; nothing by
            default. The number of the cycle is then logged as ``schedule/cycle``.

    Raises:
        ValueError: if cycles or ratio are out of range, or a period is missing.
        TypeError: if shape makes no schedule.
        RuntimeError: if ``stop_cycling`` or ``start_cycling`` is called before training begins.

    Source: Fu et al. 2019, equations 6-7 (M = 4, R = 0.5).

    >>> CyclicalAnnealing(cycles=2, period=10, unit="epoch").value(12.5)
    0.5
    """

    coefficient = "beta"
    events: list[Event]
    cycle: tuple[float, int] | None  # the one that has begun, see :func:`cycling.cycle`

    def __init__(
        self,
        cycles: int = 4,
        ratio: float = 0.5,
        start: float = 0.0,
        stop: float = 1.0,
        shape: Callable[[float, float, float], Schedule] = Linear,
        unit: Unit = "run",
        period: float | None = None,
        enabled: bool = True,
        reset: Reset | None = None,
    ) -> None:
        if not callable(shape):
            raise TypeError(f"shape must make a schedule, got {shape!r}; write shape=Linear.")
        if not isinstance(ratio, int | float) or not 0 < ratio <= 1:
            raise ValueError(f"ratio must be in (0, 1], got {ratio!r}; Fu et al. use 0.5.")
        if period is None and unit in ("epoch", "step"):
            raise ValueError(f"period is needed with unit={unit!r}: the length of a cycle in it.")
        if period is not None and period > 1 and unit == "run":
            raise ValueError(
                f"period={period} is longer than the run, which is 1; leave it out, or count in "
                f"unit='epoch' or unit='step'."
            )
        if reset is not None:
            refuse_no_reset(reset)
        self.cycles, self.ratio, self.period = whole("cycles", cycles), ratio, period
        self.start, self.stop, self.shape, self.reset = start, stop, shape, reset
        length = 1 / cycles if period is None else period
        self.cyclic = Cyclic(shape(start, stop, ratio * length), period=length, cycles=cycles)
        super().__init__(self.cyclic, unit, enabled=enabled)

    def stop_cycling(self) -> None:
        """Let the running cycle finish, and hold its end."""
        self._call("stop")

    def start_cycling(self) -> None:
        """Restart at the next step if held; before that, cancel a pending stop and change nothing."""
        self._call("start")

    @override
    def value(self, t: float) -> float:
        return cycling(self.cyclic, self.events, t)

    @property
    @override
    def state_key(self) -> str:
        return self._generate_state_key(target=self.target)

    @override
    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"events": [tuple(event) for event in self.events]}
        return state if self.reset is None else {**state, "cycle": self.cycle}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._fits:
            self.events = [Event(*event) for event in state_dict["events"]]
            self.cycle = state_dict.get("cycle")

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        if self.enabled and self.reset is not None:
            self._beginning = Beginning(self.reset, trainer, pl_module)

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if self.enabled and self.reset is not None:
            self._begin_cycle(trainer)

    @override
    def _apply(self, trainer: Trainer, batch_idx: int = 0) -> None:
        t = self.time(trainer, batch_idx)
        self.events = [begun(event, t) for event in self.events]
        super()._apply(trainer, batch_idx)

    @override
    def _forget(self) -> None:
        super()._forget()
        self.events, self.cycle = [], None

    def _begin_cycle(self, trainer: Trainer) -> None:
        assert self._t is not None
        now = cycle(self.cyclic, self.events, self._t)
        if self.cycle is not None and tuple(self.cycle) != now:
            self._beginning.again(trainer, seed=trainer.global_step, said=f"{self}, cycle {now[1]}")
            clock.write(trainer, {"schedule/cycle": float(now[1])})
        self.cycle = now

    def _call(self, kind: Literal["stop", "start"]) -> None:
        if not self.enabled:
            return
        if self._t is None:
            raise RuntimeError(
                f"{kind}_cycling() counts from a step of the run, and none has begun; call it from "
                f"on_train_batch_start on, in a hook of the module or of a callback."
            )
        self.events.append(Event(kind, self._t))
