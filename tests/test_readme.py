"""What the README shows, runs; what it names, exists."""

import re
import shlex
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import lightning_vae
from lightning_vae import data

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_every_example_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = {}
    assert len(blocks("python")) >= 7
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), shown)
    plt.close("all")
    assert (tmp_path / "schedules.png").stat().st_size > 50_000
    assert shown["vae"].sample is not None


def test_the_first_example_is_twenty_lines():
    lines = blocks("python")[0].strip().splitlines()
    assert sum(1 for line in lines if line and not line.startswith(("from", "import"))) <= 20


@pytest.mark.parametrize("command", blocks("sh"))
def test_every_command_is_one_line_and_names_files_that_exist(command):
    assert len(command.strip().splitlines()) == 1
    for word in shlex.split(command):
        if word.endswith((".yaml", ".txt")):
            assert (ROOT / word).exists(), word


def test_everything_public_is_in_the_table_of_parts():
    for name in [*lightning_vae.__all__, *data.__all__]:
        assert re.search(rf"\b{name}\b", README) or name in INNER, name


# What a user meets through the others.
INNER = {"Batches", "Chain", "Latent", "Prior", "Schedule", "Stored", "VAEOutput", "divergences"}
