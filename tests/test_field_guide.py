"""The field guide: every command runs, and what it says of symptom and cure is so."""

import math
import re
import shlex
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_vae import ELBO, Cyclic, Linear, likelihoods
from lightning_vae.callbacks import RateController
from lightning_vae.cli import run
from lightning_vae.networks import MLPDecoder
from tests.test_linear_gaussian import EIGENVALUES, TABLE

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "notebooks" / "field_guide.md").read_text()
SECTIONS = dict(re.findall(r"^## (\d)\. .*\n((?:(?!^## ).*\n?)*)", GUIDE, re.MULTILINE))
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
# Quantities of the table under each command: how the guide writes them, where they are logged.
KEYS = {
    "rate": "val/rate",
    "information": "val/mutual_information",
    "active": "val/active_units",
    "gap": "val/shuffled_gap",
    "prior": "val/dimension_wise_kl",
    "β": "schedule/beta",
    "ELBO": "val/elbo",
    "loss": "val/loss",
}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(section: str) -> list[list[str]]:
    """The arguments of every fit of a section."""
    (block,) = blocks(SECTIONS[section], "sh")
    fits = [shlex.split(fit) for fit in block.split("&&")]
    assert all(fit[:2] == ["lightning-vae", "fit"] for fit in fits)
    return [fit[1:] for fit in fits]


def table(section: str) -> list[dict[str, float]]:
    """What the guide says that every fit of a section ends with."""
    rows = re.findall(r"^\| (.+) \|$", SECTIONS[section], re.MULTILINE)
    names, *values = [row.split(" | ") for row in rows]
    return [
        {
            KEYS[name]: float(cell.replace("−", "-"))
            for name, cell in zip(names[1:], row[1:], strict=True)
        }
        for row in values
    ]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    return tmp_path


def measured(args: list[str], *more: str) -> dict[str, float]:
    found = run([*args, "--trainer.accelerator=cpu", *QUIET, *more]).trainer.callback_metrics
    return {key: float(value) for key, value in found.items()}


def test_every_section_has_a_symptom_a_diagnostic_a_cure_and_one_command():
    assert list(SECTIONS) == [str(k) for k in range(1, 10)]
    for text in SECTIONS.values():
        for part in ("**In TensorBoard.**", "**What tells.**", "**What to do.**"):
            assert text.count(part) == 1
        assert len(blocks(text, "sh")) == 1
        assert len(blocks(text, "python") + blocks(text, "yaml")) >= 1


def test_the_table_of_contents_links_to_every_section():
    links = re.findall(r"^\| \[\d\]\(#(.+?)\)", GUIDE, re.MULTILINE)
    titles = re.findall(r"^## (\d\. .+)", GUIDE, re.MULTILINE)
    assert links == [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_command_runs(here, section):
    for args in commands(section):
        found = measured(args, "--trainer.fast_dev_run=2")
        assert math.isfinite(found["val/elbo"])


@pytest.mark.parametrize("section", SECTIONS)
def test_every_fit_has_its_row(section):
    # One fit of 6 writes both checkpoints.
    assert len(table(section)) == (2 if section == "6" else len(commands(section)))


# The fits that end at the optimum, by section and row: β, the decoder's variance, the latents.
OPTIMA = {
    ("2", 0): (1.0, 9.0, 5),
    ("2", 1): (1.0, 0.35, 3),
    ("4", 0): (1.5, 0.5, 5),
    ("5", 1): (1.0, 0.5, 5),
    ("7", 0): (0.398, 0.5, 5),
    ("7", 1): (1.0, 0.5, 5),
    ("8", 0): (1.0, 0.5, 5),
}


@pytest.mark.parametrize(("section", "row"), OPTIMA)
def test_what_is_written_is_water_filling(section, row):
    beta, variance, latents = OPTIMA[section, row]
    level, kept, left = beta * variance, EIGENVALUES[:latents], EIGENVALUES[latents:]
    rate = sum(0.5 * max(0.0, math.log(value / level)) for value in kept)
    error = sum(min(value, level) for value in kept) + sum(left)
    distortion = 0.5 * (error / variance + len(EIGENVALUES) * math.log(2 * math.pi * variance))
    written = table(section)[row]
    assert written["val/rate"] == pytest.approx(rate, rel=0.02, abs=0.005)
    assert written["val/elbo"] == pytest.approx(-rate - distortion, abs=0.05)


# Symptom and cure at the end of the guide's own fits, where theory has numbers for them.
TRUTH = {
    "2": (
        {"val/rate": 0.0, "val/mutual_information": 0.0, "val/active_units": 0},
        {"val/rate": 0.5 * math.log(4 * 2 * 1 / 0.35**3), "val/active_units": 3},
    ),
    "8": ({"val/rate": TABLE[1.0][0]}, {"val/rate": 1.5, "val/active_units": 3}),
}


@pytest.mark.slow
@pytest.mark.parametrize("section", TRUTH)
def test_symptom_and_cure_are_those_of_theory(here, section):
    for args, truth in zip(commands(section), TRUTH[section], strict=True):
        found = measured(args)
        for key, value in truth.items():
            assert found[key] == pytest.approx(value, rel=0.02, abs=0.02), key


def test_the_least_loss_is_at_the_begin_of_a_warm_up_and_the_best_elbo_at_its_end(here):
    (args,) = commands("6")
    measured(args, "--trainer.max_epochs=60")
    (by_loss,) = here.rglob("by_loss-*.ckpt")
    (by_elbo,) = here.rglob("epoch=*.ckpt")
    assert by_loss.name == "by_loss-epoch=9.ckpt"
    assert by_elbo.name == "epoch=59-step=600.ckpt"


@pytest.mark.parametrize("fragment", blocks(GUIDE, "yaml"))
def test_every_fragment_appends_to_a_base(here, fragment):
    (here / "fragment.yaml").write_text(fragment)
    args = ["fit", "-c", "configs/toy_text.yaml", "-c", "fragment.yaml"]
    assert math.isfinite(measured(args, "--trainer.fast_dev_run=1")["val/elbo"])


def test_what_is_written_in_python_does_what_is_said_of_it():
    parts = (ELBO, Cyclic, Linear, MLPDecoder, ModelCheckpoint, RateController)
    known = {"likelihoods": likelihoods, **{part.__name__: part for part in parts}}
    for block in blocks(GUIDE, "python"):
        exec(compile(block, "field_guide.md", "exec"), known)
    assert Cyclic(Linear(0, 1, over=500), period=1000, cycles=4)(199) == pytest.approx(0.398)
