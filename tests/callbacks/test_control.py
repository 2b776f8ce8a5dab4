"""Controllers through the Trainer: what they see, when they act, what they keep and what they say."""

import math
import warnings
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_vae import ELBO, Anneal, BetaAnnealing, Constant, FactorVAE, Linear, VAEModule
from lightning_vae.callbacks import GECO, REWO, MinimumRate, RateController, SoftFreeBits
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.priors import DiagonalNormal
from tests.callbacks.test_annealing import events
from tests.references import control
from tests.test_linear_gaussian import Expected, within

EAGER = {"kp": 0.5, "ki": 0.05, "average": 3}
CONTROLLERS = {
    "rate": lambda **kwargs: RateController(2.0, **EAGER, **kwargs),
    "rate, scaled": lambda **kwargs: RateController(2.0, **kwargs),
    "rate, warmed up": lambda **kwargs: RateController(
        Linear(3, 1, over=8), warmup=Linear(0.1, 0.5, over=5), **EAGER, **kwargs
    ),
    "GECO": lambda **kwargs: GECO(2.5, nu=0.1, limit=1.0, alpha=0.8, **kwargs),
    "REWO": lambda **kwargs: REWO(2.82, nu=0.1, limit=1.0, alpha=0.5, start=0.5, **kwargs),
    "minimum rate": lambda **kwargs: MinimumRate(2.0, lr=0.02, **kwargs),
    "soft free bits": lambda **kwargs: SoftFreeBits(2.0, step=0.05, **kwargs),
}


class Scripted(LightningModule):
    """What it returns beside its loss is written down beforehand, batch by batch."""

    def __init__(self, script, key: str = "rate") -> None:
        super().__init__()
        self.layer, self.kl_weight = nn.Linear(4, 1), 1.0
        self.script, self.key, self.seen = script, key, []

    def training_step(self, batch, batch_idx):
        self.seen.append(self.kl_weight)
        value = self.script[len(self.seen) - 1]
        if value is None:
            return None
        loss = self.layer(batch).square().mean()
        return {"loss": loss, self.key: torch.tensor(value, dtype=torch.float64)}

    def validation_step(self, batch, batch_idx):
        self.log(self.key, 1e6)
        self.log("val/x", 0.0)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def batches(n: int) -> DataLoader:
    return DataLoader(torch.rand(n, 4), 1)


def expected(controller, means, start=1.0) -> list[float]:
    """The number before every step, from the controller's own law."""
    state, numbers = controller.begun(start), []
    for t, mean in enumerate(means):
        numbers.append(controller.number(state))
        state = controller.updated(state, mean, controller.set_point(t))
    return numbers


SCRIPT = [3.0, 1.0, 2.5, 4.0, 1.5, 2.0, 3.5, 0.5, 1.0, 2.0]


def test_it_acts_after_every_optimizer_step_on_the_mean_of_the_window(fit_with):
    """Five batches an epoch, two a window: the last window of an epoch is cut short."""
    controller = RateController(2.0, target="kl_weight", **EAGER)
    module = Scripted(SCRIPT)
    trainer = fit_with(max_epochs=2, accumulate_grad_batches=2, callbacks=[controller])
    trainer.fit(module, batches(5))
    numbers = expected(controller, [2.0, 3.25, 1.5, 2.75, 0.75, 2.0])
    assert module.seen == [numbers[i] for i in (0, 0, 1, 1, 2, 3, 3, 4, 4, 5)]


def test_the_first_number_is_the_modules_and_only_training_counts(fit_with):
    controller = RateController(2.0, target="kl_weight", **EAGER)
    module = Scripted(SCRIPT)
    module.kl_weight = 0.7
    trainer = fit_with(
        max_epochs=2, num_sanity_val_steps=2, val_check_interval=2, callbacks=[controller]
    )
    trainer.fit(module, batches(5), batches(3))
    assert module.seen == expected(controller, SCRIPT, start=0.7)
    fit_with(callbacks=[controller]).validate(module, batches(2), verbose=False)
    assert len(module.seen) == 10


def test_the_loss_that_lightning_divides_is_observed_whole(fit_with):
    seen = []

    class Noting(RateController):
        def updated(self, state, observed, set_point):
            seen.append(observed)
            return super().updated(state, observed, set_point)

    class Loss(Scripted):
        def training_step(self, batch, batch_idx):
            return 0 * self.layer(batch).sum() + 3.0

    controller = Noting(2.0, target="kl_weight", observe="loss")
    trainer = fit_with(max_epochs=1, accumulate_grad_batches=2, callbacks=[controller])
    trainer.fit(Loss(SCRIPT), batches(4))
    assert seen == [3.0, 3.0]


@pytest.mark.filterwarnings("ignore:.*returned `None`.*")
def test_a_batch_that_is_left_out_is_not_observed(fit_with):
    controller = RateController(2.0, target="kl_weight", **EAGER)
    module = Scripted([3.0, None, 2.5, 4.0, None, None, 1.0, 2.0])
    trainer = fit_with(max_epochs=1, accumulate_grad_batches=2, callbacks=[controller])
    trainer.fit(module, batches(8))
    numbers = expected(controller, [3.0, 3.25, 1.5])
    assert module.seen == [numbers[i] for i in (0, 0, 1, 1)] + module.seen[4:]
    assert module.seen[4] == module.seen[6], "a window of nothing moves nothing"


def test_what_is_logged_can_be_observed_under_manual_optimisation_too(fit_with):
    class Logging(Scripted):
        def __init__(self, script, automatic):
            super().__init__(script)
            self.automatic_optimization = automatic

        def training_step(self, batch, batch_idx):
            step = super().training_step(batch, batch_idx)
            self.log("kl", step["rate"])
            if not self.automatic_optimization:
                self.manual_backward(step["loss"])
                self.optimizers().step()
                return None
            return step["loss"]

    for automatic in (True, False):
        controller = RateController(2.0, target="kl_weight", observe="kl", **EAGER)
        module = Logging(SCRIPT, automatic)
        fit_with(max_epochs=2, callbacks=[controller]).fit(module, batches(5))
        assert module.seen == pytest.approx(expected(controller, SCRIPT))


@pytest.mark.parametrize("logs", [False, True])
def test_geco_constrains_anything_that_is_returned_or_logged(fit_with, logs):
    class Logging(Scripted):
        def training_step(self, batch, batch_idx):
            step = super().training_step(batch, batch_idx)
            if logs:
                self.log("dissimilarity", step.pop("dissimilarity"), on_epoch=True)
            return step

    controller = GECO(2.0, nu=0.1, limit=1.0, target="kl_weight", observe="dissimilarity")
    module = Logging(SCRIPT, key="dissimilarity")
    trainer = fit_with(max_epochs=2, val_check_interval=2, callbacks=[controller])
    trainer.fit(module, batches(5), batches(1))
    assert module.seen == pytest.approx(expected(controller, SCRIPT), rel=1e-12)
    truth = [constraint - 2.0 for constraint in SCRIPT]
    multipliers = control.geco(truth, 0.1, 0.99, start=1.0)[:-1]
    assert module.seen[1:] == pytest.approx([1 / m for m in multipliers], rel=1e-6)


def test_what_validation_logs_is_refused_for_it_is_not_there_at_a_step(fit_with):
    for sanity in (0, 2):
        controller = GECO(2.0, target="kl_weight", observe="val/x")
        trainer = fit_with(max_epochs=2, num_sanity_val_steps=sanity, callbacks=[controller])
        with pytest.raises(ValueError, match=r"no 'val/x' to observe: .*Validation does not count"):
            trainer.fit(Scripted(SCRIPT), batches(5), batches(1))


def test_groups_are_controlled_each_by_its_own_rate(fit_with):
    class Groups(Scripted):
        def __init__(self, script):
            super().__init__(script)
            self.weights = (1.0, 2.0)

        def training_step(self, batch, batch_idx):
            step = super().training_step(batch, batch_idx)
            self.seen[-1] = self.weights
            return {"loss": step["loss"], "rate/0": step["rate"], "rate/1": 3 * step["rate"]}

    controllers = [
        RateController(c, target=f"weights.{g}", observe=f"rate/{g}", **EAGER)
        for g, c in enumerate((2.0, 5.0))
    ]
    module = Groups(SCRIPT)
    trainer = fit_with(max_epochs=1, callbacks=controllers)
    trainer.fit(module, batches(10))
    for g, controller in enumerate(controllers):
        means = [(1, 3)[g] * rate for rate in SCRIPT]
        truth = expected(controller, means, start=float(g + 1))
        assert [weights[g] for weights in module.seen] == pytest.approx(truth)
        assert trainer.callback_metrics[f"control/weights.{g}/observed"] == means[-1]
    assert len({callback.state_key for callback in controllers}) == 2


def test_beside_two_optimizers_it_acts_once_a_batch(fit_with):
    acts = []

    class Noting(RateController):
        def updated(self, state, observed, set_point):
            acts.append((observed, set_point))
            return super().updated(state, observed, set_point)

    vae = VAEModule(
        MLPEncoder((4,), 2), MLPDecoder((4,), 2), objective=FactorVAE(2, gamma=5.0, hidden=(8,))
    )
    tc = {"target": "objective.gamma", "observe": "total_correlation", "minimum": 0.1}
    trainer = fit_with(max_epochs=2, callbacks=[Noting(Linear(1.0, 2.0, over=10), **tc)])
    trainer.fit(vae, batches(5))
    assert trainer.global_step == 20, "both optimizers' steps"
    assert [c for _, c in acts] == pytest.approx([1 + t / 10 for t in range(10)])
    assert trainer.callback_metrics["control/gamma/observed"] == pytest.approx(acts[-1][0])


def test_an_infinite_observation_is_refused(fit_with):
    for value in (math.nan, math.inf):
        controller = RateController(2.0, target="kl_weight")
        trainer = fit_with(max_epochs=1, callbacks=[controller])
        module = Scripted([3.0, value, 1.0])
        with pytest.raises(ValueError, match=f"observes rate={value}"):
            trainer.fit(module, batches(3))
        assert len(module.seen) == 2


def test_an_observation_that_is_not_there_is_refused_after_the_first_batch(fit_with):
    controller = RateController(2.0, target="kl_weight", observe="kl")
    module = Scripted(SCRIPT)
    with pytest.raises(ValueError, match=r"no 'kl' to observe: .*returned \['loss', 'rate'\]"):
        fit_with(max_epochs=1, callbacks=[controller]).fit(module, batches(3))
    assert len(module.seen) == 1


def test_an_observation_that_is_no_scalar_is_refused(fit_with):
    controller = RateController(2.0, target="kl_weight")
    with pytest.raises(ValueError, match=r"'rate' has shape \(2,\); return its mean"):
        fit_with(max_epochs=1, callbacks=[controller]).fit(Scripted([[1.0, 2.0]]), batches(1))


REFUSED = {
    "a misspelt target": (
        [RateController(2.0, target="kl_weigt")],
        "did you mean 'kl_weight'",
    ),
    "a schedule besides": (
        [RateController(2.0, target="kl_weight"), Anneal("kl_weight", 0.5)],
        r"two callbacks move 'kl_weight': RateController\(.*\) and Anneal",
    ),
    "a schedule before": (
        [Anneal("kl_weight", 0.5), RateController(2.0, target="kl_weight")],
        r"two callbacks move 'kl_weight': Anneal\(.*\) and RateController",
    ),
    "two controllers": (
        [RateController(2.0, target="kl_weight"), GECO(2.0, target="kl_weight")],
        "two callbacks move 'kl_weight'",
    ),
    "a beginning beyond the bounds": (
        [RateController(2.0, target="kl_weight", maximum=0.5)],
        "begins with kl_weight=1, which is not from minimum=0.001 to maximum=0.5",
    ),
    "a warm-up that ends beyond the bounds": (
        [RateController(2.0, target="kl_weight", warmup=Linear(1, 0, over=4))],
        "begins with kl_weight=0, which is not from minimum=0.001",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_the_first_batch(fit_with, case):
    callbacks, message = REFUSED[case]
    module = Scripted(SCRIPT)
    with pytest.raises(ValueError, match=message):
        fit_with(max_epochs=1, callbacks=callbacks).fit(module, batches(3))
    assert not module.seen
    assert module.kl_weight == 1.0


def test_a_coefficient_that_is_off_is_refused(fit_with):
    vae = VAEModule(MLPEncoder((4,), 2), MLPDecoder((4,), 2))
    controller = RateController(2.0, target="objective.capacity")
    with pytest.raises(ValueError, match="capacity is None; give it the number to begin at"):
        fit_with(max_epochs=1, callbacks=[controller]).fit(vae, batches(2))


def test_disabled_it_moves_nothing(fit_with):
    module = Scripted(SCRIPT)
    off = RateController(2.0, target="kl_weight", enabled=False)
    schedule = Anneal("kl_weight", 0.25)
    fit_with(max_epochs=1, callbacks=[off, schedule]).fit(module, batches(3))
    assert module.seen == [0.25] * 3


# ---- hand-over ---------------------------------------------------------------------------------------


def test_control_takes_over_from_a_schedule_without_a_bump(fit_with):
    warmup = Linear(0.1, 0.5, over=4)
    controller = RateController(2.0, target="kl_weight", warmup=warmup, average=3, kp=0.5, ki=0.05)
    module = Scripted(SCRIPT)
    fit_with(max_epochs=1, callbacks=[controller]).fit(module, batches(10))
    assert module.seen[:4] == [warmup(t) for t in range(4)]
    assert module.seen[4:] == expected(controller, SCRIPT[4:], start=0.5)
    assert module.seen[4] == pytest.approx(0.5, abs=1e-15)


@pytest.mark.parametrize(("unit", "over"), [("epoch", 2), ("run", 0.5)])
def test_a_warm_up_counts_in_the_unit(fit_with, unit, over):
    warmup = Linear(0.1, 0.5, over=over)
    controller = RateController(2.0, target="kl_weight", warmup=warmup, unit=unit)
    module = Scripted(SCRIPT[:8])
    fit_with(max_epochs=4, callbacks=[controller]).fit(module, batches(2))
    times = {"epoch": [0, 0, 1, 1], "run": [0, 1 / 8, 2 / 8, 3 / 8]}[unit]
    assert module.seen[:5] == pytest.approx([*[warmup(t) for t in times], 0.5])
    assert module.seen[5] != 0.5


def test_the_set_point_follows_its_schedule(fit_with):
    set_point = Constant(4.0, over=5) >> 1.0
    controller = RateController(set_point, target="kl_weight", **EAGER)
    module = Scripted(SCRIPT)
    fit_with(max_epochs=1, callbacks=[controller]).fit(module, batches(10))
    assert module.seen == expected(controller, SCRIPT)


# ---- resume --------------------------------------------------------------------------------------------


class Stepwise(VAEModule):
    """Its batch and its noise are functions of the step, which Lightning restores neither of."""

    def __init__(self) -> None:
        super().__init__(
            MLPEncoder((4,), 2, (8,)),
            MLPDecoder((4,), 2, (8,)),
            prior=DiagonalNormal(2),
            objective=ELBO(),
            optimizer=lambda parameters: torch.optim.Adam(parameters, 0.05),
        )
        self.seen = {}

    def training_step(self, batch, batch_idx):
        place = self.current_epoch, batch_idx
        generator = torch.Generator().manual_seed(10 * place[0] + place[1])
        x = torch.rand(8, 4, generator=generator).round()
        torch.manual_seed(1000 + 10 * place[0] + place[1])
        parts = super().training_step(x, batch_idx)
        self.seen[place] = self.objective.beta, parts["loss"].item(), parts["rate"].item()
        return parts


class Saves(Callback):
    """After every optimizer step."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.saved = folder, {0}

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step not in self.saved:
            self.saved.add(trainer.global_step)
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("name", CONTROLLERS)
def test_resumed_at_any_step_the_trajectory_is_the_same_to_the_bit(
    fit_with, tmp_path, name, window
):
    def run(ckpt_path=None):
        torch.manual_seed(0)
        vae, controller = Stepwise(), CONTROLLERS[name]()
        saves = [] if ckpt_path else [Saves(tmp_path)]
        trainer = fit_with(
            max_epochs=3, accumulate_grad_batches=window, callbacks=[controller, *saves]
        )
        trainer.fit(vae, batches(5), ckpt_path=ckpt_path)
        return vae.seen

    whole = run()
    assert len({beta for beta, *_ in whole.values()}) > 4, "it moves"
    checkpoints = sorted(tmp_path.glob("*.ckpt"), key=lambda path: int(path.stem))
    assert len(checkpoints) == (15 if window == 1 else 9)
    for checkpoint in checkpoints[:-1]:
        torch.load(checkpoint, weights_only=True)
        resumed = run(checkpoint)
        for place, seen in resumed.items():
            assert seen == whole[place], (checkpoint.name, place)


def test_a_new_trainer_begins_anew_and_the_same_one_goes_on(fit_with):
    controller = RateController(2.0, target="kl_weight", **EAGER)
    module = Scripted(SCRIPT)
    trainer = fit_with(max_epochs=1, callbacks=[controller])
    trainer.fit(module, batches(5))
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, batches(5))
    assert module.seen == expected(controller, SCRIPT)
    again = Scripted(SCRIPT)
    fit_with(max_epochs=2, callbacks=[controller]).fit(again, batches(5))
    assert again.seen == module.seen


def test_a_checkpoint_without_its_state_begins_at_the_coefficient_that_was_saved(
    fit_with, tmp_path
):
    vae = Stepwise()
    trainer = fit_with(max_epochs=1, callbacks=[BetaAnnealing(0.25)])
    trainer.fit(vae, batches(2))
    trainer.save_checkpoint(tmp_path / "annealed.ckpt")
    controlled, controller = Stepwise(), RateController(2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit_with(max_epochs=2, callbacks=[controller]).fit(
            controlled, batches(2), ckpt_path=tmp_path / "annealed.ckpt"
        )
    assert controlled.seen[1, 0][0] == pytest.approx(0.25, abs=1e-15)
    assert controlled.seen[1, 1][0] != controlled.seen[1, 0][0]


# ---- what it says --------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 2])
def test_coefficient_observation_and_set_point_are_written_with_the_step_they_entered(
    fit_with, tmp_path, window
):
    set_point = Linear(4.0, 1.0, over=5)
    controller = RateController(set_point, target="kl_weight", name="weight", **EAGER)
    module = Scripted(SCRIPT)
    trainer = fit_with(
        max_epochs=2,
        accumulate_grad_batches=window,
        log_every_n_steps=1,
        logger=TensorBoardLogger(tmp_path),
        callbacks=[controller],
    )
    trainer.fit(module, batches(5))
    curves = events(Path(trainer.logger.log_dir))
    means = SCRIPT if window == 1 else [2.0, 3.25, 1.5, 2.75, 0.75, 2.0]
    numbers = expected(controller, means)
    for key, truth in {
        "schedule/weight": numbers,
        "control/weight/observed": means,
        "control/weight/set_point": [set_point(t) for t in range(len(means))],
    }.items():
        assert curves[key] == [(x, pytest.approx(y)) for x, y in enumerate(truth)], key
        assert trainer.callback_metrics[key].item() == pytest.approx(truth[-1]), key


OUT_OF_REACH = {  # a controller, what it will never see otherwise, and the bound
    "a rate, from above": (lambda **k: RateController(1.5, maximum=1.0, **k), 2.08, 1.0),
    "a rate, from below": (lambda **k: RateController(3.0, minimum=0.5, **k), 2.08, 0.5),
    "a minimum rate": (lambda **k: MinimumRate(3.0, lr=0.05, **k), 2.08, 0.0),
    "a floor": (lambda **k: SoftFreeBits(3.0, minimum=0.5, **k), 2.08, 0.5),
    "a tolerance": (lambda **k: GECO(90.0, minimum=0.5, observe="rate", **k), 99.0, 0.5),
    "a tolerance, REWO's": (
        lambda **k: REWO(90.0, minimum=0.5, start=1.0, initial_phase=False, observe="rate", **k),
        99.0,
        0.5,
    ),
}


@pytest.mark.parametrize("case", OUT_OF_REACH)
def test_what_is_out_of_reach_ends_at_a_bound_and_is_said_once(fit_with, case):
    make, observed, bound = OUT_OF_REACH[case]
    module = Scripted([observed] * 800)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit_with(max_epochs=1, callbacks=[make(target="kl_weight")]).fit(module, batches(800))
    assert module.seen[-1] == bound
    said = [str(w.message) for w in caught if "cannot be reached" in str(w.message)]
    assert len(said) == 1
    assert f"has held kl_weight at its bound {bound:g} for 200 steps" in said[0]


def test_a_tolerance_that_rewo_has_not_met_is_said_at_the_end(fit_with):
    def said(tolerance, **kwargs):
        rewo = REWO(tolerance, start=0.25, target="kl_weight", observe="rate", **kwargs)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit_with(max_epochs=1, callbacks=[rewo]).fit(Scripted(SCRIPT), batches(10))
        return [str(w.message) for w in caught if "initial phase" in str(w.message)]

    (never,) = said(0.1)
    assert "rate=2 and a tolerance of 0.1" in never
    assert "kl_weight stayed at 0.25, and the prior was not trained" in never
    assert said(9.0) == said(0.1, initial_phase=False) == said(0.1, enabled=False) == []


def infeasible(**kwargs) -> RateController:
    return RateController(1.5, target="kl_weight", maximum=1.0, **kwargs)


def test_a_set_point_that_cannot_be_reached_is_said_once(fit_with, tmp_path):
    def run(steps, ckpt_path=None):
        module = Scripted([2.08] * 1000)
        trainer = fit_with(max_steps=steps, callbacks=[infeasible()])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer.fit(module, batches(1000), ckpt_path=ckpt_path)
        trainer.save_checkpoint(tmp_path / f"{steps}.ckpt")
        assert set(module.seen) == {1.0}
        return [str(w.message) for w in caught if "cannot be reached" in str(w.message)]

    assert run(199) == []
    said = run(600)
    assert len(said) == 1
    assert "has held kl_weight at its bound 1 for 200 steps, with rate=2.08 and a set" in said[0]
    assert run(201, tmp_path / "199.ckpt") == said
    assert run(900, tmp_path / "600.ckpt") == []


def test_a_bound_that_is_left_in_time_says_nothing(fit_with):
    module = Scripted(([2.08] * 150 + [0.5] * 10) * 3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit_with(max_epochs=1, callbacks=[infeasible()]).fit(module, batches(480))
    assert not [w for w in caught if "cannot be reached" in str(w.message)]


def test_a_monitored_loss_is_warned_of(fit_with):
    from lightning.pytorch.callbacks import EarlyStopping

    callbacks = [RateController(2.0), EarlyStopping("val/loss", strict=False)]
    with pytest.warns(UserWarning, match="EarlyStopping watches val/loss"):
        fit_with(max_epochs=1, callbacks=callbacks).fit(Stepwise(), batches(2), batches(1))


@pytest.mark.parametrize(
    ("controller", "written"),
    [
        (RateController(20), "RateController(Constant(20))"),
        (
            RateController(Linear(1, 20, over=9), kp=0.01, ki=0.1, log_space=False, minimum=0.0),
            "RateController(Linear(1, 20, over=9), kp=0.01, ki=0.1, minimum=0.0, log_space=False)",
        ),
        (GECO(90.5, observe="mse"), "GECO(Constant(90.5), observe='mse')"),
        (REWO(90, start=None), "REWO(Constant(90), start=None)"),
        (MinimumRate(5, lr=0.1), "MinimumRate(Constant(5), lr=0.1)"),
        (SoftFreeBits(5, step=0.1), "SoftFreeBits(Constant(5), step=0.1)"),
    ],
)
def test_prints_as_it_is_written(controller, written):
    assert repr(controller) == written


# ---- REWO's prior --------------------------------------------------------------------------------------


def test_rewo_trains_the_prior_when_the_constraint_is_met_and_not_before(fit_with):
    class Watching(Callback):
        def __init__(self):
            self.priors = []

        def on_train_batch_start(self, trainer, vae, *_):
            self.priors.append((vae.prior.loc.clone(), vae.encoder.linears[0].weight.clone()))

    for initial_phase in (True, False):
        watching = Watching()
        rewo = REWO(0.001, initial_phase=initial_phase)  # never met
        fit_with(max_epochs=1, callbacks=[rewo, watching]).fit(Stepwise(), batches(5))
        (first, encoder), *_, (last, trained) = watching.priors
        assert torch.equal(first, last) == initial_phase
        assert not torch.equal(encoder, trained)
    met = REWO(1000.0)
    watching = Watching()
    fit_with(max_epochs=1, callbacks=[met, watching]).fit(Stepwise(), batches(5))
    assert torch.equal(watching.priors[0][0], watching.priors[1][0])
    assert not torch.equal(watching.priors[1][0], watching.priors[2][0])


# ---- what it costs ---------------------------------------------------------------------------------------


def test_it_waits_for_the_device_once_an_optimizer_step(fit_with, monkeypatch):
    """Whatever reads a tensor's value waits; it is read once a window, whatever its length."""
    reads = []
    for method in ("item", "tolist", "__float__", "__bool__", "numpy"):
        original = getattr(Tensor, method)

        def counted(tensor, *args, original=original, method=method):
            reads.append(method)
            return original(tensor, *args)

        monkeypatch.setattr(Tensor, method, counted)

    counts = []

    class Counting(RateController):
        def on_train_batch_start(self, *args):
            before = len(reads)
            super().on_train_batch_start(*args)
            counts.append(len(reads) - before)

        def on_train_batch_end(self, *args):
            before = len(reads)
            super().on_train_batch_end(*args)
            counts.append(len(reads) - before)

    trainer = fit_with(
        max_epochs=1, accumulate_grad_batches=4, callbacks=[Counting(2.0)], log_every_n_steps=1
    )
    trainer.fit(Stepwise(), batches(8))
    assert counts == [0, 0, 0, 0, 0, 0, 0, 1] * 2


# ---- the model learns --------------------------------------------------------------------------------------


class Closed(VAEModule):
    """The linear-Gaussian VAE's expected loss, through the Trainer."""

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__(objective=ELBO())
        self.model, self.lr = Expected(), lr

    def encode(self, x):
        raise NotImplementedError

    def decode(self, z):
        raise NotImplementedError

    def training_step(self, batch, batch_idx):
        output = self.model.output()
        return {**self.objective(output), "rate": output.rate.mean().detach()}

    def configure_optimizers(self):
        return torch.optim.Adam(self.model.parameters(), lr=self.lr)


def test_through_the_trainer_the_rate_comes_to_its_set_point(fit_with):
    vae = Closed()
    controller = RateController(3.0)
    fit_with(max_steps=1500, callbacks=[controller]).fit(vae, batches(1500))
    rate, error, _ = vae.model.terms()
    assert within(vae.objective.beta, 0.6311)
    assert within(rate.sum().item(), 3.0)
    assert within(error.item(), 1.4622)
