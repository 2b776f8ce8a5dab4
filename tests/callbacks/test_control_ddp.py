"""Two real processes: ranks hold identical coefficients, those of one process on all examples."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.callbacks import two_controlled

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_two_ranks_hold_the_coefficient_of_one_process_on_the_whole_batch(tmp_path):
    done = subprocess.run(
        [sys.executable, two_controlled.__file__, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        timeout=300,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    two_controlled.fit(tmp_path, devices=1)
    first, second, alone = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("2-0", "2-1", "1-0")
    )
    assert first == second, "to the bit"
    for name, whole in alone.items():
        assert len(set(whole["seen"])) > 4, f"{name} moves"
        assert first[name]["seen"] == pytest.approx(whole["seen"], abs=1e-5), name
        assert first[name]["observed"] == pytest.approx(whole["observed"], rel=1e-5), name
