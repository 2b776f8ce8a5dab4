import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    for name in ("MIG", "IRS", "Modularity", "frechet", "val/mig"):
        assert first[name] == pytest.approx(alone[name], rel=1e-5), name
    assert first["scores"] == alone["scores"]
