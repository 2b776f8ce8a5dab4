"""A layer that conditions features on a β per example."""

import math

import torch
from torch import Tensor, nn

__all__ = ["RateGate"]


class RateGate(nn.Module):
    r"""Features scaled by a gate that opens and closes with log β.

    .. math:: h \mapsto \sigma(w\, s + c) \odot h, \qquad
              s = \sqrt{12}\, \frac{\log\beta - \tfrac12 (\log a + \log b)}{\log b - \log a}

    s has mean 0 and variance 1 where β is log-uniform between a and b. Of the paper's two gates it
    is the encoder's; the decoder's, a root of what may reach zero, has no finite gradient there.

    Args:
        features: How many features h has, in dimension 1.
        lower: a.
        upper: b.

    Raises:
        ValueError: if the bounds are not 0 < a < b; at the call, if there is not one β an example.

    Source: Bae et al. 2023, "Multi-Rate VAE".

    >>> gate = RateGate(8)
    >>> gate(torch.ones(2, 8, 4, 4), beta=torch.tensor([0.1, 10.0])).shape
    torch.Size([2, 8, 4, 4])
    """

    def __init__(self, features: int, lower: float = 0.01, upper: float = 10.0) -> None:
        super().__init__()
        if not 0 < lower < upper < math.inf:
            raise ValueError(f"lower and upper must be 0 < lower < upper, got {lower} and {upper}.")
        self.centre = 0.5 * (math.log(lower) + math.log(upper))
        self.deviation = (math.log(upper) - math.log(lower)) / math.sqrt(12)
        self.linear = nn.Linear(1, features)

    def forward(self, h: Tensor, beta: Tensor) -> Tensor:
        if beta.shape != h.shape[:1]:
            raise ValueError(
                f"beta has shape {tuple(beta.shape)} for {len(h)} examples; give one an example."
            )
        s = (beta.log() - self.centre) / self.deviation
        gate = torch.sigmoid(self.linear(s.unsqueeze(1).to(h.dtype)))
        return h * gate.view(*gate.shape, *[1] * (h.dim() - 2))
