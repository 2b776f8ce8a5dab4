"""A layer that conditions features on a β per example."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["RateGate"]

_OPEN = -3.0  # where a decoder's gate starts: open by eight tenths and more at every β
_ROUNDING = 1e-6  # what keeps the root's slope finite at zero


class RateGate(nn.Module):
    r"""Features scaled by a gate that opens and closes with log β.

    .. math:: h \mapsto \sigma(w\, s + c) \odot h \quad\text{or}\quad
              h \mapsto \sqrt{\max(0,\, 1 - e^{w\, s + c})} \odot h, \qquad
              s = \sqrt{12}\, \frac{\log\beta - \tfrac12 (\log a + \log b)}{\log b - \log a}

    s has mean 0 and variance 1 where β is log-uniform between a and b. The first is the paper's
    gate of an encoder, the second that of a decoder: of a linear VAE it is exact, the amplitude
    :math:`\sqrt{1 - \beta\sigma^2 / \lambda}` of reverse water-filling, zero where a latent is not
    worth its rate. The root is rounded off at zero, where its slope is infinite. Either works on
    either side. A β beyond the bounds, such as 0, gets the gate of the nearer one.

    Args:
        features: How many features h has, in dimension 1.
        lower: a.
        upper: b.
        side: ``"encoder"`` for the first, ``"decoder"`` for the second.

    Raises:
        ValueError: if the bounds are not 0 < a < b, or the side is neither; at the call, if there
            is not one β an example.

    Source: Bae et al. 2023, "Multi-Rate VAE".

    >>> gate = RateGate(8)
    >>> gate(torch.ones(2, 8, 4, 4), beta=torch.tensor([0.1, 10.0])).shape
    torch.Size([2, 8, 4, 4])
    """

    def __init__(
        self,
        features: int,
        lower: float = 0.01,
        upper: float = 10.0,
        side: Literal["encoder", "decoder"] = "encoder",
    ) -> None:
        super().__init__()
        if not 0 < lower < upper < math.inf:
            raise ValueError(f"lower and upper must be 0 < lower < upper, got {lower} and {upper}.")
        if side not in ("encoder", "decoder"):
            raise ValueError(f"side must be 'encoder' or 'decoder', got {side!r}.")
        self.lower, self.upper = lower, upper
        self.centre = 0.5 * (math.log(lower) + math.log(upper))
        self.deviation = (math.log(upper) - math.log(lower)) / math.sqrt(12)
        self.side = side
        self.linear = nn.Linear(1, features)
        if side == "decoder":  # one that is closed at every β would never learn
            nn.init.constant_(self.linear.bias, _OPEN)

    def forward(self, h: Tensor, beta: Tensor) -> Tensor:
        if beta.shape != h.shape[:1]:
            raise ValueError(
                f"beta has shape {tuple(beta.shape)} for {len(h)} examples; give one an example."
            )
        # Beyond the bounds, at β = 0 above all, the logarithm would carry the gate off.
        s = (beta.clamp(self.lower, self.upper).log() - self.centre) / self.deviation
        logits = self.linear(s.unsqueeze(1).to(h.dtype))
        gate = torch.sigmoid(logits) if self.side == "encoder" else _root(logits)
        return h * gate.view(*gate.shape, *[1] * (h.dim() - 2))

    def extra_repr(self) -> str:
        return f"side={self.side!r}"


def _root(logits: Tensor) -> Tensor:
    """√(1 - e^a), and 0 where a > 0."""
    # Bounded first: e^a times no gradient would be NaN where it is infinite.
    opening = -torch.expm1(logits.clamp(max=0.0))
    return (opening + _ROUNDING).sqrt() - math.sqrt(_ROUNDING)
