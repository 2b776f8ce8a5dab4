"""Fixtures that every test may use."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch
from lightning.pytorch import Trainer

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def fit_with(tmp_path) -> Callable[..., Trainer]:
    """A quiet Trainer under tmp_path."""

    def make(**kwargs: Any) -> Trainer:
        quiet = {
            "default_root_dir": tmp_path,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": any(
                "Checkpoint" in type(c).__name__ for c in kwargs.get("callbacks", [])
            ),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
        }
        return Trainer(**{**quiet, **kwargs})

    return make


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; tests that need it are skipped without it."""
    folder = os.environ.get("LIGHTNING_VAE_DATA")
    if folder is None:
        pytest.skip("LIGHTNING_VAE_DATA is unset: no real data sets at hand")
    return Path(folder)
