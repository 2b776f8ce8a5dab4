"""The perceptron that conditions a coupling layer."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lightning_vae.arguments import wholes

__all__ = ["Conditioner"]


class Conditioner(nn.Module):
    r"""The log-scale and the shift of the latents that move, from those that a coupling keeps.

    .. math:: s(z_1) = a \odot \tanh h_s(z_1), \quad t(z_1) = h_t(z_1)

    Both are outputs of one perceptron; s is bounded by tanh and rescaled by a learned factor a.
    The last layer starts at zero, and with it the coupling as the identity.

    Args:
        kept: How many latents are kept.
        moved: How many are moved.
        hidden: The widths of the hidden layers.

    Raises:
        ValueError: if a width is no positive whole number.

    Source: Dinh, Sohl-Dickstein & Bengio 2017, section 4.1, for the scale.

    >>> log_scale, shift = Conditioner(2, moved=3)(torch.randn(16, 2))
    >>> log_scale.shape, shift.any()
    (torch.Size([16, 3]), tensor(False))
    """

    def __init__(self, kept: int, moved: int, hidden: Sequence[int] = (64,)) -> None:
        super().__init__()
        self.network = _perceptron(kept, *wholes("hidden", hidden), 2 * moved)
        self.rescale = nn.Parameter(torch.ones(moved))

    def forward(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.network(kept).chunk(2, -1)
        return self.rescale * log_scale.tanh(), shift


def _perceptron(*widths: int) -> nn.Sequential:
    """Linear layers with a ReLU between; the last is zero."""
    *hidden, last = [nn.Linear(before, after) for before, after in pairwise(widths)]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*(layer for linear in hidden for layer in (linear, nn.ReLU())), last)
