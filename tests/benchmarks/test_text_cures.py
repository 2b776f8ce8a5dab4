"""The comparison of cures, a few steps of it: every arm can be fitted, and none lacks a number."""

import json
import math
import sys

import pytest

from tests.benchmarks import text_cures


@pytest.mark.parametrize("arm", text_cures.ARMS)
def test_every_arm_is_fitted_and_measured(arm, tmp_path, monkeypatch, capsys):
    command = ["text_cures", "toy", "--out", str(tmp_path), "--seeds=1", "--steps=16"]
    monkeypatch.setattr(sys, "argv", [*command, "--arms", arm])
    text_cures.main()
    (path,) = tmp_path.glob("*.json")
    row = json.loads(path.read_text())
    assert all(math.isfinite(row[column]) for column in text_cures.COLUMNS)
    # What a bound leaves over is not more than a few standard errors.
    assert row["nll"] <= row["distortion"] + row["rate"] + 1
    assert (tmp_path / "toy_text.png").stat().st_size > 1000
    assert f"| {arm} | 1 |" in capsys.readouterr().out
