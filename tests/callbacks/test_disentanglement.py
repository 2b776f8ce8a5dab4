"""DisentanglementEvaluation: what it finds, when, and that training does not notice."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader

from lightning_vae import DiagonalGaussian, VAEModule
from lightning_vae.callbacks import DisentanglementEvaluation
from lightning_vae.callbacks.disentanglement import default_metrics
from lightning_vae.cli import run
from lightning_vae.data import Sprites
from lightning_vae.data.factored import Factored, random_factors
from lightning_vae.data.sprites import draw
from lightning_vae.metrics import (
    DCI,
    MIG,
    BetaVAEScore,
    FactorVAEScore,
    GaussianTotalCorrelation,
    Modularity,
    PosteriorMIG,
    binned_boosted_trees,
)
from lightning_vae.metrics.beta_vae_score import fresh_beta_vae_score
from lightning_vae.metrics.factor_vae_score import fresh_factor_vae_score
from lightning_vae.networks import MLPDecoder, MLPEncoder

CONFIGS = Path(__file__).parents[2] / "configs"


class Factors(LightningDataModule):
    """Examples that are their factors, in [0, 1]."""

    factor_names = ("a", "b", "c")
    factor_sizes = (4, 5, 6)

    def render(self, factors):
        x = factors / torch.tensor(self.factor_sizes)
        return torch.cat([x, torch.ones(len(factors), 1)], 1)

    def train_dataloader(self):
        return DataLoader(self.render(random_factors(self.factor_sizes, 64)), 16, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.render(random_factors(self.factor_sizes, 32)), 16)

    test_dataloader = val_dataloader


class Perfect(VAEModule):
    """Each factor in a latent of its own; a fourth is dead."""

    def __init__(self, spread=-20.0):
        super().__init__(decoder=MLPDecoder((4,), latent=4))
        self.spread = spread
        self.noise = nn.Dropout()  # draws, in training mode

    def encode(self, x):
        x = self.noise(x)
        return DiagonalGaussian(x * torch.tensor([4.0, -5, 6, 0.01]).to(x), self.spread)


class Remembers(VAEModule):
    """Draws and normalises in training: what an evaluation could disturb."""

    def __init__(self):
        super().__init__(encoder=MLPEncoder((4,), latent=3), decoder=MLPDecoder((4,), latent=3))
        self.norm, self.dropout = nn.BatchNorm1d(4), nn.Dropout(0.2)

    def encode(self, x):
        return self.encoder(self.dropout(self.norm(x)))


def quick():
    return [MIG(), FactorVAEScore(train=200, test=100), Modularity(), GaussianTotalCorrelation()]


def test_perfect_codes_are_found_and_logged(fit_with, capsys):
    callback = DisentanglementEvaluation([*quick(), PosteriorMIG()], points=500, table=True)
    trainer = fit_with(callbacks=[callback])
    found = trainer.validate(Perfect(), Factors(), verbose=False)[0]
    # Of 500 draws, factors share a little by chance.
    assert found["val/mig"] == pytest.approx(1, abs=0.03)
    assert found["val/posterior_mig"] == pytest.approx(1, abs=0.03)
    assert found["val/factor_vae_score"] == 1
    # Of three latents that know one factor each, and one that knows nothing.
    assert found["val/modularity"] == pytest.approx(0.75, abs=0.01)
    assert 0 <= found["val/gaussian_total_correlation"] < 0.02
    for name, value in callback.report()["scores"].items():
        assert found[f"val/{name}"] == pytest.approx(value, rel=1e-6)
    printed = capsys.readouterr().out
    assert "factor vae score" in printed
    assert "1.0000" in printed


def test_the_exact_mig_sees_spread_that_means_hide(fit_with):
    callback = DisentanglementEvaluation([MIG(), PosteriorMIG()], points=500)
    trainer = fit_with(callbacks=[callback])
    trainer.test(Perfect(spread=8.0), Factors(), verbose=False)
    assert callback.scores["mig"] == pytest.approx(1, abs=0.03)
    assert callback.scores["posterior_mig"] < 0.1
    assert trainer.callback_metrics["test/mig"].item() == pytest.approx(callback.scores["mig"])


def test_several_values_have_several_keys(fit_with):
    callback = DisentanglementEvaluation([DCI(fit=binned_boosted_trees)], points=300)
    found = fit_with(callbacks=[callback]).test(Perfect(), Factors(), verbose=False)[0]
    for name in ("disentanglement", "completeness", "informativeness"):
        assert found[f"test/dci_{name}"] == pytest.approx(1, abs=1e-3)


def test_every_default_metric_runs(fit_with):
    callback = DisentanglementEvaluation(points=400)
    fit_with(callbacks=[callback]).validate(Perfect(), Factors(), verbose=False)
    assert len(callback.scores) == len(default_metrics())
    assert all(0 <= value <= 1 for value in callback.scores.values())


class Watched(Factors):
    """Remembers what was asked of it."""

    def __init__(self):
        super().__init__()
        self.rendered = []

    def render(self, factors):
        self.rendered.append(factors)
        return super().render(factors)


def test_fresh_votes_are_those_of_the_definition_rendered_in_large_batches(fit_with):
    vae, data = Remembers(), Watched()
    votes = {"train": 400, "test": 300, "group": 8, "seed": 5}
    metrics = [MIG(), FactorVAEScore(**votes), BetaVAEScore(**votes)]
    callback = DisentanglementEvaluation(metrics, points=100, batch_size=50, fresh_votes=True)
    fit_with(callbacks=[callback]).validate(vae, data, verbose=False)

    def encode(classes):
        return vae.embed(Factors().render(classes))

    sizes = data.factor_sizes
    for name, fresh in (
        ("factor_vae_score", fresh_factor_vae_score),
        ("beta_vae_score", fresh_beta_vae_score),
    ):
        expected = fresh(encode, sizes, **votes).item()
        assert callback.scores[name] == pytest.approx(expected, abs=1e-3)
        assert expected > 0.3
    voted = data.rendered[3:]  # after the validation set, and two batches for the others
    assert len(torch.cat(voted).unique(dim=0)) == 120, "each combination once"
    assert [len(part) for part in voted] == [50, 50, 20]
    pooled = DisentanglementEvaluation(metrics, points=100)
    fit_with(callbacks=[pooled]).validate(vae, data, verbose=False)
    assert pooled.scores["mig"] == callback.scores["mig"]
    assert pooled.scores["factor_vae_score"] != callback.scores["factor_vae_score"]
    assert {*pooled.scores} == {*callback.scores}


def fitted(fit_with, callbacks):
    torch.manual_seed(3)
    vae = Remembers()
    trainer = fit_with(callbacks=callbacks, max_epochs=3, num_sanity_val_steps=2)
    trainer.fit(vae, Factors())
    return vae, trainer, torch.get_rng_state()


def test_training_does_not_notice(fit_with):
    plain, before, state = fitted(fit_with, [])
    watched, after, same = fitted(
        fit_with, [DisentanglementEvaluation([*default_metrics(), PosteriorMIG()], points=200)]
    )
    for one, other in zip(plain.state_dict().values(), watched.state_dict().values(), strict=True):
        assert one.equal(other)
    assert same.equal(state)
    assert watched.training
    assert watched.norm.running_mean.abs().sum() > 0
    assert after.callback_metrics["val/elbo"] == before.callback_metrics["val/elbo"]
    assert "val/mig" in after.callback_metrics


class Counts(DisentanglementEvaluation):
    def __init__(self, **kwargs):
        super().__init__(quick(), points=100, **kwargs)
        self.epochs = []

    def _evaluate(self, trainer, module, stage):
        self.epochs.append((stage, trainer.current_epoch))
        super()._evaluate(trainer, module, stage)


def test_it_runs_every_n_epochs_and_whenever_asked(fit_with):
    callback = Counts(every_n_epochs=2)
    trainer = fit_with(callbacks=[callback], max_epochs=5, num_sanity_val_steps=2)
    trainer.fit(Remembers(), Factors())
    assert callback.epochs == [("val", 1), ("val", 3)]
    trainer.validate(Remembers(), Factors(), verbose=False)
    trainer.test(Remembers(), Factors(), verbose=False)
    assert [stage for stage, _ in callback.epochs[2:]] == ["val", "test"]


def test_evaluations_see_the_same_examples(fit_with):
    vae, found = Remembers(), []
    for _ in range(2):
        callback = DisentanglementEvaluation(quick(), points=100)
        fit_with(callbacks=[callback]).validate(vae, Factors(), verbose=False)
        found.append(callback.scores)
    other = DisentanglementEvaluation(quick(), points=100, seed=1, batch_size=7)
    fit_with(callbacks=[other]).validate(vae, Factors(), verbose=False)
    assert found[0] == found[1] != other.scores


def test_bfloat16_modules_are_scored(fit_with):
    callback = DisentanglementEvaluation(quick(), points=200)
    trainer = fit_with(callbacks=[callback], precision="bf16-true")
    trainer.validate(Perfect(), Factors(), verbose=False)
    assert callback.scores["mig"] == pytest.approx(1, abs=0.05)


def test_sprites_are_drawn_as_their_batches_are():
    data = Sprites(train_size=64, val_size=10, test_size=10)
    x, factors = next(iter(data.train_dataloader()))
    assert isinstance(data, Factored)
    assert data.render(factors).equal(x)
    assert data.render(factors).squeeze(1).equal(draw(factors).float())


def test_random_factors_are_even_and_independent():
    factors = random_factors((2, 3), 60_000, seed=1)
    table = (factors[:, 0] * 3 + factors[:, 1]).bincount() / 60_000
    torch.testing.assert_close(table, torch.full((6,), 1 / 6), atol=0.006, rtol=0)
    assert factors.equal(random_factors((2, 3), 60_000, seed=1))


# Mistakes


class NoEmbed(LightningModule):
    def validation_step(self, batch):
        pass


@pytest.mark.parametrize(
    ("module", "data", "message"),
    [
        (Perfect, lambda: LightningDataModule(), r"render\(factors\); got LightningDataModule"),
        (Perfect, lambda: None, r"with known factors, such as Sprites: .* got none"),
        (NoEmbed, Factors, r"NoEmbed has no embed\(x\)"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_the_first_batch(
    module, data, message, fit_with
):
    given = data()
    loaders = [[torch.zeros(2, 4)]] if given is None else given
    trainer = fit_with(callbacks=[DisentanglementEvaluation(quick())])
    with pytest.raises(ValueError, match=message):
        trainer.validate(module(), loaders, verbose=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": 0}, "points must be at least 1, got 0"),
        ({"every_n_epochs": 0}, "every_n_epochs must be at least 1, got 0"),
        ({"batch_size": -1}, "batch_size must be at least 1, got -1"),
        ({"metrics": [MIG(), MIG(bins=5)]}, "metrics has two of mig: keep one"),
    ],
)
def test_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        DisentanglementEvaluation(**arguments)


# The command line


def test_one_command_evaluates_a_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = [
        "-c",
        str(CONFIGS / "sprites.yaml"),
        "--data.train_size=64",
        "--data.val_size=32",
        "--data.test_size=32",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
    ]
    fitted = run(["fit", *small, "--trainer.max_epochs=1"])
    checkpoint = fitted.trainer.checkpoint_callback.best_model_path
    fragment = yaml.safe_load((CONFIGS / "monitor/disentanglement.yaml").read_text())
    callback, _ = fragment["trainer"]["callbacks+"]
    assert callback["init_args"]["fresh_votes"]
    callback["init_args"]["points"] = 200
    for metric in callback["init_args"]["metrics"]:
        if metric["class_path"].endswith("VAEScore"):  # of most of the 737,280 images by default
            metric["init_args"] = {"train": 10, "test": 10, "group": 8}
    (tmp_path / "fragment.yaml").write_text(json.dumps(fragment))
    capsys.readouterr()
    cli = run(["test", *small, "-c", "fragment.yaml", f"--ckpt_path={checkpoint}"])
    found = cli.trainer.callback_metrics
    names = [item["class_path"].rpartition(".")[2] for item in callback["init_args"]["metrics"]]
    assert len([key for key in found if "dci" not in key]) >= len(names) - 1
    for key in ("test/mig", "test/sap", "test/dci_disentanglement", "test/beta_vae_score"):
        assert 0 <= found[key] <= 1, key
    assert "dci disentanglement" in capsys.readouterr().out
    written = json.loads(Path(checkpoint).with_suffix(".test.json").read_text())
    assert written["metrics"]["test/mig"] == pytest.approx(found["test/mig"].item())
    assert written["DisentanglementEvaluation"]["points"] == 200
    assert written["evaluated"]["data"]["sizes"]["test"] == 32
