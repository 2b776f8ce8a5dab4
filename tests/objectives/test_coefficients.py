"""Every coefficient of every objective: moved by a callback, resumed, and written in YAML."""

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from lightning_vae import Anneal, Linear, VAEModule
from lightning_vae.cli import run
from tests.objectives.test_training import made
from tests.test_objectives import EXAMPLES

COEFFICIENTS = [(name, key) for name, made in EXAMPLES.items() for key in made.coefficients]
STEPS = 2  # batches an epoch


class Watch(Callback):
    """The same noise at a step in every run, and the value that a step saw."""

    def __init__(self, key):
        self.key, self.seen = key, {}

    def on_train_batch_start(self, trainer, vae, batch, batch_idx):
        step = STEPS * trainer.current_epoch + batch_idx
        torch.manual_seed(step)
        self.seen[step] = getattr(vae.objective, self.key)


def ramp(value):
    """From one legal value of a coefficient to another."""
    value = value or 0.2
    return Linear(0.9 * value, 0.5 * value + 0.3, over=4)


@pytest.mark.parametrize(("name", "key"), COEFFICIENTS)
def test_every_coefficient_is_scheduled_and_resumes_to_the_bit(name, key, fit_with, tmp_path):
    schedule, x = ramp(EXAMPLES[name].coefficients[key]), torch.rand(16, 4)

    def trained(ckpt_path=None):
        vae, watch = made(EXAMPLES[name]), Watch(key)
        # Annealed before it is watched.
        callbacks = [Anneal(f"objective.{key}", schedule, unit="step"), watch]
        callbacks.append(ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1))
        fit_with(max_epochs=2, callbacks=callbacks).fit(vae, DataLoader(x, 8), ckpt_path=ckpt_path)
        return vae, watch.seen

    whole, seen = trained()
    assert seen == {step: schedule(step) for step in range(4)}
    assert len(set(seen.values())) == 4
    resumed, again = trained(tmp_path / "epoch=0.ckpt")
    assert again == {step: seen[step] for step in (2, 3)}
    for (parameter, ours), theirs in zip(
        resumed.state_dict().items(), whole.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), parameter


# --- the command line


class Deaf(nn.Module):
    """A network that lets the context pass by."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x, **context):
        return self.network(x)


# What an objective is made of besides its coefficients.
OTHERS = {
    "Balanced": {"alpha": [1.0]},
    "DIP": {"variant": "II"},
    "ELBO": {"per": "group", "batch_mean": True},
    "FactorVAE": {
        "latents": 3,
        "hidden": [8],
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.125}},
    },
    "ImportanceWeighted": {"samples": 3, "bounds": 2, "dreg": True},
    "MMD": {"kernel": "rbf", "scales": [0.5, 2.0]},
    "MultiRate": {
        "regulariser": {
            "class_path": "lightning_vae.objectives.Regularised",
            "init_args": {"gamma": 0.5, "repeats": 2},
        }
    },
    "Regularised": {"repeats": 2, "temperature": 0.5},
    "TotalCorrelation": {"size": 100, "estimator": "mws"},
}
GROUPED = {("ELBO", "beta"), ("ELBO", "free_bits"), ("ELBO", "capacity"), ("DIP", "lambda_od")}
GROUPED |= {("MMD", "beta"), ("TotalCorrelation", "alpha")}


def network(kind):
    inner = {"class_path": f"lightning_vae.networks.{kind}"}
    inner["init_args"] = {"shape": [4], "latent": 3, "hidden": [8]}
    return {"class_path": f"{__name__}.Deaf", "init_args": {"network": inner}}


def written(name):
    """A configuration that gives every coefficient a value of its own; of a group, as a list."""
    values = {key: 0.25 + 0.125 * i for i, key in enumerate(EXAMPLES[name].coefficients)}
    if name == "ELBO":
        values["total_floor"] = 0.0  # refused beside coefficients of groups
    given = {key: [v] if (name, key) in GROUPED else v for key, v in values.items()}
    objective = {"class_path": f"lightning_vae.objectives.{name}"}
    objective["init_args"] = {**OTHERS[name], **given}
    model = {"encoder": network("MLPEncoder"), "decoder": network("MLPDecoder")}
    model["objective"] = objective
    data = {"train": "x.npy", "val": "x.npy", "batch_size": 4}
    config = {
        "trainer": {"fast_dev_run": 1, "accelerator": "cpu"},
        "model": {"class_path": "lightning_vae.VAEModule", "init_args": model},
        "data": {"class_path": "lightning_vae.data.Arrays", "init_args": data},
    }
    return config, {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_coefficient_is_written_in_yaml_and_read_back(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    np.save("x.npy", torch.rand(8, 4).numpy())
    config, truth = written(name)
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(config))
    cli = run(["fit", "-c", "first.yaml"])
    assert type(cli.model.objective).__name__ == name
    assert cli.model.objective.coefficients == truth == cli.model.objective.given
    dumped = cli.parser.dump(cli.config)
    (tmp_path / "second.yaml").write_text(dumped)
    again = run(["-c", "second.yaml"])
    assert again.model.objective.coefficients == truth
    assert again.parser.dump(again.config) == dumped
    cli.trainer.save_checkpoint("saved.ckpt")
    loaded = VAEModule.load_from_checkpoint("saved.ckpt")
    assert loaded.objective.coefficients == truth


def test_what_an_objective_is_made_of_besides_is_listed():
    assert set(OTHERS) == set(EXAMPLES)
