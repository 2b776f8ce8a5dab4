"""The Gaussian likelihood at its best scale: the σ-VAE."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal
from typing_extensions import Self

from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.distributions.profile_normal import ProfileNormal
from lightning_vae.likelihoods.floors import OneScale

__all__ = ["OptimalGaussian"]


class OptimalGaussian(OneScale):
    r"""The Gaussian likelihood whose variance is the mean squared error: nothing to choose.

    .. math:: -\log p(x|z) = \frac D2 \left(\log 2\pi\sigma^{*2} + 1\right), \quad
              \sigma^{*2} = \frac1{BD} \textstyle\sum_{b,i} (x_{bi} - \mu_{bi})^2

    In training mode σ* is each batch's own, over all its elements and all ranks, and gradients flow
    through it. In evaluation mode σ is fixed, or the loss would depend on the company an example is
    evaluated in: the mean of the training batches' σ*², with weights that fall by ``decay`` a batch
    and sum to one, so that the first batch counts in full and equal ones give exactly theirs. It is
    in the checkpoint, in float32 at least. Before the first batch σ is 1. A batch whose error is
    not finite is left out of the mean.

    Where elements are weighed or masked (``Weighted``), σ* is the weighted mean.

    Args:
        floor: The least σ, in the units of x; e⁻⁶ by default.
        decay: How much less a batch counts than the next: 0.99 remembers some hundred.

    Raises:
        ValueError: if the floor is not positive or the decay not in [0, 1).

    Features: one, μ.

    Source: Rybkin, Daniilidis & Levine 2021 (σ-VAE), section 3.2.

    >>> head, x = OptimalGaussian(), torch.full((2, 3), 0.5)
    >>> head(torch.zeros(2, 3)).log_prob(x)[0]  # ½(log 2π0.25 + 1), each
    tensor([-0.7258, -0.7258, -0.7258])
    >>> head.eval().scale
    tensor(0.5000)
    """

    variance: Tensor  # the running mean of the mean squared error, before the floor
    batches: Tensor  # how many it is of

    def __init__(self, floor: float = 0.0025, decay: float = 0.99) -> None:
        super().__init__(floor)
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}; write decay=0.99.")
        self.decay = float(decay)
        self.register_buffer("variance", torch.ones(()))
        self.register_buffer("batches", torch.zeros(()))

    @property
    def scale(self) -> Tensor:
        return self.variance.clamp(min=self.floor**2).sqrt()

    def forward(self, features: Tensor) -> Distribution:
        loc = at_least_float32(features)
        if not self.training:
            return Normal(loc, self.scale, validate_args=False)
        return ProfileNormal(loc, self.scale, self.floor, self._remember, validate_args=False)

    def _remember(self, mean_square: Tensor) -> None:
        seen = mean_square.isfinite()
        self.batches += seen
        share = (1 - self.decay) / (1 - self.decay**self.batches)
        share = torch.where(seen, share, torch.zeros_like(share))
        self.variance.lerp_(mean_square.nan_to_num().to(self.variance), share)

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Self:
        # A running mean in bfloat16 would stand still: one part in a hundred rounds to none.
        kept = dict(self._buffers)
        super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        for name, made in self._buffers.items():
            if made is not None and at_least_float32(made) is not made:
                self._buffers[name] = at_least_float32(kept[name]).to(made.device)  # type: ignore
        return self

    def extra_repr(self) -> str:
        return f"floor={self.floor}, decay={self.decay}"
