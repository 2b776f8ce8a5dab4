import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.metrics.two_ranks import FIRST, measured

ROOT = Path(__file__).parents[2]


def run(folder, devices):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.metrics.two_ranks", str(folder), str(devices)],
        env=environment,
        cwd=ROOT,
        timeout=300,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"{devices}-{r}.json").read_text()) for r in range(devices)]


@pytest.mark.slow
def test_two_processes_find_what_one_does(tmp_path):
    (alone,) = run(tmp_path, 1)
    first, second = run(tmp_path, 2)
    assert first == second
    half = measured(slice(0, FIRST))
    for name, values in alone["metrics"].items():
        assert first["metrics"][name] == pytest.approx(values, rel=1e-4, abs=1e-6), name
        assert half[name] != pytest.approx(values, rel=1e-4, abs=1e-6), f"{name}: shares differ"
    for name in ("val/mig", "val/mean_squared_error"):
        assert first[name] == pytest.approx(alone[name], rel=1e-5), name
    assert first["scores"] == alone["scores"]
    for found in (alone["quality"], first["quality"]):
        assert found["images"] == 32
        assert found["scores"]["drawn_images"] == found["scores"]["drawn_distinct"] == 32
