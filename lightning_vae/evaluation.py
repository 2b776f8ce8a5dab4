"""Evaluation that leaves no trace: eval mode and seeded draws, afterwards all as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["evaluating", "seeded"]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; afterwards every submodule is in the mode it was in."""
    modes = {submodule: submodule.training for submodule in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for submodule, training in modes.items():
            submodule.training = training


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The draws that a seed gives, and afterwards the random state as if none had been made."""
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type="cuda" if not devices else device.type):
        torch.manual_seed(seed)
        yield
