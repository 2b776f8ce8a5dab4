"""SampleQuality: what it compares with what, when, and that training does not notice."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import LightningModule
from torch import nn
from torch.distributions import Normal
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanSquaredError, Metric

from lightning_vae import DiagonalGaussian, Latent, StandardNormal, VAEModule
from lightning_vae.callbacks import SampleQuality
from lightning_vae.cli import run
from lightning_vae.metrics import (
    MIG,
    ActiveUnits,
    FrechetDistance,
    PrecisionRecall,
)
from lightning_vae.metrics.features import TorchScript
from tests.callbacks.test_disentanglement import Remembers

CONFIGS = Path(__file__).parents[2] / "configs"


class Halves(VAEModule):
    """Samples are standard normal, in four dimensions; a reconstruction is half of x."""

    def __init__(self):
        super().__init__(prior=StandardNormal(4))
        self.noise = nn.Dropout()  # draws, in training mode

    def encode(self, x):
        return DiagonalGaussian(self.noise(x) / 2, torch.zeros_like(x))

    def decode(self, z):
        return Normal(z, 1.0)


class Kept(Metric):
    """Keeps what it is given."""

    full_state_update = False

    def __init__(self):
        super().__init__()
        self.seen = []

    def compute(self):
        return torch.tensor(0.0)


class Samples(Kept):
    def update(self, x, real):
        self.seen.append((x, real))

    def of(self, real):
        return torch.cat([x for x, side in self.seen if side is real])


class Pairs(Kept):
    def update(self, reconstruction, x):
        self.seen.append((reconstruction, x))


def batches(n=64, size=20, scale=1.0, shift=0.0):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(1))
    return DataLoader(scale * x + shift, size)


def unit(n=64, size=20):
    return DataLoader(torch.rand(n, 4, generator=torch.Generator().manual_seed(1)), size)


def test_samples_are_as_many_as_the_real_ones_and_reconstructions_those_of_the_module(fit_with):
    samples, pairs, vae = Samples(), Pairs(), Halves()
    fit_with(callbacks=[SampleQuality([samples, pairs])]).validate(vae, batches(), verbose=False)
    x = torch.cat(list(batches()))
    assert samples.of(real=True).equal(x)
    drawn = samples.of(real=False)
    assert drawn.shape == x.shape
    assert len(drawn.unique(dim=0)) == len(x), "each batch has draws of its own"
    reconstruction, again = map(torch.cat, zip(*pairs.seen, strict=True))
    assert again.equal(x)
    assert reconstruction.equal(vae.reconstruct(x))


def test_values_are_those_of_the_definitions(fit_with, capsys):
    distance = FrechetDistance(nn.Flatten(), features=4)
    callback = SampleQuality(
        [distance, PrecisionRecall(nn.Flatten()), MeanSquaredError()], table=True
    )
    real = batches(2000, 500, scale=3.0, shift=2.0)
    found = fit_with(callbacks=[callback]).test(Halves(), real, verbose=False)[0]
    # Of N(0, 1) from N(2, 9): 2² + (3 - 1)² a dimension.
    assert found["test/frechet_distance"] == pytest.approx(4 * 8, rel=0.05)
    x = torch.cat(list(real))
    error = (x / 2).square().mean().item()
    assert found["test/mean_squared_error"] == pytest.approx(error, rel=1e-5)
    assert found["test/precision_recall_precision"] > 0.9
    assert found["test/precision_recall_recall"] < 0.4
    report = callback.report()
    assert report["images"] == 2000
    for name, value in report["scores"].items():
        assert found[f"test/{name}"] == pytest.approx(value, rel=1e-6)
    assert "frechet distance" in capsys.readouterr().out


def test_good_samples_are_near_and_others_far(fit_with):
    callback = SampleQuality([FrechetDistance(nn.Flatten(), features=4)])
    trainer = fit_with(callbacks=[callback])
    near, far = (
        trainer.validate(Halves(), batches(2000, 500, shift=shift), verbose=False)[0]
        for shift in (0.0, 1.0)
    )
    assert 0 <= near["val/frechet_distance"] < 0.05
    assert far["val/frechet_distance"] == pytest.approx(4, rel=0.1)


def test_evaluations_see_the_same_samples_and_no_images_of_the_last(fit_with):
    vae, found = Halves(), []
    callback = SampleQuality([FrechetDistance(nn.Flatten(), features=4)])
    for _ in range(2):
        fit_with(callbacks=[callback]).validate(vae, batches(), verbose=False)
        found.append(callback.report())
        torch.rand(7)
    assert found[0] == found[1]
    other = SampleQuality([FrechetDistance(nn.Flatten(), features=4)], seed=1)
    fit_with(callbacks=[other]).validate(vae, batches(), verbose=False)
    assert other.scores != callback.scores


def fitted(fit_with, callbacks):
    torch.manual_seed(3)
    vae = Remembers()
    trainer = fit_with(callbacks=callbacks, max_epochs=3, num_sanity_val_steps=2)
    trainer.fit(vae, DataLoader(torch.rand(64, 4), 16, shuffle=True), unit())
    return vae, trainer, torch.get_rng_state()


def test_training_does_not_notice(fit_with):
    plain, before, state = fitted(fit_with, [])
    noisy = FrechetDistance(lambda x: x + torch.rand_like(x), features=4)
    quality = SampleQuality([noisy, MeanSquaredError()])
    watched, after, same = fitted(fit_with, [quality])
    for one, other in zip(plain.state_dict().values(), watched.state_dict().values(), strict=True):
        assert one.equal(other)
    assert same.equal(state)
    assert watched.training
    assert all(module.training for module in watched.modules())
    assert after.callback_metrics["val/elbo"] == before.callback_metrics["val/elbo"]
    assert after.callback_metrics["val/mean_squared_error"] > 0


class Counts(SampleQuality):
    def __init__(self, **kwargs):
        super().__init__([MeanSquaredError()], **kwargs)
        self.epochs = []

    def _evaluate(self, trainer, module, stage):
        self.epochs.append((stage, trainer.current_epoch, self._images))
        super()._evaluate(trainer, module, stage)


def test_it_runs_every_n_epochs_and_whenever_asked(fit_with):
    callback = Counts(every_n_epochs=2)
    trainer = fit_with(callbacks=[callback], max_epochs=5, num_sanity_val_steps=2)
    trainer.fit(Remembers(), DataLoader(torch.rand(32, 4), 16), unit())
    assert callback.epochs == [("val", 1, 64), ("val", 3, 64)]
    trainer.validate(Remembers(), unit(), verbose=False)
    trainer.test(Remembers(), unit(), verbose=False)
    assert [(stage, n) for stage, _, n in callback.epochs[2:]] == [("val", 64), ("test", 64)]


def test_of_several_sets_the_first_is_measured(fit_with):
    callback = Counts()
    trainer = fit_with(callbacks=[callback])
    trainer.validate(Remembers(), [unit(), unit(10)], verbose=False)
    assert callback.epochs == [("val", 0, 64)]


class Labelled(Halves):
    """What is drawn and reconstructed is ten times the label."""

    def context(self, batch):
        return {"label": batch[1]}

    def encode(self, x, label):
        return super().encode(x)

    def decode(self, z, label):
        return Normal(0 * z + 10 * label.unsqueeze(1), 1.0)


def test_samples_have_the_context_of_the_real_ones(fit_with):
    samples, pairs = Samples(), Pairs()
    labels = torch.arange(64.0)
    data = DataLoader(TensorDataset(torch.rand(64, 4), labels), 20)
    callback = SampleQuality([samples, pairs])
    fit_with(callbacks=[callback]).validate(Labelled(), data, verbose=False)
    expected = 10 * labels.unsqueeze(1).expand(64, 4)
    assert samples.of(real=False).equal(expected)
    assert torch.cat([reconstruction for reconstruction, _ in pairs.seen]).equal(expected)


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed"])
def test_low_precision_is_measured_in_float32(precision, fit_with):
    samples = Samples()
    distance = FrechetDistance(nn.Linear(4, 3), features=3)
    trainer = fit_with(callbacks=[SampleQuality([samples, distance])], precision=precision)
    trainer.validate(Remembers(), unit(), verbose=False)
    assert samples.of(real=True).dtype == samples.of(real=False).dtype == torch.float32


# Mistakes


class Layers(VAEModule):
    def infer(self, x, **context):
        q = DiagonalGaussian(x, torch.zeros_like(x))
        return (Latent(q, Normal(0 * x, 1.0), x, 0 * x),)

    def decode(self, z):
        return Normal(z, 1.0)


class Foreign(LightningModule):
    def validation_step(self, batch):
        pass


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (Layers, TypeError, r"Layers overrides infer but not draw.* write draw\(n\)"),
        (Foreign, ValueError, "needs a VAEModule, .* got Foreign"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused_before_the_first_batch(
    module, error, message, fit_with
):
    trainer = fit_with(callbacks=[SampleQuality([Samples()])])
    with pytest.raises(error, match=message):
        trainer.validate(module(), batches(), verbose=False)


def test_a_hierarchy_that_cannot_draw_is_reconstructed(fit_with):
    pairs = Pairs()
    fit_with(callbacks=[SampleQuality([pairs])]).validate(Layers(), batches(), verbose=False)
    assert len(pairs.seen) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": []}, r"metrics is empty: write \[ReconstructionQuality\(\)\]"),
        ({"metrics": [MIG()]}, "metrics: MIG compares no images"),
        ({"metrics": [ActiveUnits()]}, "metrics: ActiveUnits compares no images"),
        ({"metrics": [Pairs(), Pairs()]}, "metrics has two of pairs: keep one"),
        ({"every_n_epochs": 0}, "every_n_epochs must be a whole number of at least 1, got 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
    ],
)
def test_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SampleQuality(**{"metrics": [Pairs()], **arguments})


# The command line


def corners(x):
    """Features of a user's own, by their dotted name."""
    return x.flatten(1)[:, :3]


def scripted(folder):
    path = folder / "features.pt"
    torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Dropout())).save(path)
    return path


def test_a_network_in_torchscript_gives_features(tmp_path):
    extractor = TorchScript(str(scripted(tmp_path)))
    x = torch.rand(5, 4)
    assert extractor(x).equal(torch.jit.load(extractor.path).eval()(x))
    with pytest.raises(ValueError, match=r"path='features\.pt' is no file: .* torch\.jit\.save"):
        TorchScript("features.pt")


def small(*more):
    return [
        "-c",
        str(CONFIGS / "sprites.yaml"),
        "--data.train_size=64",
        "--data.val_size=32",
        "--data.test_size=32",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        *more,
    ]


def test_one_command_evaluates_a_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fitted = run(["fit", *small("--trainer.max_epochs=1")])
    checkpoint = fitted.trainer.checkpoint_callback.best_model_path
    capsys.readouterr()
    fragment = str(CONFIGS / "monitor/quality.yaml")
    cli = run(["test", *small("-c", fragment, f"--ckpt_path={checkpoint}")])
    found = cli.trainer.callback_metrics
    assert found["test/frechet_distance"] > 0
    assert found["test/reconstruction_quality_psnr"] > 5
    for key in ("precision_recall_precision", "precision_recall_recall"):
        assert 0 <= found[f"test/{key}"] <= 1
    assert abs(found["test/reconstruction_quality_ssim"]) <= 1
    assert "frechet distance" in capsys.readouterr().out
    written = json.loads(Path(checkpoint).with_suffix(".test.json").read_text())
    assert written["SampleQuality"]["images"] == 32
    for name, value in written["SampleQuality"]["scores"].items():
        assert written["metrics"][f"test/{name}"] == pytest.approx(value, rel=1e-6)


def test_features_are_a_module_a_file_or_a_function_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    torch.jit.script(network).save("features.pt")
    values = []
    for extractor, features in (
        ({"class_path": "torch.nn.AdaptiveAvgPool2d", "init_args": {"output_size": 2}}, 4),
        (
            {
                "class_path": "lightning_vae.metrics.features.TorchScript",
                "init_args": {"path": "features.pt"},
            },
            4,
        ),
        ("tests.callbacks.test_quality.corners", 3),
    ):
        metric = {
            "class_path": "lightning_vae.metrics.FrechetDistance",
            "init_args": {"extractor": extractor, "features": features},
        }
        callback = {
            "class_path": "lightning_vae.callbacks.SampleQuality",
            "init_args": {"metrics": [metric]},
        }
        Path("fragment.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [callback]}}))
        cli = run(["validate", *small("-c", "fragment.yaml", "--seed_everything=1")])
        values.append(cli.trainer.callback_metrics["val/frechet_distance"].item())
    module, file, function = values
    assert module == pytest.approx(file, rel=1e-5)
    assert function != pytest.approx(file, rel=0.1)
