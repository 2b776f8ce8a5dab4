"""A schedule that waits for a condition on a logged metric, and remembers when that was met."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader

from lightning_vae import Anneal, BetaAnnealing, Cosine, Linear
from lightning_vae.callbacks.plateau import Plateau
from lightning_vae.callbacks.trigger import Seen, Trigger

SCHEDULE = Cosine(0.25, 1, over=4)


@pytest.mark.parametrize(
    ("values", "kwargs", "met"),
    [
        ((3, 2, 1, 0), {"patience": 1}, None),
        ((3, 2, 2, 1), {"patience": 1}, 2),
        ((3, 2, 2, 1), {"patience": 2}, None),
        ((3, 2, 2.5, 2.1, 1), {"patience": 2}, 3),
        ((3, 2.9, 2.8, 2.7), {"patience": 2, "min_delta": 0.25}, 2),
        ((3, 2.9, 2.7, 2.6, 2.4), {"patience": 2, "min_delta": 0.25}, None),
        ((1, 2, 3, 3), {"patience": 1, "mode": "max"}, 3),
        ((3, 2), {"patience": 1, "mode": "max"}, 1),
    ],
)
def test_a_plateau_is_patience_looks_without_a_better_value(values, kwargs, met):
    plateau, seen, found = Plateau("x", **kwargs), Seen(), None
    for i, value in enumerate(values):
        seen = plateau.see(seen, value)
        found = i if seen.met and found is None else found
    assert found == met


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"monitor": 3}, "monitor must be a metric's key"),
        ({"patience": 0}, "patience must be a whole number"),
        ({"patience": True}, "patience must be a whole number"),
        ({"min_delta": -1.0}, "min_delta must be finite and at least 0"),
        ({"mode": "least"}, "mode must be 'min' or 'max', got 'least'"),
        ({"when": "batch"}, "when must be 'validation' or 'epoch', got 'batch'"),
    ],
)
def test_refused_at_construction(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Plateau(**{"monitor": "x", **kwargs})


def test_what_is_no_trigger_is_refused():
    with pytest.raises(ValueError, match=r"after must be a Trigger, such as Plateau.*got 'val/x'"):
        BetaAnnealing(Linear(0, 1, over=5), after="val/x")


class Logging(LightningModule):
    """Its metric falls until the fourth validation, and then no more."""

    def __init__(self, metric=(9.0, 5.0, 3.0, 2.0, 2.0, 4.0)) -> None:
        super().__init__()
        self.layer, self.kl_weight, self.metric = nn.Linear(4, 1), 0.5, metric
        self.seen, self.validations = {}, 0

    def on_save_checkpoint(self, checkpoint):
        checkpoint["validations"] = self.validations

    def on_load_checkpoint(self, checkpoint):
        self.validations = checkpoint["validations"]

    def training_step(self, batch, batch_idx):
        self.seen[self.current_epoch, batch_idx] = self.kl_weight
        self.log("train/x", self.metric[min(self.current_epoch, 5)], on_step=False, on_epoch=True)
        return self.layer(batch).square().mean()

    def validation_step(self, batch, batch_idx):
        if not self.trainer.sanity_checking:
            self.validations += 1
            self.log("val/x", self.metric[min(self.validations - 1, 5)])
        else:
            self.log("val/x", 0.0)  # would be the best there ever was

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Saves(Callback):
    """Every third step after its validation: one that is due Lightning does not make up for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step % 3:
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")

    def on_validation_end(self, trainer, *_):
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


def batches(n: int) -> DataLoader:
    return DataLoader(torch.rand(n, 4), 1)


UNITS = {  # what t is at an epoch and batch of six
    "epoch": ({"unit": "epoch"}, lambda epoch, batch: epoch),
    "glide": ({"glide": True}, lambda epoch, batch: epoch + batch / 6),
    "step": ({"unit": "step"}, lambda epoch, batch: 6 * epoch + batch),
    "run": ({"unit": "run"}, lambda epoch, batch: (6 * epoch + batch) / 48),
}


@pytest.mark.parametrize("patience", [1, 2])
@pytest.mark.parametrize("unit", UNITS)
def test_a_schedule_waits_and_resumes_exactly_wherever_it_was_cut(
    fit_with, tmp_path, unit, patience
):
    kwargs, time = UNITS[unit]
    schedule = Cosine(0.25, 1, over=0.2) if unit == "run" else SCHEDULE

    def run(ckpt_path=None):
        after = Plateau("val/x", patience=patience)
        annealing = Anneal("kl_weight", schedule, after=after, **kwargs)
        module = Logging()
        trainer = fit_with(
            max_epochs=8,
            val_check_interval=3,
            num_sanity_val_steps=1,
            callbacks=[annealing, Saves(tmp_path)],
        )
        trainer.fit(module, batches(6), batches(1), ckpt_path=ckpt_path)
        return module.seen

    whole = run()
    # Validation after batches 2 and 5: the fifth finds no better value, nor does the sixth.
    begins = {1: (2, 3), 2: (3, 0)}[patience]
    for (epoch, batch), value in whole.items():
        t = time(epoch, batch) - time(*begins)
        expected = schedule(t) if (epoch, batch) >= begins else 0.25
        assert value == pytest.approx(expected, abs=1e-12), (epoch, batch)
    checkpoints = sorted(tmp_path.glob("*.ckpt"), key=lambda path: int(path.stem))
    assert len(checkpoints) == 48
    for checkpoint in checkpoints[patience::3]:  # with and without the validation behind them
        torch.load(checkpoint, weights_only=True)
        resumed = run(checkpoint)
        assert all(whole[key] == value for key, value in resumed.items()), checkpoint.name


def test_a_metric_of_training_is_looked_at_after_every_epoch(fit_with):
    module = Logging()
    after = Plateau("train/x", patience=1, when="epoch")
    annealing = Anneal("kl_weight", SCHEDULE, after=after)
    fit_with(max_epochs=8, callbacks=[annealing]).fit(module, batches(2), batches(1))
    assert [module.seen[epoch, 0] for epoch in range(8)] == [
        *[0.25] * 5,
        *[SCHEDULE(t) for t in range(3)],
    ]


@dataclass(frozen=True)
class Below(Trigger):
    monitor: str
    value: float

    def see(self, seen, value):
        return seen._replace(met=value < self.value)


def test_a_condition_of_ones_own_will_do_and_once_met_stays_met(fit_with):
    module = Logging()
    annealing = Anneal("kl_weight", SCHEDULE, after=Below("val/x", 4.0))
    fit_with(max_epochs=8, callbacks=[annealing]).fit(module, batches(2), batches(1))
    assert [module.seen[epoch, 0] for epoch in range(8)] == [
        *[0.25] * 3,
        *[SCHEDULE(t) for t in range(5)],
    ]


def test_a_metric_that_is_not_there_is_refused_at_the_first_look(fit_with):
    annealing = Anneal("kl_weight", SCHEDULE, after=Plateau("val/y"))
    trainer = fit_with(max_epochs=2, callbacks=[annealing])
    with pytest.raises(ValueError, match=r"finds no metric 'val/y'; logged so far: .*'val/x'"):
        trainer.fit(Logging(), batches(2), batches(1))


def test_a_metric_that_is_not_finite_is_refused(fit_with):
    annealing = Anneal("kl_weight", SCHEDULE, after=Plateau("val/x"))
    trainer = fit_with(max_epochs=2, callbacks=[annealing])
    with pytest.raises(ValueError, match=r"val/x=nan, which is not finite"):
        trainer.fit(Logging(metric=(float("nan"),) * 6), batches(2), batches(1))


def test_a_new_trainer_waits_anew_and_a_validation_outside_of_a_fit_is_no_look(fit_with):
    annealing = Anneal("kl_weight", SCHEDULE, after=Plateau("val/x", patience=1))
    trainer = fit_with(max_epochs=8, callbacks=[annealing])
    trainer.fit(Logging(), batches(1), batches(1))
    module = Logging()
    again = fit_with(max_epochs=3, callbacks=[annealing])
    again.validate(module, batches(1), verbose=False)
    again.fit(module, batches(1), batches(1))
    assert set(module.seen.values()) == {0.25}
