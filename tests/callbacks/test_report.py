"""EvaluationReport: results beside the checkpoint, with what the run was trained by."""

import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_vae import ELBO, CyclicalAnnealing, Linear
from lightning_vae.callbacks import BetaAnnealing, CollapseMonitor, EvaluationReport
from lightning_vae.callbacks.report import written
from lightning_vae.cli import run
from lightning_vae.data import LinearGaussian
from tests.callbacks.test_collapse import KEYS, Known

CONFIGS = Path(__file__).parent.parent.parent / "configs"


def test_an_evaluation_is_written_beside_its_checkpoint_from_the_command_line(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    base = ["-c", str(CONFIGS / "linear_gaussian.yaml"), "--trainer.accelerator=cpu"]
    monitor = ["-c", str(CONFIGS / "monitor" / "collapse.yaml")]
    anneal = ["-c", str(CONFIGS / "anneal" / "linear.yaml")]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.check_val_every_n_epoch=1"]
    short = ["--trainer.max_epochs=2", "--seed_everything=7"]
    cli = run(["fit", *base, *anneal, *monitor, *quiet, *short])
    last = Path(cli.trainer.log_dir) / "checkpoints" / "last.ckpt"
    for command, stage in (("test", "test"), ("validate", "val")):
        run([command, *base, *monitor, *quiet, f"--ckpt_path={last}"])
        found = json.loads(last.with_name(f"last.{command}.json").read_text())
        assert {f"{stage}/{key}" for key in KEYS} <= set(found["metrics"])
        assert found["metrics"][f"{stage}/elbo"] == pytest.approx(
            cli.trainer.callback_metrics["val/elbo"].item()
        )
        assert found["checkpoint"] == str(last)
        assert len(found["CollapseMonitor"]["spectrum"]) == 5
        assert found["CollapseMonitor"]["verdict"] in ("healthy", "partly dead", "collapsed")
        trained = found["trained"]
        assert trained["seed"] == 7
        assert trained["step"] == 20
        assert trained["data"]["batch_size"] == 1000
        assert trained["data"]["class"].endswith("LinearGaussian")
        assert trained["coefficients"]["objective.beta"] == pytest.approx(0.38)
        assert "Linear(0, 1, over=5)" in trained["schedules"]["objective.beta"]
        assert "ELBO(beta=" in trained["objective"]
        assert found["evaluated"]["schedules"] == {}
    assert not list(last.parent.glob("*.part"))


def test_without_a_checkpoint_it_is_written_where_the_logs_are(fit_with, tmp_path):
    data = LinearGaussian(eigenvalues=(2.0, 1.0, 1.0, 0.5), size=64, batch_size=32)
    trainer = fit_with(callbacks=[EvaluationReport()])
    trainer.test(Known(), data, verbose=False)
    found = json.loads((tmp_path / "test.json").read_text())
    assert found["trained"] is None
    assert "test/elbo" in found["metrics"]
    elsewhere = fit_with(callbacks=[EvaluationReport(str(tmp_path / "results"))])
    elsewhere.validate(Known(), data, verbose=False)
    assert (tmp_path / "results" / "validate.json").exists()


def test_a_fit_writes_no_report_and_a_checkpoint_of_it_is_plain(fit_with, tmp_path):
    saves = ModelCheckpoint(tmp_path / "saved", "last")
    cycles = CyclicalAnnealing(cycles=2)
    vae = Known(objective=ELBO(beta=(1.0,)))
    vae.objective.beta = 1.0
    trainer = fit_with(
        callbacks=[saves, EvaluationReport(), CollapseMonitor(), cycles], max_epochs=1
    )
    data = LinearGaussian(eigenvalues=(2.0, 1.0, 1.0, 0.5), size=64, batch_size=32)
    trainer.fit(vae, data)
    assert not list(tmp_path.rglob("*.json"))
    checkpoint = torch.load(tmp_path / "saved" / "last.ckpt", weights_only=True)
    assert checkpoint["lightning_vae_provenance"]["schedules"]["objective.beta"] == repr(cycles)


def test_a_remote_checkpoint_needs_a_folder(fit_with):
    trainer = fit_with(callbacks=[EvaluationReport()])
    trainer.state.fn = None
    report = EvaluationReport()
    trainer._checkpoint_connector._ckpt_path = None
    trainer.ckpt_path = "s3://bucket/last.ckpt"
    with pytest.raises(ValueError, match="not on this machine"):
        report.path(trainer)
    assert EvaluationReport("here").path(trainer) == Path("here/last.validate.json")


def test_a_file_is_there_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "results.json"
    written(path, {"elbo": torch.tensor(-80.5), "gap": float("nan")})
    with pytest.raises(TypeError):
        written(path, {"elbo": object()})
    assert json.loads(path.read_text()) == {"elbo": -80.5, "gap": "nan"}


def test_a_schedule_that_is_disabled_is_not_in_the_report(fit_with, tmp_path):
    off = BetaAnnealing(Linear(0, 1, over=5), enabled=False)
    trainer = fit_with(callbacks=[EvaluationReport(), off])
    data = LinearGaussian(eigenvalues=(2.0, 1.0, 1.0, 0.5), size=64, batch_size=32)
    trainer.test(Known(), data, verbose=False)
    assert json.loads((tmp_path / "test.json").read_text())["evaluated"]["schedules"] == {}
