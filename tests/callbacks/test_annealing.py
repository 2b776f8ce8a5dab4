"""The coefficient that a training step sees is the schedule's value, whatever happened before."""

import math
import pickle
import warnings
from pathlib import Path

import pytest
import pytorch_lightning
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import (
    Callback,
    GradientAccumulationScheduler,
    ModelCheckpoint,
)
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.tuner import Tuner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from lightning_vae import (
    ELBO,
    Anneal,
    BetaAnnealing,
    CapacityAnnealing,
    Constant,
    Cosine,
    CyclicalAnnealing,
    FreeBitsAnnealing,
    Linear,
    Piecewise,
    VAEModule,
)
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.schedules import Schedule

STEPS = 12


class Seen(VAEModule):
    """A VAE that notes what every training step saw."""

    def __init__(self, objective=None) -> None:
        super().__init__(
            MLPEncoder((4,), latent=2, hidden=(4,)),
            MLPDecoder((4,), latent=2, hidden=(4,)),
            objective=objective,
        )
        self.seen = {}
        self.seen_in_validation = []

    def training_step(self, batch, batch_idx):
        key = (self.current_epoch, batch_idx)
        self.seen[key] = (self.trainer.global_step, self.objective.beta)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        beta = self.objective.beta
        self.seen_in_validation.append((self.trainer.sanity_checking, self.global_step, beta))
        super().validation_step(batch, batch_idx, dataloader_idx)


def batches(n: int, size: int = 2) -> DataLoader:
    return DataLoader(torch.rand(n * size, 4, generator=torch.Generator().manual_seed(1)), size)


RAMPS = {
    "epoch": (BetaAnnealing, {"schedule": Linear(0, 1, over=3)}),
    "glide": (BetaAnnealing, {"schedule": Cosine(0.1, 1, over=3), "glide": True}),
    "step": (BetaAnnealing, {"schedule": Linear(0, 1, over=9), "unit": "step"}),
    "run": (BetaAnnealing, {"schedule": Cosine(0, 1, over=0.7), "unit": "run"}),
}


def expected(mode: str, epoch: int, batch_idx: int, step: int, window: int, n: int) -> float:
    schedule = RAMPS[mode][1]["schedule"]
    within = (batch_idx // window) / math.ceil(n / window)
    t = {"epoch": epoch, "glide": epoch + within, "step": step, "run": step / STEPS}[mode]
    return schedule(t)


@pytest.mark.parametrize(
    "length", [{"max_epochs": 0}, {"max_steps": STEPS}], ids=["epochs", "steps"]
)
@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("mode", RAMPS)
def test_resumed_at_any_step_a_run_sees_what_the_uninterrupted_one_saw(
    fit_with, tmp_path, mode, window, length
):
    n = 4 if window == 1 else 5  # the last window of an epoch is cut short
    if "max_epochs" in length:
        length = {"max_epochs": STEPS // math.ceil(n / window)}

    def run(ckpt_path=None):
        callback, kwargs = RAMPS[mode]
        saves = ModelCheckpoint(tmp_path / "saved", "{step}", every_n_train_steps=1, save_top_k=-1)
        trainer = fit_with(
            callbacks=[callback(**kwargs), saves], accumulate_grad_batches=window, **length
        )
        vae = Seen()
        trainer.fit(vae, batches(n), ckpt_path=ckpt_path)
        assert trainer.global_step == STEPS
        return vae.seen

    whole = run()
    assert len(whole) == STEPS if window == 1 else len(whole) == 20
    for (epoch, batch_idx), (step, beta) in whole.items():
        assert beta == expected(mode, epoch, batch_idx, step, window, n)
    checkpoints = sorted(Path(tmp_path / "saved").glob("*.ckpt"))
    assert len(checkpoints) == STEPS
    compared = 0
    for checkpoint in checkpoints:
        resumed = run(checkpoint)
        assert all(whole[key] == seen for key, seen in resumed.items()), checkpoint.name
        compared += len(resumed)
    assert compared == len(whole) * (STEPS - 1) / 2 or window == 2


def test_the_one_exception_is_lightnings_own_epoch_counter(fit_with, tmp_path):
    """Saved at an epoch's end without validation under max_steps, it turns one batch late."""

    def run(ckpt_path=None):
        saves = ModelCheckpoint(tmp_path / "saved", "{step}", every_n_epochs=1, save_top_k=-1)
        vae = Seen()
        trainer = fit_with(callbacks=[BetaAnnealing(Linear(0, 1, over=3)), saves], max_steps=STEPS)
        trainer.fit(vae, batches(4), ckpt_path=ckpt_path)
        return dict(vae.seen.values())

    whole = run()
    resumed = run(tmp_path / "saved" / "step=4.ckpt")
    wrong = {step for step, beta in resumed.items() if whole[step] != beta}
    assert wrong == {4, 8}, "the first batch of every epoch still has the last one's value"


def test_validation_in_mid_epoch_sees_the_last_value_and_the_sanity_check_moves_nothing(fit_with):
    vae = Seen(ELBO(beta=0.5))
    trainer = fit_with(
        max_epochs=2,
        val_check_interval=2,
        num_sanity_val_steps=1,
        callbacks=[BetaAnnealing(Linear(0, 1, over=10), unit="step")],
    )
    trainer.fit(vae, batches(4), batches(1))
    assert vae.seen_in_validation[0] == (True, 0, 0.5)
    assert [beta for _, _, beta in vae.seen_in_validation[1:]] == [0.1, 0.3, 0.5, 0.7]
    assert [beta for _, beta in vae.seen.values()] == [Linear(0, 1, over=10)(t) for t in range(8)]


def test_a_second_fit_goes_on_and_a_new_trainer_starts_anew(fit_with):
    vae, annealing = Seen(), BetaAnnealing(Linear(0, 1, over=8), unit="step")
    trainer = fit_with(max_epochs=1, callbacks=[annealing])
    trainer.fit(vae, batches(4))
    trainer.fit_loop.max_epochs = 2
    trainer.fit(vae, batches(4))
    assert [beta for _, beta in vae.seen.values()] == [t / 8 for t in range(8)]
    vae.seen.clear()
    fit_with(max_epochs=1, callbacks=[annealing]).fit(vae, batches(4))
    assert [beta for _, beta in vae.seen.values()] == [t / 8 for t in range(4)]


def test_the_learning_rate_finder_runs_at_the_constructors_value(fit_with):
    vae = Seen(ELBO(beta=0.5))
    vae.lr = 1e-3
    vae._optimizer = lambda parameters: torch.optim.Adam(parameters, lr=vae.lr)
    trainer = fit_with(max_epochs=1, callbacks=[BetaAnnealing(0.25)])
    Tuner(trainer).lr_find(vae, batches(8), num_training=5)
    assert {beta for _, beta in vae.seen.values()} == {0.5}
    vae.seen.clear()
    trainer.fit(vae, batches(4))
    assert {beta for _, beta in vae.seen.values()} == {0.25}


class TwoOptimizers(LightningModule):
    """Manual optimisation; the second optimizer steps at every other batch only."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.a, self.b = nn.Linear(4, 1), nn.Linear(4, 1)
        self.kl_weight = 1
        self.seen = {}

    def training_step(self, batch, batch_idx):
        self.seen[self.current_epoch, batch_idx] = self.kl_weight
        for i, optimizer in enumerate(self.optimizers()):
            if i == 0 or batch_idx % 2:
                optimizer.zero_grad()
                self.manual_backward((self.a, self.b)[i](batch).square().mean())
                optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(m.parameters(), 0.1) for m in (self.a, self.b)]


@pytest.mark.parametrize("unit", ["step", "run"])
def test_two_optimizers_in_manual_optimisation_do_not_run_the_clock_twice_as_fast(
    fit_with, tmp_path, unit
):
    over = 1.0 if unit == "run" else 12

    def run(ckpt_path=None):
        saves = ModelCheckpoint(tmp_path / unit, "{step}", every_n_train_steps=1, save_top_k=-1)
        module = TwoOptimizers()
        annealing = Anneal("kl_weight", Linear(0, 1, over=over), unit=unit)
        trainer = fit_with(max_epochs=3, callbacks=[annealing, saves])
        trainer.fit(module, batches(4), ckpt_path=ckpt_path)
        return module.seen

    whole = run()
    assert list(whole.values()) == [pytest.approx(t / 12, abs=1e-15) for t in range(12)]
    checkpoints = list((tmp_path / unit).glob("*.ckpt"))
    assert len(checkpoints) >= 10
    for checkpoint in checkpoints:
        resumed = run(checkpoint)
        assert all(whole[key] == value for key, value in resumed.items()), checkpoint.name


def test_an_iterable_of_unknown_length_can_be_annealed_by_steps(fit_with):
    class Endless(IterableDataset):
        def __iter__(self):
            while True:
                yield torch.rand(4)

    vae = Seen()
    trainer = fit_with(max_steps=5, callbacks=[BetaAnnealing(Linear(0, 1, over=4), unit="run")])
    trainer.fit(vae, DataLoader(Endless(), batch_size=2))
    assert [beta for _, beta in vae.seen.values()] == [
        Linear(0, 1, over=4)(t / 5) for t in range(5)
    ]


class NaNAtEnd(Schedule):
    duration = 5.0

    def __call__(self, t):
        return 0.5 if t < self.duration else math.nan


class NaNLater(Schedule):
    duration = math.inf

    def __call__(self, t):
        return math.nan if t > 0.6 else 0.5


REFUSED = {
    "a misspelt target": (Anneal("objective.betta", 1.0), {}, "did you mean 'objective.beta'"),
    "a target without its owner": (Anneal("beta", 1.0), {}, "did you mean 'objective.beta'"),
    "a module as target": (Anneal("objective", 1.0), {}, "is a ELBO, but only a plain number"),
    "a place without a tuple": (Anneal("objective.beta.0", 1.0), {}, "does not exist"),
    "nan, later in the run": (
        BetaAnnealing(NaNLater(), unit="run"),
        {},
        "it must be finite, got nan",
    ),
    "an illegal value": (
        BetaAnnealing(Linear(1, -1, over=2)),
        {"max_epochs": 3},
        "no legal value at t=2: beta must be a finite number",
    ),
    "run in an endless fit": (
        BetaAnnealing(Linear(0, 1, over=1), unit="run"),
        {"max_epochs": -1},
        "needs a run of known length, got inf",
    ),
    "run with changing accumulation": (
        BetaAnnealing(Linear(0, 1, over=1), unit="run"),
        {"callbacks": [GradientAccumulationScheduler({0: 1, 1: 2})]},
        "GradientAccumulationScheduler",
    ),
    "two owners": (
        BetaAnnealing(0.5),
        {"callbacks": [BetaAnnealing(0.1)]},
        "two callbacks move 'objective.beta'",
    ),
    "two owners of different kinds": (
        BetaAnnealing(0.5),
        {"callbacks": [CyclicalAnnealing()]},
        "two callbacks move 'objective.beta'",
    ),
    "two curves of one name": (
        BetaAnnealing(0.5),
        {"callbacks": [Anneal("objective.free_bits", 0.5, name="beta")]},
        "two callbacks log 'schedule/beta'.*give one another name",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_the_first_batch(fit_with, case):
    annealing, kwargs, message = REFUSED[case]
    callbacks = [annealing, *kwargs.pop("callbacks", [])]
    vae = Seen()
    trainer = fit_with(callbacks=callbacks, **{"max_epochs": 2, **kwargs})
    with pytest.raises(ValueError, match=message):
        trainer.fit(vae, batches(4))
    assert not vae.seen


@pytest.mark.parametrize(
    "annealing",
    [
        BetaAnnealing(Linear(0, 1, over=1), unit="run"),
        BetaAnnealing(Linear(0, 1, over=1), glide=True),
    ],
    ids=["run", "glide"],
)
def test_an_iterable_without_length_is_refused_where_one_is_needed(fit_with, annealing):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(torch.rand(8, 4))

    vae = Seen()
    with pytest.raises(ValueError, match="known"):
        fit_with(max_epochs=2, callbacks=[annealing]).fit(vae, DataLoader(Stream(), batch_size=2))
    assert not vae.seen


class Accumulating(LightningModule):
    """Manual optimisation with one optimizer, which steps at every fourth batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.layer = nn.Linear(4, 1)
        self.kl_weight = 1.0
        self.batches = 0

    def training_step(self, batch, batch_idx):
        self.batches += 1
        self.manual_backward(self.layer(batch).square().mean())
        if batch_idx % 4 == 3:
            self.optimizers().step()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("module", [TwoOptimizers, Accumulating])
def test_manual_optimisation_with_max_steps_has_no_known_length(fit_with, module):
    annealing = Anneal("kl_weight", Linear(0, 1, over=1), unit="run")
    with pytest.raises(ValueError, match="max_steps, which counts optimizer steps, not batches"):
        fit_with(max_steps=6, callbacks=[annealing]).fit(module(), batches(4))


def test_so_it_is_looked_along_the_schedule(fit_with):
    module, annealing = Accumulating(), Anneal("kl_weight", NaNAtEnd(), unit="step")
    with pytest.raises(ValueError, match="at t=5: it must be finite, got nan"):
        fit_with(max_steps=2, callbacks=[annealing]).fit(module, batches(4))
    assert module.batches == 0


def test_a_target_that_is_no_path_is_refused():
    with pytest.raises(ValueError, match=r"dotted path.*'objective.beta', got 1.0"):
        Anneal(VAEModule().objective.beta, 0.5)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"unit": "batch"}, "unit must be 'epoch', 'step' or 'run', got 'batch'"),
        ({"unit": "step", "glide": True}, "drop it with unit='step'"),
    ],
)
def test_refused_at_construction(kwargs, message):
    with pytest.raises(ValueError, match=message):
        BetaAnnealing(Linear(0, 1, over=5), **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"ratio": 0.0}, r"ratio must be in \(0, 1\]"),
        ({"ratio": 1.5}, r"ratio must be in \(0, 1\]"),
        ({"cycles": 0}, "cycles must be a whole number"),
        ({"unit": "epoch"}, "period is needed with unit='epoch'"),
        ({"unit": "batch"}, "unit must be 'epoch', 'step' or 'run', got 'batch'"),
        ({"period": 10}, r"period=10 is longer than the run.*unit='epoch' or unit='step'"),
    ],
)
def test_cycles_that_make_no_sense_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CyclicalAnnealing(**kwargs)


def test_overlapping_places_of_one_tuple_are_two_owners_but_different_places_are_not(fit_with):
    two = Anneal("objective.beta.1", 0.25)
    vae = Pair()
    fit_with(max_epochs=1, callbacks=[Anneal("objective.beta.0", 0.5), two]).fit(vae, batches(2))
    assert vae.objective.beta == (0.5, 0.25)
    trainer = fit_with(max_epochs=1, callbacks=[two, Anneal("objective.beta.1", 1.0, name="b")])
    with pytest.raises(ValueError, match="two callbacks move"):
        trainer.fit(Pair(), batches(2))
    trainer = fit_with(max_epochs=1, callbacks=[BetaAnnealing(1.0)])
    with pytest.raises(ValueError, match=r"one a group; write 'objective.beta.0' for one"):
        trainer.fit(Pair(), batches(2))


class Pair(VAEModule):
    """Two latent spaces, each with a β."""

    def __init__(self) -> None:
        super().__init__(objective=ELBO(beta=(1.0, 1.0)))
        self.first, self.second = MLPEncoder((4,), 2), MLPEncoder((4,), 3)
        self.decoder = MLPDecoder((4,), 5)

    def encode(self, x):
        return self.first(x), self.second(x)

    def decode(self, z):
        return self.decoder(torch.cat(z, 1))


def test_without_the_callback_the_value_is_the_constructors(fit_with):
    vae = Seen()
    fit_with(max_epochs=1).fit(vae, batches(4))
    assert {beta for _, beta in vae.seen.values()} == {1.0}
    off = Seen()
    fit_with(max_epochs=1, callbacks=[BetaAnnealing(0.0, enabled=False)]).fit(off, batches(4))
    assert {beta for _, beta in off.seen.values()} == {1.0}


def test_every_coefficient_has_its_callback(fit_with):
    vae = Seen(ELBO(beta=100.0, capacity=1.0))
    callbacks = [FreeBitsAnnealing(0.25), CapacityAnnealing(Linear(0, 5, over=2))]
    fit_with(max_epochs=2, callbacks=callbacks).fit(vae, batches(2))
    assert vae.objective.free_bits == 0.25
    assert vae.objective.capacity == 2.5


def test_any_number_of_any_module_can_be_moved(fit_with):
    class Theirs(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)
            self.loss = nn.Module()
            self.loss.weights = {"kl": 1.0, "rest": [1.0, 2.0]}
            self.seen = []

        def training_step(self, batch, batch_idx):
            self.seen.append((self.loss.weights["kl"], self.loss.weights["rest"][1]))
            return self.layer(batch).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    module = Theirs()
    annealings = [
        Anneal("loss.weights.kl", Linear(0, 1, over=4), unit="step"),
        Anneal("loss.weights.rest.1", 7.0, name="rest"),
    ]
    trainer = fit_with(max_epochs=1, callbacks=annealings)
    trainer.fit(module, batches(4))
    assert module.seen == [(t / 4, 7.0) for t in range(4)]
    assert trainer.callback_metrics["schedule/rest"] == 7.0


def test_a_pytorch_lightning_module_under_its_own_trainer_works(tmp_path):
    class Theirs(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)
            self.kl_weight = 1.0
            self.seen = []

        def training_step(self, batch, batch_idx):
            self.seen.append(self.kl_weight)
            return self.layer(batch).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    def run(unit, callbacks=()):
        module = Theirs()
        annealing = Anneal("kl_weight", Linear(0, 1, over=1 if unit == "run" else 8), unit=unit)
        pytorch_lightning.Trainer(
            max_epochs=2,
            default_root_dir=tmp_path,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[annealing, *callbacks],
        ).fit(module, batches(4))
        return module.seen

    assert run("step") == run("run") == [t / 8 for t in range(8)]
    with pytest.raises(ValueError, match="GradientAccumulationScheduler"):
        run("run", [pytorch_lightning.callbacks.GradientAccumulationScheduler({1: 2})])


# ---- what is logged --------------------------------------------------------------------------------


def events(folder) -> dict[str, list[tuple[int, float]]]:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(e.step, e.value) for e in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("every", [1, 3, 50])
@pytest.mark.parametrize("mode", RAMPS)
def test_the_event_file_holds_the_value_that_entered_the_loss_at_every_x(
    fit_with, tmp_path, mode, every, window
):
    callback, kwargs = RAMPS[mode]
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    n = 5
    per_epoch = math.ceil(n / window)
    steps = 4 * per_epoch
    trainer = fit_with(
        max_epochs=4,
        logger=logger,
        log_every_n_steps=every,
        accumulate_grad_batches=window,
        callbacks=[callback(**kwargs)],
    )
    vae = Seen()
    trainer.fit(vae, batches(n), batches(1))
    used = {}
    for step, beta in vae.seen.values():
        used.setdefault(step, beta)
    written = events(logger.log_dir)["schedule/beta"]
    assert written == [(x, pytest.approx(used[x], abs=1e-7)) for x, _ in written]
    xs = [x for x, _ in written]
    assert xs == sorted(set(xs)), "each x once"
    on_turn = {x for x in range(steps) if (x + 1) % every == 0}
    last_of_epoch = {per_epoch * (e + 1) - 1 for e in range(4)}
    assert set(xs) >= on_turn | last_of_epoch
    if mode == "epoch":
        assert set(xs) >= {per_epoch * e for e in range(4)}, "every change is written"


def test_five_batches_an_epoch_and_the_default_interval_still_draw_the_curves(fit_with, tmp_path):
    logger = TensorBoardLogger(tmp_path)
    annealing = BetaAnnealing(Linear(0, 1, over=4))
    fit_with(max_epochs=5, logger=logger, callbacks=[annealing]).fit(Seen(), batches(5), batches(2))
    curves = events(logger.log_dir)
    assert curves["schedule/beta"][-1] == (24, 1.0)
    for key in ("loss", "elbo", "distortion", "rate", "penalty"):
        assert [x for x, _ in curves[f"train/{key}"]] == [4, 9, 14, 19, 24]
        assert [x for x, _ in curves[f"val/{key}"]] == [4, 9, 14, 19, 24]


def test_under_accumulation_the_loss_is_written_once_a_step(fit_with, tmp_path):
    logger = TensorBoardLogger(tmp_path)
    trainer = fit_with(max_epochs=1, logger=logger, log_every_n_steps=1, accumulate_grad_batches=4)
    trainer.fit(Seen(), batches(10))
    assert [x for x, _ in events(logger.log_dir)["train/loss"]] == [0, 1, 2]


def test_a_rewind_with_the_same_callback_forgets_later_events(fit_with, tmp_path):
    cycles = CyclicalAnnealing(cycles=4, ratio=1.0, unit="step", period=4)
    saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    callbacks = [cycles, Switch({9: "stop_cycling"}), saves]
    fit_with(max_epochs=4, callbacks=callbacks).fit(Seen(), batches(4))
    assert cycles.events
    vae = Seen()
    fit_with(max_epochs=4, callbacks=[cycles]).fit(
        vae, batches(4), ckpt_path=tmp_path / "step=6.ckpt"
    )
    assert vae.seen[3, 0][1] == 0.0


def test_the_value_is_a_monitor_that_nobody_else_holds(fit_with, tmp_path):
    class Keep(Callback):
        def __init__(self):
            self.values = []

        def on_train_batch_end(self, trainer, *_):
            self.values.append(trainer.callback_metrics["schedule/beta"])

    keep = Keep()
    annealing = BetaAnnealing(Linear(0, 1, over=4), unit="step")
    saves = ModelCheckpoint(tmp_path, "{schedule/beta:.2f}", monitor="schedule/beta", mode="max")
    fit_with(max_epochs=1, callbacks=[annealing, keep, saves]).fit(Seen(), batches(4))
    assert [v.item() for v in keep.values] == [0, 0.25, 0.5, 0.75]
    assert all(not v.requires_grad for v in keep.values)
    assert saves.best_model_score == 0.75


def test_the_monitor_has_the_value_of_every_step_though_it_returns_to_the_last_written(fit_with):
    class Keep(Callback):
        def __init__(self):
            self.values = []

        def on_train_batch_end(self, trainer, *_):
            self.values.append(trainer.callback_metrics["schedule/beta"].item())

    keep = Keep()
    there_and_back = Piecewise([(0, 0.5), (3, 0.75), (4, 0.5)], step=True)
    annealing = BetaAnnealing(there_and_back, unit="step")
    trainer = fit_with(max_epochs=1, callbacks=[annealing, keep], log_every_n_steps=3)
    trainer.fit(Seen(), batches(6))
    assert keep.values == [0.5, 0.5, 0.5, 0.75, 0.5, 0.5]


@pytest.mark.parametrize(
    ("schedule", "monitor", "warns"),
    [
        (Linear(0, 1, over=2), "val/loss", True),
        (1.0, "val/loss", False),
        (Linear(0, 1, over=2), "val/elbo", False),
    ],
)
def test_a_checkpoint_chosen_by_a_loss_that_changes_its_meaning_is_warned_of(
    fit_with, tmp_path, schedule, monitor, warns
):
    saves = ModelCheckpoint(tmp_path, monitor=monitor)
    trainer = fit_with(max_epochs=1, callbacks=[BetaAnnealing(schedule), saves])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(Seen(), batches(2), batches(2))
    said = [str(w.message) for w in caught if "whose meaning changes" in str(w.message)]
    assert len(said) == warns


def test_callbacks_can_be_sent_to_another_process():
    for annealing in (BetaAnnealing(Linear(0, 1, over=5)), CyclicalAnnealing(shape=Cosine)):
        again = pickle.loads(pickle.dumps(annealing))
        assert [again.value(t) for t in (0, 0.2, 3)] == [annealing.value(t) for t in (0, 0.2, 3)]


# ---- cycles ----------------------------------------------------------------------------------------


def test_cycles_fill_the_run(fit_with):
    vae = Seen()
    annealing = CyclicalAnnealing(cycles=2, ratio=0.5)
    fit_with(max_epochs=4, callbacks=[annealing]).fit(vae, batches(4))
    ramp = [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert [beta for _, beta in vae.seen.values()] == ramp + ramp


class Switch(Callback):
    """Call stop_cycling and start_cycling at given steps, before or after the step."""

    def __init__(self, calls: dict[int, str], after: bool = True):
        self.calls, self.after = calls, after

    def on_train_batch_end(self, trainer, *_):
        if self.after:
            self._call(trainer, trainer.global_step - 1)

    def on_train_batch_start(self, trainer, *_):
        if not self.after:
            self._call(trainer, trainer.global_step)

    def _call(self, trainer, step: int) -> None:
        if step in self.calls:
            [cycles] = [c for c in trainer.callbacks if isinstance(c, CyclicalAnnealing)]
            getattr(cycles, self.calls[step])()


CALLS = {
    "stopped, then held to the end": ({5: "stop_cycling"}, [*range(4), *range(4), *[4] * 16]),
    "restarted while held": (
        {5: "stop_cycling", 13: "start_cycling"},
        [*range(4), *range(4), *[4] * 6, *range(4), *range(4), 0, 1],
    ),
    "on again before the cycle has ended": (
        {5: "stop_cycling", 6: "start_cycling"},
        [*range(4)] * 6,
    ),
    "started while running": ({5: "start_cycling"}, [*range(4)] * 6),
}


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("case", CALLS)
def test_cycling_can_be_stopped_and_started_and_survives_a_resume(fit_with, tmp_path, case, after):
    calls, quarters = CALLS[case]

    def run(ckpt_path=None):
        cycles = CyclicalAnnealing(cycles=6, ratio=1.0, unit="step", period=4)
        saves = ModelCheckpoint(tmp_path / "saved", "{step}", every_n_train_steps=1, save_top_k=-1)
        vae = Seen()
        trainer = fit_with(max_epochs=6, callbacks=[cycles, Switch(calls, after), saves])
        trainer.fit(vae, batches(4), ckpt_path=ckpt_path)
        return [beta for _, beta in vae.seen.values()], dict(vae.seen)

    values, whole = run()
    assert values == [q / 4 for q in quarters[:24]]
    for step in (3, 6, 7, 9, 14, 15, 20):
        _, resumed = run(tmp_path / "saved" / f"step={step}.ckpt")
        assert all(whole[key] == seen for key, seen in resumed.items()), step


def test_a_restart_waits_for_the_next_epoch_where_epochs_are_counted(fit_with):
    cycles = CyclicalAnnealing(cycles=2, ratio=1.0, unit="epoch", period=2)
    vae = Seen()
    trainer = fit_with(max_epochs=8, callbacks=[cycles, Switch({21: "start_cycling"})])
    trainer.fit(vae, batches(4))
    per_epoch = [vae.seen[epoch, 3][1] for epoch in range(8)]
    assert per_epoch == [0, 0.5, 0, 0.5, 1, 1, 0, 0.5]


# ---- what a run leaves behind ------------------------------------------------------------------------


def quarters(vae: Seen) -> list[float]:
    return [4 * beta for _, beta in vae.seen.values()]


def steps_of_four(**kwargs) -> CyclicalAnnealing:
    return CyclicalAnnealing(cycles=6, ratio=1.0, unit="step", period=4, **kwargs)


def test_a_new_trainer_forgets_the_calls_of_the_last_run(fit_with):
    cycles, switch = steps_of_four(), Switch({5: "stop_cycling"})
    fit_with(max_epochs=3, callbacks=[cycles, switch]).fit(Seen(), batches(4))
    assert len(cycles.events) == 1
    vae = Seen()
    fit_with(max_epochs=3, callbacks=[cycles]).fit(vae, batches(4))
    assert quarters(vae) == [*range(4)] * 3


def test_the_same_trainer_goes_on_with_its_calls(fit_with):
    cycles, vae = steps_of_four(), Seen()
    trainer = fit_with(max_epochs=2, callbacks=[cycles, Switch({5: "stop_cycling"})])
    trainer.fit(vae, batches(4))
    trainer.fit_loop.max_epochs = 3
    trainer.fit(vae, batches(4))
    assert quarters(vae) == [*range(4), *range(4), *[4] * 4]
    cycles.start_cycling()
    trainer.fit_loop.max_epochs = 4
    trainer.fit(vae, batches(4))
    assert quarters(vae)[12:] == [*range(4)], "a call between fits counts from the next step"


def test_a_resume_with_the_same_callback_keeps_its_calls(fit_with, tmp_path):
    cycles = steps_of_four()
    saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    callbacks = [cycles, Switch({5: "stop_cycling"}), saves]
    fit_with(max_epochs=3, callbacks=callbacks).fit(Seen(), batches(4))
    vae = Seen()
    trainer = fit_with(max_epochs=3, callbacks=[cycles])
    trainer.fit(vae, batches(4), ckpt_path=tmp_path / "step=7.ckpt")
    assert quarters(vae) == [3, 4, 4, 4, 4]


def test_a_checkpoint_without_the_calls_forgets_them(fit_with, tmp_path):
    saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    fit_with(max_epochs=1, callbacks=[saves]).fit(Seen(), batches(4))
    cycles, vae = steps_of_four(), Seen()
    trainer = fit_with(max_epochs=2, callbacks=[cycles, Switch({1: "stop_cycling"})])
    trainer.fit(Seen(), batches(4))
    trainer.callbacks = [cycles]
    with pytest.warns(UserWarning, match="Please add the following callbacks"):
        trainer.fit(vae, batches(4), ckpt_path=tmp_path / "step=4.ckpt")
    assert quarters(vae) == [*range(4)]


def test_a_look_at_another_checkpoint_changes_nothing(fit_with, tmp_path):
    cycles, vae = steps_of_four(), Seen()
    saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    switch = Switch({5: "stop_cycling"})
    trainer = fit_with(max_epochs=2, callbacks=[cycles, switch, saves])
    trainer.fit(vae, batches(4))
    trainer.validate(vae, batches(1), ckpt_path=tmp_path / "step=2.ckpt", verbose=False)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(vae, batches(4))
    assert quarters(vae)[8:] == [4] * 4


@pytest.mark.parametrize("call", ["stop_cycling", "start_cycling"])
def test_a_call_outside_of_a_run_is_refused(fit_with, call):
    message = rf"{call}\(\) counts from a step.*call it from on_train_batch_start on"
    cycles = CyclicalAnnealing()
    with pytest.raises(RuntimeError, match=message):
        getattr(cycles, call)()
    fit_with(max_epochs=1, callbacks=[cycles]).fit(Seen(), batches(4))

    class Early(Callback):
        def on_sanity_check_start(self, *_):
            getattr(cycles, call)()

    again = fit_with(max_epochs=1, callbacks=[cycles, Early()], num_sanity_val_steps=1)
    with pytest.raises(RuntimeError, match=message):
        again.fit(Seen(), batches(4), batches(1))
    assert cycles.events == []


def test_a_call_of_a_disabled_callback_has_no_effect(fit_with):
    cycles, vae = steps_of_four(enabled=False), Seen()
    switch = Switch({1: "stop_cycling", 2: "start_cycling"})
    fit_with(max_epochs=1, callbacks=[cycles, switch]).fit(vae, batches(4))
    assert cycles.events == []
    assert quarters(vae) == [4] * 4


def test_a_callback_lets_go_of_the_module(fit_with):
    annealing = BetaAnnealing(Linear(0, 1, over=4), unit="step")
    fit_with(max_epochs=1, callbacks=[annealing]).fit(Seen(), batches(4))
    assert not any(isinstance(held, nn.Module) for held in held_by(annealing))

    class Fails(Callback):
        def on_train_batch_end(self, *_):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fit_with(max_epochs=1, callbacks=[annealing, Fails()]).fit(Seen(), batches(4))
    assert not any(isinstance(held, nn.Module) for held in held_by(annealing))


def held_by(annealing: Anneal) -> list:
    found = [each for each in vars(annealing).values() if hasattr(each, "owner")]
    return [target.owner for target in found]


# ---- the length of the run ---------------------------------------------------------------------------


def test_a_run_that_goes_on_with_another_length_says_so(fit_with):
    annealing = BetaAnnealing(Linear(0, 1, over=1), unit="run")
    trainer = fit_with(max_epochs=1, callbacks=[annealing])
    trainer.fit(Seen(), batches(4))
    trainer.fit_loop.max_epochs = 2
    with pytest.warns(UserWarning, match="began in a run of 4 steps and goes on in one of 8"):
        trainer.fit(Seen(), batches(4))


def test_a_fraction_of_the_run_is_not_known_before_it(fit_with):
    annealing = BetaAnnealing(Linear(0, 1, over=1), unit="run")
    with pytest.raises(RuntimeError, match="known from on_train_start on"):
        annealing.time(fit_with(max_epochs=1))


def test_a_run_resumed_with_another_length_says_so(fit_with, tmp_path):
    def fit(epochs, ckpt_path=None):
        annealing = BetaAnnealing(Linear(0, 1, over=1), unit="run")
        saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        trainer = fit_with(max_epochs=epochs, callbacks=[annealing, saves])
        trainer.fit(Seen(), batches(4), ckpt_path=ckpt_path)

    fit(2)
    with pytest.warns(UserWarning, match="began in a run of 8 steps and goes on in one of 16"):
        fit(4, tmp_path / "step=5.ckpt")


def test_a_run_resumed_in_another_unit_counts_in_that(fit_with, tmp_path):
    saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    in_run = BetaAnnealing(Linear(0, 1, over=1), unit="run")
    fit_with(max_epochs=2, callbacks=[in_run, saves]).fit(Seen(), batches(4))
    between_steps = Piecewise([(0, 0), (6.4, -1), (6.6, 1)], step=True)
    in_steps, vae = BetaAnnealing(between_steps, unit="step"), Seen()
    trainer = fit_with(max_epochs=2, callbacks=[in_steps])
    trainer.fit(vae, batches(4), ckpt_path=tmp_path / "step=3.ckpt")
    assert [beta for _, beta in vae.seen.values()] == [0, 0, 0, 0, 1]


def test_a_callback_used_again_in_another_run_says_nothing(fit_with):
    annealing = BetaAnnealing(Linear(0, 1, over=1), unit="run")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*began in a run.*")
        for epochs in (1, 2):
            fit_with(max_epochs=epochs, callbacks=[annealing]).fit(Seen(), batches(4))


def test_a_refused_schedule_leaves_the_value_as_it_was(fit_with):
    vae = Seen(ELBO(beta=0.7))
    with pytest.raises(ValueError, match="it must be finite, got nan"):
        fit_with(max_epochs=1, callbacks=[BetaAnnealing(NaNLater(), unit="run")]).fit(
            vae, batches(4)
        )
    assert vae.objective.beta == 0.7


def test_a_checkpoint_needs_no_pickle_and_the_callback_need_not_be_there(fit_with, tmp_path):
    saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
    cycles = CyclicalAnnealing(cycles=2)
    trainer = fit_with(max_epochs=1, callbacks=[cycles, Switch({0: "stop_cycling"}), saves])
    trainer.fit(Seen(), batches(4))
    saved = torch.load(tmp_path / "step=2.ckpt", weights_only=True)
    assert saved["lightning_vae"]["coefficients"]["objective.beta"] == 1.0
    assert saved["callbacks"][cycles.state_key] == {"events": [("stop", 0.0, None)]}
    bare = Seen()
    with pytest.warns(UserWarning, match="Please add the following callbacks"):
        fit_with(max_epochs=1).fit(bare, batches(4), ckpt_path=tmp_path / "step=2.ckpt")
    assert {beta for _, beta in bare.seen.values()} == {1.0}


def test_a_step_schedule_from_the_look_ahead_leaves_no_trace(fit_with):
    """Values are tried before the run; the first step must see the first one, not the last."""
    vae = Seen()
    schedule = Piecewise([(0, 0.3), (1, 0.9)], step=True)
    fit_with(max_epochs=1, callbacks=[BetaAnnealing(schedule >> Constant(0.1), unit="step")]).fit(
        vae, batches(3)
    )
    assert next(beta for _, beta in vae.seen.values()) == 0.3


# ---- how it prints ---------------------------------------------------------------------------------

PRINTED = {
    Anneal: {
        "Anneal('kl', Linear(0, 1, over=5))": Anneal("kl", Linear(0, 1, over=5)),
        "Anneal('loss.kl', Constant(0.5), unit='step', name='kl', enabled=False)": Anneal(
            "loss.kl", 0.5, unit="step", name="kl", enabled=False
        ),
    },
    BetaAnnealing: {
        "BetaAnnealing(Constant(0, over=2) >> Cosine(0, 1, over=5), glide=True)": BetaAnnealing(
            Constant(0, over=2) >> Cosine(0, 1, over=5), glide=True
        ),
    },
    FreeBitsAnnealing: {
        "FreeBitsAnnealing(Constant(0.25), enabled=False)": FreeBitsAnnealing(0.25, enabled=False),
    },
    CapacityAnnealing: {
        "CapacityAnnealing(Linear(0, 25, over=9), unit='step')": CapacityAnnealing(
            Linear(0, 25, over=9), "step"
        ),
    },
    CyclicalAnnealing: {
        "CyclicalAnnealing()": CyclicalAnnealing(),
        "CyclicalAnnealing(cycles=2, shape=Cosine, unit='epoch', period=10)": CyclicalAnnealing(
            2, shape=Cosine, unit="epoch", period=10
        ),
        "CyclicalAnnealing(ratio=1.0, start=0.1, stop=4, enabled=False)": CyclicalAnnealing(
            ratio=1.0, start=0.1, stop=4, enabled=False
        ),
    },
}


def configuration(annealing: Anneal) -> dict:
    names = ("target", "schedule", "unit", "glide", "key", "enabled", "shape", "period")
    return {name: vars(annealing)[name] for name in names if name in vars(annealing)}


@pytest.mark.parametrize(
    ("written", "annealing"), [row for rows in PRINTED.values() for row in rows.items()]
)
def test_prints_as_it_is_written(written, annealing):
    assert repr(annealing) == written
    again = eval(written)
    assert type(again) is type(annealing)
    assert configuration(again) == configuration(annealing)


def test_every_callback_prints_as_it_is_written():
    assert set(PRINTED) == {Anneal, *subclasses(Anneal)}


def subclasses(cls: type) -> list[type]:
    below = [each for sub in cls.__subclasses__() for each in [sub, *subclasses(sub)]]
    return [c for c in below if c.__module__.startswith("lightning_vae.") and c.__name__[0] != "_"]


def test_a_subclass_with_arguments_of_its_own_prints_too():
    class To(BetaAnnealing):
        def __init__(self, top: float, over: float = 5) -> None:
            super().__init__(Linear(0, top, over))

    assert repr(To(2)) == "To(top=..., over=...)", "it does not keep them"
