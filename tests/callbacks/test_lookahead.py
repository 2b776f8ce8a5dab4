"""What is tried before the first batch is what comes: no less, and no more."""

import math
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback, GradientAccumulationScheduler, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from lightning_vae import (
    Anneal,
    BetaAnnealing,
    Constant,
    Cyclic,
    CyclicalAnnealing,
    FreeBitsAnnealing,
    Linear,
    Logistic,
    LogUniform,
    VAEModule,
)
from lightning_vae.callbacks.lookahead import extent, times
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.schedules import Schedule
from tests.callbacks.test_annealing import Pair


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
@pytest.mark.parametrize("per_unit", [1, 3])
def test_few_times_are_all_tried(count, per_unit):
    assert times(count, per_unit) == [k / per_unit for k in range(count)]


@pytest.mark.parametrize("count", [1001, 10_000, 123_457, 10_000_000])
def test_of_many_times_a_thousand_are_tried_with_both_ends(count):
    tried = times(count)
    assert len(tried) == 1001
    assert (tried[0], tried[-1]) == (0, count - 1)
    gaps = [after - before for before, after in pairwise(tried)]
    assert min(gaps) >= 0
    assert max(gaps) <= math.ceil(2 * count / 1000), "no long stretch is left out"


@pytest.mark.parametrize("period", [10, 100, 997, 1000, 1001, 5000])
def test_no_period_hides_its_top(period):
    """Evenly spaced times would meet the cycle at the same phase every time."""
    beta = Cyclic(Linear(0, 1, over=period), period=period)
    assert max(beta(t) for t in times(1_000_000)) > 0.98 * beta(period - 1)


def test_a_schedule_is_looked_along_to_its_end_or_for_some_cycles_or_a_thousand():
    assert extent(Linear(0, 1, over=7)) == 7
    assert extent(Linear(0, 1, over=0)) == 0
    assert extent(Cyclic(Linear(0, 1, over=5), period=10)) == 40
    assert extent(Constant(0, over=5) >> Cyclic(Linear(0, 1, over=5), period=10)) == 45
    endless = [Constant(0.5), Logistic(0, 1, midpoint=5, rate=1), LogUniform(0.1, 1, seed=0)]
    assert [extent(schedule) for schedule in endless] == [1000] * 3


# ---- the end of the fit ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Until(Schedule):
    """Legal before a time, and negative from it on."""

    illegal: float
    duration: float = math.inf

    def __call__(self, t: float) -> float:
        return -1.0 if t >= self.illegal else 0.5


class Noting(BetaAnnealing):
    """Note the times at which training steps were given a value."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.seen = []

    def on_train_batch_end(self, trainer, *args) -> None:
        super().on_train_batch_end(trainer, *args)
        self.seen.append(self._t)


class Stream(IterableDataset):
    """Five batches of two, which nobody can count beforehand."""

    def __iter__(self):
        return iter(torch.rand(10, 4))


def vae() -> VAEModule:
    return VAEModule(MLPEncoder((4,), 2, (4,)), MLPDecoder((4,), 2, (4,)))


def batches(n: int = 5) -> DataLoader:
    return DataLoader(torch.rand(2 * n, 4), 2)


ENDS = {
    "epochs": {"max_epochs": 3},
    "steps": {"max_steps": 12},
    "whole epochs of steps": {"max_steps": 10},
    "epochs before steps": {"max_epochs": 2, "max_steps": 12},
    "steps before epochs": {"max_epochs": 4, "max_steps": 12},
    "accumulated epochs": {"max_epochs": 3, "accumulate_grad_batches": 2},
    "accumulated steps": {"max_steps": 7, "accumulate_grad_batches": 2},
    "fewer batches": {"max_steps": 7, "limit_train_batches": 3},
    "many steps": {"max_steps": 40, "limit_train_batches": 1},
}
UNITS = {
    "epoch": {},
    "glide": {"glide": True},
    "step": {"unit": "step"},
    "run": {"unit": "run"},
}


def refused_before_any_batch(fit_with, annealing, data, **kwargs) -> bool:
    trainer = fit_with(callbacks=[annealing], **kwargs)
    try:
        trainer.fit(vae(), data)
    except ValueError:
        return trainer.global_step == 0
    return False


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("end", ENDS)
def test_the_last_value_that_comes_is_tried_and_none_beyond(fit_with, end, unit):
    noting = Noting(0.5, **UNITS[unit])
    fit_with(callbacks=[noting], **ENDS[end]).fit(vae(), batches())
    last = noting.seen[-1]
    for illegal, refused in ((last, True), (last + 1e-6, False)):
        annealing = BetaAnnealing(Until(illegal - 1e-9), **UNITS[unit])
        assert refused_before_any_batch(fit_with, annealing, batches(), **ENDS[end]) == refused


@pytest.mark.parametrize(
    ("unit", "end"), [("epoch", {"max_epochs": 3}), ("step", {"max_steps": 12})]
)
def test_so_it_is_without_a_known_number_of_batches(fit_with, unit, end):
    data = DataLoader(Stream(), 2)
    for illegal, refused in ((2 if unit == "epoch" else 11, True), (12, False)):
        annealing = BetaAnnealing(Until(illegal), unit)
        assert refused_before_any_batch(fit_with, annealing, data, **end) == refused


UNKNOWN = {
    "an endless fit": ({"max_epochs": -1}, batches),
    "a fit for some time": ({"max_time": "00:01:00:00"}, batches),
    "steps of unknown epochs": ({"max_steps": 2}, lambda: DataLoader(Stream(), 2)),
}


@pytest.mark.parametrize("schedule", [Linear(1, -1, over=30), Cyclic(Linear(1, -1, 9), period=10)])
@pytest.mark.parametrize("fit", UNKNOWN)
def test_in_a_fit_of_unknown_length_a_schedule_is_looked_along_by_itself(fit_with, fit, schedule):
    kwargs, data = UNKNOWN[fit]
    assert refused_before_any_batch(fit_with, BetaAnnealing(schedule), data(), **kwargs)


@pytest.mark.parametrize("unit", ["glide", "step"])
def test_the_end_itself_is_tried_where_the_fit_has_none(fit_with, unit):
    annealing = BetaAnnealing(Until(9, duration=9), **UNITS[unit])
    assert refused_before_any_batch(fit_with, annealing, batches(), max_epochs=-1)


def test_an_accumulation_that_changes_makes_epochs_of_unknown_steps(fit_with):
    changing = GradientAccumulationScheduler({0: 1, 1: 4})
    trainer = fit_with(max_steps=7, callbacks=[BetaAnnealing(Until(3, duration=3)), changing])
    with pytest.raises(ValueError, match="at t=3"):
        trainer.fit(vae(), batches())
    assert trainer.global_step == 0


# ---- what is said, and what is left ------------------------------------------------------------------


def test_an_illegal_value_is_refused_by_name_time_and_reason(fit_with):
    annealing = BetaAnnealing(Linear(1, -1, over=4))
    with pytest.raises(ValueError, match="no legal") as refused:
        fit_with(max_epochs=5, callbacks=[annealing]).fit(vae(), batches())
    assert str(refused.value) == (
        "BetaAnnealing(Linear(1, -1, over=4)) gives objective.beta no legal value at t=3: "
        "beta must be a finite number >= 0, or a tuple of them, one a group; got -0.5."
    )


class Spoilt(Schedule):
    """Legal until somebody spoils it: a schedule should be pure, but theirs need not be."""

    duration = 1.0
    value = 0.5

    def __call__(self, t: float) -> float:
        return self.value


class Spoil(Callback):
    def __init__(self, schedule: Spoilt, value: object) -> None:
        self.schedule, self.value = schedule, value

    def on_train_batch_start(self, trainer, *_) -> None:
        if trainer.global_step == 3:
            self.schedule.value = self.value


SPOILT = {
    "nan": (math.nan, "at t=3: it must be finite, got nan"),
    "inf": (math.inf, "at t=3: it must be finite, got inf"),
    "negative": (-1.0, "at t=3: beta must be a finite number >= 0"),
    "nothing": (None, "at t=3: .* not 'NoneType'"),
    "a word": ("high", "at t=3: .* 'high'"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_an_illegal_value_in_mid_run_leaves_the_last_legal_one(fit_with, case):
    value, message = SPOILT[case]
    schedule, module = Spoilt(), vae()
    annealing = BetaAnnealing(schedule, unit="step")
    trainer = fit_with(max_epochs=1, callbacks=[Spoil(schedule, value), annealing])
    with pytest.raises(ValueError, match=message):
        trainer.fit(module, batches())
    assert trainer.global_step == 3
    assert module.objective.beta == 0.5


def test_a_refusal_of_a_module_of_somebody_else_keeps_its_reason(fit_with):
    class Theirs(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)
            self._weight = 1.0

        @property
        def weight(self) -> float:
            return self._weight

        @weight.setter
        def weight(self, value: float) -> None:
            if value > 2:
                raise ValueError("too heavy")
            self._weight = value

        def training_step(self, batch, batch_idx):
            return self.layer(batch).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    module = Theirs()
    trainer = fit_with(max_epochs=5, callbacks=[Anneal("weight", Linear(1, 4, over=3))])
    with pytest.raises(ValueError, match=r"gives weight no legal value at t=2: too heavy"):
        trainer.fit(module, batches())
    assert module.weight == 1.0


# ---- what an objective is told -----------------------------------------------------------------------


class Planned(Callback):
    """Note what the objective was told, at every training step."""

    def __init__(self) -> None:
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, *_) -> None:
        self.seen.append(dict(pl_module.objective.planned))


def planned(fit_with, *callbacks, module=None, **kwargs) -> dict[str, float]:
    module, noting = module or vae(), Planned()
    trainer = fit_with(callbacks=[*callbacks, noting], **{"max_epochs": 2, **kwargs})
    trainer.fit(module, batches())
    assert all(each == noting.seen[0] for each in noting.seen)
    assert module.objective.planned == {}, "nothing is left after the fit"
    return noting.seen[0]


def test_an_objective_is_told_the_greatest_value_that_comes(fit_with):
    assert planned(fit_with) == {}
    assert planned(fit_with, BetaAnnealing(Linear(0, 4, over=4))) == {"beta": 1.0}
    assert planned(fit_with, BetaAnnealing(Linear(4, 0, over=4))) == {"beta": 4.0}
    assert planned(fit_with, BetaAnnealing(Linear(0, 1, over=1), "run")) == {"beta": 0.9}
    assert planned(fit_with, BetaAnnealing(0.5), FreeBitsAnnealing(0.25)) == {
        "beta": 0.5,
        "free_bits": 0.25,
    }
    assert planned(fit_with, BetaAnnealing(0.5, enabled=False)) == {}


def test_of_several_groups_it_is_told_the_greatest(fit_with):
    first, second = Anneal("objective.beta.0", 0.5), Anneal("objective.beta.-1", Linear(0, 4, 4))
    for pair in ([first, second], [second, first]):
        assert planned(fit_with, *pair, module=Pair()) == {"beta": 1.0}
    assert planned(fit_with, first, module=Pair()) == {"beta": 0.5}


def test_a_resume_is_told_what_the_whole_fit_was_told(fit_with, tmp_path):
    """So that it computes alike; and cycles that are held may be started again."""

    def cycles() -> CyclicalAnnealing:
        return CyclicalAnnealing(1, start=4.0, stop=0.0, unit="step", period=5)

    saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    assert planned(fit_with, cycles(), saves) == {"beta": 4.0}
    module, noting = vae(), Planned()
    trainer = fit_with(max_epochs=2, callbacks=[cycles(), noting])
    trainer.fit(module, batches(), ckpt_path=tmp_path / "step=8.ckpt")
    assert noting.seen == [{"beta": 4.0}] * 2
    assert module.objective.beta == 0.0


def test_nothing_is_told_of_a_refused_schedule_and_nothing_left_by_an_interrupted_fit(fit_with):
    module = vae()
    annealings = [BetaAnnealing(0.5), FreeBitsAnnealing(Until(1))]
    with pytest.raises(ValueError, match="no legal value"):
        fit_with(max_epochs=2, callbacks=annealings).fit(module, batches())
    assert module.objective.planned == {}
    schedule = Spoilt()
    callbacks = [Spoil(schedule, math.nan), BetaAnnealing(schedule, "step")]
    with pytest.raises(ValueError, match="no legal value"):
        fit_with(max_epochs=1, callbacks=callbacks).fit(module, batches())
    assert module.objective.planned == {}


def test_a_number_of_somebody_elses_is_moved_without_being_planned(fit_with):
    module = vae()
    module.kl_weight = 1.0
    assert planned(fit_with, Anneal("kl_weight", 0.5), module=module) == {}
    assert module.kl_weight == 0.5
