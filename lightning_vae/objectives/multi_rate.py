"""One VAE for all β: a β per example, which encoder and decoder are told."""

import math
from typing import Any

import torch
from torch import Tensor

from lightning_vae.coefficients import Coefficient
from lightning_vae.latents import VAEOutput
from lightning_vae.objectives.objective import Objective
from lightning_vae.objectives.regularised import Regularised

__all__ = ["MultiRate"]


class MultiRate(Objective):
    r"""The β-VAE objective with a β drawn for every example, handed to encoder and decoder.

    .. math:: \mathcal L = \frac1B \sum_b D_b + \beta_b R_b, \qquad
              \log \beta_b \sim U(\log \text{lower}, \log \text{upper})

    ``encode`` and ``decode`` get ``beta``, [B], as a keyword: see :class:`RateGate` for a layer
    that takes it. In evaluation it is 1; ``embed``, ``reconstruct`` and ``sample`` take another
    as theirs, ``vae.embed(x, beta=torch.full((len(x),), 4.0))``, and ``sample`` needs one. Both
    bounds may be scheduled. Its part ``penalty`` is what β multiplies.

    Args:
        lower: The least β. Where ``upper`` is None, that of every example, so that any schedule
            may give it.
        upper: The greatest β, or None.
        regulariser: What else β multiplies: the regularisers of a :class:`Regularised`, whose own
            β then does nothing. None is the rate alone.

    Raises:
        ValueError: if the bounds are not 0 < lower <= upper, also where a callback sets them; at
            the loss, if the context has not one β an example.

    Source: Bae et al. 2023, "Multi-Rate VAE".

    >>> MultiRate(0.01, 10.0).coefficients
    {'lower': 0.01, 'upper': 10.0}
    """

    lower = Coefficient[float](grouped=False)
    upper = Coefficient[float | None](grouped=False, optional=True)

    def __init__(
        self,
        lower: float = 0.01,
        upper: float | None = 10.0,
        regulariser: Regularised | None = None,
    ) -> None:
        super().__init__()
        self.lower, self.upper, self.regulariser = lower, upper, regulariser
        self._refuse_bounds()

    def context(self, x: Tensor) -> dict[str, Any]:
        like: Any = {"device": x.device, "dtype": x.dtype if x.is_floating_point() else None}
        if not self.training:
            return {"beta": torch.ones(len(x), **like)}
        self._refuse_bounds()
        if self.upper is None:
            return {"beta": torch.full((len(x),), self.lower, **like)}
        uniform = torch.empty(len(x), **like).uniform_(math.log(self.lower), math.log(self.upper))
        return {"beta": uniform.exp_()}

    def forward(self, output: VAEOutput) -> dict[str, Tensor]:
        if "beta" not in output.context:
            raise ValueError(
                "the output's context holds no beta; write vae(x, **vae.objective.context(x))."
            )
        beta, penalty, parts = output.context["beta"], output.rate, {}
        if beta.shape != penalty.shape[-1:]:  # [B, 1] would be broadcast, and mix the examples
            raise ValueError(
                f"beta has shape {tuple(beta.shape)} for {penalty.shape[-1]} examples; give one an "
                f"example, beta=torch.full((len(x),), 4.0)."
            )
        if self.regulariser is not None:
            penalty, terms = self.regulariser.penalties(output)
            parts = {name: term.detach().mean() for name, term in terms.items()}
        loss = (output.distortion + beta * penalty).mean()
        return {"loss": loss, "penalty": penalty.detach().mean(), **parts}

    def _refuse_bounds(self) -> None:
        if self.upper is not None and not 0 < self.lower <= self.upper:
            raise ValueError(
                f"lower={self.lower} and upper={self.upper} must be 0 < lower <= upper; write "
                f"upper=None for one β, lower, for all examples."
            )
