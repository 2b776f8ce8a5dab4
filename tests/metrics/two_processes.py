"""What test_two_processes.py runs on two ranks: every metric on an uneven share of the data."""

import json
import sys
from pathlib import Path

from torch import distributed

from tests.metrics.test_two_processes import SIZE, measured, output_of

if __name__ == "__main__":
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    share = slice(0, 25) if rank == 0 else slice(25, SIZE)
    (Path(sys.argv[1]) / f"{rank}.json").write_text(json.dumps(measured(output_of(share))))
    distributed.destroy_process_group()
