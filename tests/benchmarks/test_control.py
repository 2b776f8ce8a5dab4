"""What controllers reach on MNIST, beside a capacity of equal rate, and what one costs a step.

Run with ``LIGHTNING_VAE_DATA=... pytest -s tests/benchmarks/test_control.py``; it prints the tables
that it asserts. The model is an MLP 784-256-32 with gray values; batches of 256, Adam at 1e-3.
"""

import statistics

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_vae import ELBO, BetaAnnealing, CapacityAnnealing, Linear, VAEModule
from lightning_vae.callbacks import RateController
from lightning_vae.data import MNIST
from lightning_vae.networks import MLPDecoder, MLPEncoder
from tests.benchmarks.test_step import BATCH, STEPS, fit, one_thread  # noqa: F401  a fixture

EPOCHS, ROUNDS = 5, 9


class Means(Callback):
    """The means of rate, distortion and β over every epoch."""

    def __init__(self) -> None:
        self.sums: dict[int, torch.Tensor] = {}

    def on_train_batch_end(self, trainer, vae, outputs, *_):
        seen = torch.tensor(
            [outputs["rate"].item(), outputs["distortion"].item(), vae.objective.beta, 1.0]
        )
        epoch = trainer.current_epoch
        self.sums[epoch] = self.sums.get(epoch, 0.0) + seen.double()

    def over(self, epoch: int) -> list[float]:
        sums = self.sums[epoch]
        return (sums[:3] / sums[3]).tolist()


def train(real_data, callbacks, objective, seed: int = 0) -> tuple[list[list[float]], dict]:
    torch.manual_seed(seed)
    vae = VAEModule(
        MLPEncoder((1, 28, 28), latent=32, hidden=(256,)),
        MLPDecoder((1, 28, 28), latent=32, hidden=(256,)),
        objective=objective,
    )
    means = Means()
    trainer = Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[*callbacks, means],
    )
    trainer.fit(vae, MNIST(real_data / "mnist", batch_size=256, seed=seed))
    metrics = {key: value.item() for key, value in trainer.callback_metrics.items()}
    return [means.over(epoch) for epoch in range(EPOCHS)], metrics


ARMS = {
    "RateController 10": (lambda: [RateController(10.0)], lambda: ELBO(), 10),
    "RateController 20": (lambda: [RateController(20.0)], lambda: ELBO(), 20),
    "after a warm-up 10": (
        lambda: [RateController(10.0, warmup=Linear(0.1, 1.0, over=234))],
        lambda: ELBO(),
        10,
    ),
    "capacity 10, γ 100": (
        lambda: [CapacityAnnealing(Linear(0, 10, over=0.5), unit="run")],
        lambda: ELBO(beta=100.0),
        10,
    ),
    "capacity 20, γ 100": (
        lambda: [CapacityAnnealing(Linear(0, 20, over=0.5), unit="run")],
        lambda: ELBO(beta=100.0),
        20,
    ),
    "capacity 10, γ 1000": (
        lambda: [CapacityAnnealing(Linear(0, 10, over=0.5), unit="run")],
        lambda: ELBO(beta=1000.0),
        10,
    ),
    "capacity 20, γ 1000": (
        lambda: [CapacityAnnealing(Linear(0, 20, over=0.5), unit="run")],
        lambda: ELBO(beta=1000.0),
        20,
    ),
}


@pytest.fixture(scope="module")
def results(real_data):
    torch.set_num_threads(1)
    made = {
        name: train(real_data, callbacks(), objective())
        for name, (callbacks, objective, _) in ARMS.items()
    }
    print(f"\n{'':22} {'rate':>8} {'distortion':>10} {'β':>7} {'val rate':>8} {'val dist.':>9}")
    for name, (epochs, metrics) in made.items():
        rate, distortion, beta = epochs[-1]
        row = f"{rate:8.3f} {distortion:10.2f} {beta:7.3f}"
        print(f"{name:22} {row} {metrics['val/rate']:8.3f} {metrics['val/distortion']:9.2f}")
    return made


@pytest.mark.parametrize("name", [name for name in ARMS if "capacity" not in name])
def test_the_rate_is_at_its_set_point_within_five_epochs_without_a_gain_given(results, name):
    epochs, _ = results[name]
    # Of the training images: the test images' rate is a few percent above it.
    assert epochs[-1][0] == pytest.approx(ARMS[name][2], rel=0.05)


@pytest.mark.parametrize("target", [10, 20])
@pytest.mark.parametrize("gamma", [100, 1000])
def test_a_controllers_distortion_is_no_higher_than_a_capacitys_at_equal_rate(
    results, target, gamma
):
    our_epochs, ours = results[f"RateController {target}"]
    rate, distortion, beta = our_epochs[-1]
    their_epochs, theirs = results[f"capacity {target}, γ {gamma}"]
    their_rate, their_distortion, _ = their_epochs[-1]
    assert their_rate == pytest.approx(target, rel=0.05)
    # A nat of rate more is worth β nats of distortion, so that is added to compare at equal rate.
    assert distortion + beta * (rate - their_rate) <= their_distortion
    excess = ours["val/rate"] - theirs["val/rate"]
    assert ours["val/distortion"] + beta * excess <= theirs["val/distortion"]


def step(batches: list[torch.Tensor], root: str, controllers: list[Callback]) -> float:
    vae = VAEModule(MLPEncoder((1, 28, 28), latent=20), MLPDecoder((1, 28, 28), latent=20))
    return fit(vae, batches, logger=TensorBoardLogger(root), callbacks=controllers)


@pytest.mark.usefixtures("one_thread")
def test_a_controller_costs_a_step_little(tmp_path):
    """One wait for the device an optimizer step is inherent: β is a Python float."""
    batches = list(torch.rand(STEPS, BATCH, 1, 28, 28))
    contenders = {
        "alone": list,
        "annealed": lambda: [BetaAnnealing(Linear(0, 1, over=STEPS), unit="step")],
        "controlled": lambda: [RateController(20.0)],
    }
    rounds = [
        {name: step(batches, str(tmp_path), make()) for name, make in contenders.items()}
        for _ in range(ROUNDS + 1)
    ][1:]
    ratios = {
        name: statistics.median(times[name] / times["alone"] for times in rounds)
        for name in contenders
    }
    milliseconds = 1e3 * statistics.median(times["alone"] for times in rounds)
    print(f"\nalone: p10 {milliseconds:.2f} ms a step")
    for name, ratio in ratios.items():
        print(f"{name:12} {ratio:.3f}")
    assert ratios["controlled"] <= 1.05
