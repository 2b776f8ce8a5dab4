"""Every objective through the Trainer in two real processes, which stay one model."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.objectives.outputs import ROOT
from tests.objectives.test_training import made
from tests.test_objectives import EXAMPLES


@pytest.mark.slow
def test_two_ranks_train_one_model_under_every_objective(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.objectives.two_processes", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        timeout=300,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    for name, objective in EXAMPLES.items():
        start = made(objective).state_dict()
        for key, mine in one[name].items():
            np.testing.assert_array_equal(mine, two[name][key], err_msg=f"{name} {key}")
            assert not np.allclose(mine, start[key]), f"{name} {key} did not move"
