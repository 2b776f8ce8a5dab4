"""What every test of an objective runs with."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads of small tensors wait for each other wherever cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
