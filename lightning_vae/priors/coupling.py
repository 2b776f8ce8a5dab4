"""The affine coupling layer: half of a vector scales and shifts the other half."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lightning_vae.distributions.precision import at_least_float32

__all__ = ["AffineCoupling"]


class AffineCoupling(nn.Module):
    r"""A bijection of vectors that keeps one half and moves the other by what it keeps.

    .. math:: y_a = x_a, \quad y_b = x_b \odot e^{s(x_a)} + t(x_a), \quad
              \log\left|\det \frac{\partial y}{\partial x}\right| = \sum_j s_j(x_a)

    s and t are two outputs of one perceptron; s is bounded by tanh and rescaled by a learned
    factor. The layer starts as the identity.

    Args:
        size: d, at least 2.
        hidden: The widths of the perceptron's hidden layers.
        last: Whether to keep the last half, rather than the first.

    Raises:
        ValueError: if there is no half to keep.

    Source: Dinh, Sohl-Dickstein & Bengio 2017, equations 4–8, and section 4.1 for the scale.

    >>> layer, x = AffineCoupling(5), torch.randn(16, 5)
    >>> y, log_determinant = layer(x)
    >>> torch.equal(layer.inverse(y)[0], x), log_determinant.shape
    (True, torch.Size([16]))
    """

    def __init__(self, size: int, hidden: Sequence[int] = (64,), last: bool = False) -> None:
        super().__init__()
        if size < 2:
            raise ValueError(
                f"size must be at least 2, for one half moves the other, got {size}; for a single "
                f"latent write GaussianMixture(1)."
            )
        self.first, self.last = size // 2, last
        moved = self.first if last else size - self.first
        self.network = _perceptron(size - moved, *hidden, 2 * moved)
        self.rescale = nn.Parameter(torch.ones(moved))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y and log |det dy/dx|."""
        kept, moved = self._halves(x)
        log_scale, shift = self._affine(kept)
        y = self._whole(kept, moved * log_scale.exp() + shift)
        return y, at_least_float32(log_scale).sum(-1)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """x and log |det dx/dy|."""
        kept, moved = self._halves(y)
        log_scale, shift = self._affine(kept)
        x = self._whole(kept, (moved - shift) * (-log_scale).exp())
        return x, -at_least_float32(log_scale).sum(-1)

    def _affine(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.network(kept).chunk(2, -1)
        return self.rescale * log_scale.tanh(), shift

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, last = x.tensor_split((self.first,), -1)
        return (last, first) if self.last else (first, last)

    def _whole(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat((moved, kept) if self.last else (kept, moved), -1)


def _perceptron(*widths: int) -> nn.Sequential:
    """Linear layers with a ReLU between; the last is zero."""
    if not all(isinstance(width, int) and width > 0 for width in widths):
        raise ValueError(f"hidden must be positive whole numbers, got {widths[1:-1]}.")
    *hidden, last = [nn.Linear(before, after) for before, after in pairwise(widths)]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*(layer for linear in hidden for layer in (linear, nn.ReLU())), last)
