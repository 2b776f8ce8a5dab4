"""Two real ranks: one verdict, one action, one report, and the measures of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# The gap takes z from within a rank's own batch, and here the decoder ignores it.
SHARED = ("active_units", "mutual_information", "total_correlation", "dimension_wise_kl", "ceiling")


@pytest.mark.slow
def test_a_rank_without_a_validation_batch_is_named_and_keeps_none_waiting(tmp_path):
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "idle_rank.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "1 of 2 ranks had no validation batch" in done.stderr


@pytest.mark.slow
def test_two_ranks_judge_and_act_as_one(tmp_path):
    script = Path(__file__).parent / "two_processes.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for ranks in ("1", "2"):
        done = subprocess.run(
            [sys.executable, str(script), str(tmp_path), ranks],
            env=environment,
            cwd=tmp_path,
            timeout=300,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    alone, one, two = (
        json.loads((tmp_path / f"{n}.json").read_text()) for n in ("1-0", "2-0", "2-1")
    )
    assert one == two
    assert one["beta"] == alone["beta"] == 1.0, "halved at both validations"
    assert one["verdict"] == alone["verdict"] == "collapsed"
    for name in SHARED:
        assert one[name] == pytest.approx(alone[name], rel=1e-4, abs=1e-5), name
    assert one["spectrum"] == pytest.approx(alone["spectrum"], rel=1e-5)
    assert one["logged"]["val/mutual_information"] == pytest.approx(one["mutual_information"])
    report = json.loads((tmp_path / "report-2" / "validate.json").read_text())
    assert report["metrics"]["val/active_units"] == 4
