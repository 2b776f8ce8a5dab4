"""The command line: every file in configs/ is parsed, printed back and run; runs resume."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import LightningModule

from lightning_vae import VAEModule
from lightning_vae.cli import run
from tests.callbacks.test_annealing import events
from tests.data.made import MADE
from tests.test_linear_gaussian import TABLE, within

CONFIGS = Path(__file__).parent.parent / "configs"
BASES = {path.stem: path for path in CONFIGS.glob("*.yaml")}
MOVING = ("anneal", "control")
FRAGMENTS = {path.stem: path for kind in MOVING for path in (CONFIGS / kind).glob("*.yaml")}
CURES = {path.stem: path for path in (CONFIGS / "cures").glob("*.yaml")}
# Those that read files which are made here; all but for its data, a base like the others.
ON_FILES = sorted(set(MADE) - {"mnist"})
FULL = [name for name in BASES if name not in ON_FILES]
SWEPT = ["sprites", "mnist", "linear_gaussian", "toy_text"]
CONTROL = {"rate", "rate_steps", "geco", "minimum_rate", "soft_free_bits", "rewo"}
MOVE_BETA = {"linear", "cyclical", "sigmoid", "plateau"} | CONTROL
CURED = {  # what each changes in the model, and the least and greatest rate that it then can have
    "von_mises_fisher": (lambda vae: vae.encoder.posterior.concentration == 25, 2.018, 2.019),
    "batch_norm": (lambda vae: vae.encoder.posterior.floor == 0.36, 0.0, math.inf),
    "delta": (lambda vae: vae.encoder.posterior.delta == 0.15, 0.3, math.inf),
    "word_dropout": (lambda vae: vae.decoder.word_dropout == 0.5, 0.0, math.inf),
    "skip": (lambda vae: vae.decoder.linear.in_features == 32 + 2, 0.0, math.inf),
}
ON_CPU = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mnist_root(here, monkeypatch) -> Path:
    """Noise in MNIST's files, published here, so that its config runs where the data is not."""
    MADE["mnist"](here / "data", monkeypatch)
    return here / "data"


@pytest.fixture
def ptb_root(here) -> Path:
    """Some sentences under the names of the Penn Treebank's files."""
    root = here / "data" / "ptb"
    root.mkdir(parents=True, exist_ok=True)
    for name in ("train", "valid", "test"):
        (root / f"ptb.{name}.txt").write_text(" the cat sat \n a dog <unk> \n" * 40)
    return root


def fit(*args: str | Path):
    return run(["fit", *map(str, args), *ON_CPU])


def test_every_config_is_here():
    assert set(BASES) == {*SWEPT, "ptb", "ptb_transformer", *ON_FILES}
    assert set(CURES) == {*CURED, "lagging", "cyclical_restarts", "pretraining"}
    assert set(FRAGMENTS) == {"free_bits", "capacity"} | MOVE_BETA


@pytest.mark.parametrize("base", ON_FILES)
def test_every_config_of_files_runs(here, monkeypatch, base):
    MADE[base](here / "made", monkeypatch)
    small = ["--data.root=made", "--data.batch_size=8", "--trainer.limit_val_batches=2"]
    if base == "celeba_hq":
        small += ["--data.val_size=5", "--data.workers=1"]
    if base == "pbmc3k":
        small += ["--data.val_size=20"]
    cli = fit("-c", BASES[base], "--trainer.fast_dev_run=2", *small)
    assert cli.trainer.global_step == 2
    assert cli.trainer.callback_metrics["val/elbo"].isfinite()
    if base == "pbmc3k":
        assert cli.model.encoder.log1p


@pytest.mark.parametrize("base", FULL)
def test_every_config_runs(here, mnist_root, ptb_root, base):
    cli = fit("-c", BASES[base], "--trainer.fast_dev_run=2")
    assert cli.trainer.global_step == 2
    assert cli.trainer.callback_metrics["val/elbo"].isfinite()


@pytest.mark.parametrize("fragment", FRAGMENTS)
@pytest.mark.parametrize("base", SWEPT)
def test_every_fragment_appends_to_a_base(here, mnist_root, base, fragment):
    short = ["--trainer.max_epochs=2", "--trainer.limit_train_batches=3"]
    small = ["--data.batch_size=4", "--trainer.limit_val_batches=1"]
    replaced = base == "sprites" and fragment in MOVE_BETA  # its own annealing is the last callback
    off = ["--trainer.callbacks.enabled=false"] if replaced else []
    cli = fit("-c", BASES[base], *off, "-c", FRAGMENTS[fragment], *short, *small)
    names = [type(callback).__name__ for callback in cli.trainer.callbacks]
    assert "ModelCheckpoint" in names, "appended, not replaced"
    curves = events(cli.trainer.log_dir)
    scheduled = [key for key in curves if key.startswith("schedule/")]
    assert len(scheduled) == 1 + (base == "sprites" and not replaced)
    assert [x for x, _ in curves[scheduled[0]]][-1] == 5


@pytest.mark.parametrize("cure", sorted(set(CURES) - set(CURED)))
def test_every_cure_by_a_callback_appends_to_a_base(here, cure):
    short = ["--trainer.max_epochs=11", "--trainer.limit_train_batches=2"]
    cli = fit("-c", BASES["toy_text"], "-c", CURES[cure], *short)
    curves = events(cli.trainer.log_dir)
    said = {"lagging": "aggressive", "cyclical_restarts": "cycle", "pretraining": "phase"}[cure]
    assert curves[f"schedule/{said}"]
    assert cli.trainer.callback_metrics["val/elbo"].isfinite()
    if cure == "pretraining":
        betas = dict(curves["schedule/beta"])
        assert betas[9] == 0
        assert betas[21] == pytest.approx(0.55), "ten of its twenty-two steps are the first phase's"
        assert cli.model.objective.free_bits == 0.25


@pytest.mark.parametrize("cure", CURED)
def test_every_cure_by_a_model_is_merged_into_a_base(here, cure):
    fits, least, most = CURED[cure]
    short = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2"]
    cli = fit("-c", BASES["toy_text"], "-c", CURES[cure], *short)
    assert fits(cli.model)
    assert least - 1e-6 <= cli.trainer.callback_metrics["val/rate"] <= most


def test_a_text_model_is_reported_by_all_that_it_takes(here):
    short = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2"]
    small = ["--data.val_size=50", "--data.test_size=100"]
    cli = fit("-c", BASES["toy_text"], *short, *small)
    last = Path(cli.trainer.log_dir) / "checkpoints" / "last.ckpt"
    evaluation = ["-c", BASES["toy_text"], "-c", CONFIGS / "monitor" / "text.yaml"]
    run(["test", *map(str, evaluation), *small, "--ckpt_path", str(last), *ON_CPU])
    found = json.loads(last.with_suffix(".test.json").read_text())["metrics"]
    terms = {"distortion", "rate", "mutual_information", "active_units", "nll", "perplexity"}
    assert {f"test/{name}" for name in terms} <= set(found)
    assert "test/bits_per_dimension" not in found
    assert found["test/perplexity"] == pytest.approx(math.exp(found["test/nll"] / 7), rel=1e-4)
    assert found["test/perplexity"] == pytest.approx(54, rel=0.05), "two steps teach nothing"


@pytest.mark.parametrize(
    ("base", "fragment"),
    [
        *((base, fragment) for base in FULL for fragment in (None, *FRAGMENTS)),
        *(("toy_text", cure) for cure in CURES),
    ],
)
def test_print_config_round_trips(capsys, here, base, fragment):
    def printed(*paths: Path) -> str:
        flags = [flag for path in paths for flag in ("-c", str(path))]
        with pytest.raises(SystemExit):
            run(["fit", *flags, "--print_config"])
        return capsys.readouterr().out

    first = printed(BASES[base], *([{**FRAGMENTS, **CURES}[fragment]] if fragment else []))
    path = here / "printed.yaml"
    path.write_text(first)
    assert yaml.safe_load(printed(path)) == yaml.safe_load(first)


@pytest.mark.parametrize("module", [[], ["-m", "lightning_vae"]], ids=["script", "python -m"])
def test_both_entry_points_answer(module):
    script = Path(sys.executable).parent / "lightning-vae"
    command = [sys.executable, *module] if module else [str(script)]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "fit" in done.stdout


def test_options_reach_every_part(here):
    cli = fit(
        "-c",
        BASES["linear_gaussian"],
        "--trainer.fast_dev_run=1",
        "--model.objective.beta=4",
        "--model.optimizer=torch.optim.SGD",
        "--model.optimizer.lr=0.5",
        "--model.prior=StandardNormal",
        "--model.prior.shape=5",
        "--trainer.callbacks+=CyclicalAnnealing",
        "--trainer.callbacks.shape=lightning_vae.Cosine",
    )
    assert cli.model.objective.given["beta"] == 4.0
    assert isinstance(cli.model.optimizers().optimizer, torch.optim.SGD)


def test_short_names_are_enough(here):
    cli = fit(
        "--model=VAEModule",
        "--model.encoder=MLPEncoder",
        "--model.encoder.shape=[5]",
        "--model.encoder.latent=2",
        "--model.decoder=MLPDecoder",
        "--model.decoder.shape=[5]",
        "--model.decoder.latent=2",
        "--model.decoder.likelihood=Gaussian",
        "--data=LinearGaussian",
        "--trainer.callbacks=BetaAnnealing",
        "--trainer.callbacks.schedule=Linear",
        "--trainer.callbacks.schedule.start=0",
        "--trainer.callbacks.schedule.stop=1",
        "--trainer.callbacks.schedule.over=2",
        "--trainer.fast_dev_run=2",
    )
    assert cli.model.objective.beta == 0.0


def test_a_run_says_where_its_results_are(here, capsys):
    fit("-c", BASES["linear_gaussian"], "--trainer.max_epochs=10")
    out = capsys.readouterr().out
    assert "runs/linear_gaussian/version_0" in out
    assert "tensorboard --logdir runs" in out
    assert "val/elbo" in out


def test_a_run_without_a_logger_ends_well(here):
    fit("-c", BASES["linear_gaussian"], "--trainer.max_epochs=1", "--trainer.logger=false")


def test_a_refused_rival_prints_as_it_is_written(here):
    both = ["-c", BASES["sprites"], "-c", FRAGMENTS["cyclical"]]
    with pytest.raises(ValueError, match=r"BetaAnnealing\(.* and CyclicalAnnealing\(\)|shape="):
        fit(*both, "--data.train_size=64", "--data.val_size=8")


# ---- checkpoints of the command line -------------------------------------------------------------------


def short(folder: str, *more: str) -> list[str]:
    logger = f"--trainer.logger.init_args.version={folder}"
    return [
        "-c",
        str(BASES["linear_gaussian"]),
        "--trainer.check_val_every_n_epoch=1",
        logger,
        *more,
    ]


def test_a_rerun_and_a_resume_in_the_same_folder_work(here):
    first = fit(*short("again", "--trainer.max_epochs=1"))
    fit(*short("again", "--trainer.max_epochs=1"))
    last = Path(first.trainer.log_dir) / "checkpoints" / "last.ckpt"
    resumed = fit(*short("again", "--trainer.max_epochs=2", f"--ckpt_path={last}"))
    assert resumed.trainer.global_step == 20


def test_a_checkpoint_of_the_command_line_loads_in_python_by_itself(here):
    cli = fit(*short("load", "--trainer.max_epochs=1"))
    path = Path(cli.trainer.log_dir) / "checkpoints" / "last.ckpt"
    x = torch.randn(3, 5)
    for cls in (VAEModule, LightningModule):
        loaded = cls.load_from_checkpoint(path)
        torch.testing.assert_close(loaded.embed(x), cli.model.embed(x))
    assert loaded.sample(2).shape == (2, 5)


def test_an_annealed_coefficient_is_loaded_from_a_checkpoint_of_the_command_line(here):
    """Its hyperparameters name every argument of the objective: they were not given anew."""
    annealed = ["-c", str(FRAGMENTS["capacity"]), "--trainer.max_epochs=2"]
    cli = fit(*short("annealed", *annealed))
    path = Path(cli.trainer.log_dir) / "checkpoints" / "last.ckpt"
    capacity = cli.model.objective.capacity
    assert capacity == pytest.approx(25 * 19 / 20)
    with pytest.warns(UserWarning, match=r"capacity=23\.75 from the checkpoint"):
        loaded = VAEModule.load_from_checkpoint(path)
    assert (loaded.objective.capacity, loaded.objective.beta) == (capacity, 100.0)


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_a_checkpoint_is_evaluated_from_the_command_line(here, command):
    cli = fit(*short("evaluate", "--trainer.max_epochs=1"))
    path = Path(cli.trainer.log_dir) / "checkpoints" / "last.ckpt"
    args = [f"--ckpt_path={path}", *ON_CPU]
    again = run([command, "-c", str(BASES["linear_gaussian"]), *args])
    if command == "validate":
        elbo = again.trainer.callback_metrics["val/elbo"]
        torch.testing.assert_close(elbo, cli.trainer.callback_metrics["val/elbo"])


# ---- through the real thing -------------------------------------------------------------------------------


@pytest.mark.slow
def test_through_a_real_trainer_the_rate_is_that_of_water_filling(here):
    cli = fit("-c", BASES["linear_gaussian"], "--model.objective.beta=2")
    metrics = cli.trainer.callback_metrics
    rate, error = TABLE[2.0]
    assert within(metrics["val/rate"].item(), rate)
    constant = 2.5 * torch.log(torch.tensor(2 * torch.pi * 0.5)).item()
    assert within((metrics["val/distortion"].item() - constant) * 2 * 0.5, error)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was_with_no_gap_in_the_curve(here):
    """SIGKILL, in mid-epoch; then a resume from the last checkpoint."""
    fragment = FRAGMENTS["linear"]
    saves = [
        "--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint",
        "--trainer.callbacks.every_n_train_steps=7",
        "--trainer.callbacks.dirpath=saved",
        "--trainer.callbacks.save_last=true",
    ]
    args = ["-c", str(BASES["linear_gaussian"]), "-c", str(fragment), *saves, *ON_CPU]
    more = ["--data.batch_size=250", "--trainer.max_epochs=5"]
    command = [sys.executable, "-m", "lightning_vae", "fit", *args, *more]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    last = here / "saved" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not (last.exists() and torch.load(last, weights_only=True)["global_step"] >= 60):
        assert time.monotonic() < deadline, "no checkpoint in two minutes"
        assert killed.poll() is None, "the run ended before it was killed"
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    step = torch.load(last, weights_only=True)["global_step"]
    run(["fit", *args, *more, f"--ckpt_path={last}"])
    first, second = (
        dict(events(here / "runs" / "linear_gaussian" / f"version_{v}")["schedule/beta"])
        for v in (0, 1)
    )
    both = set(first) & set(second)
    assert all(first[x] == second[x] for x in both)
    every = 10
    xs = sorted(set(first) | set(second))
    assert xs[0] <= every
    assert xs[-1] == 199
    assert max(b - a for a, b in pairwise(xs)) <= every, "no gap"
    assert max(x for x in first if x < step) >= step - every
    for x in xs:
        value = second.get(x, first.get(x))
        assert value == pytest.approx(min(1.0, x / 40 / 5), abs=1e-6)
