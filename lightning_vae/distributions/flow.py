"""What every layer of a flow does with the latest draw that it remembers."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Transform, constraints

__all__ = ["Flow"]


class Flow(Transform):
    """A bijection of vectors, for torch's ``TransformedDistribution``, that remembers one draw.

    Torch's memory of a draw made without gradients would hide the flow's own parameters from the
    density at that draw; here such a draw is sent back through the flow.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self) -> None:
        super().__init__(cache_size=1)

    def __getstate__(self) -> dict[str, Any]:
        # What is remembered of the latest draw hangs on a graph, which cannot be copied.
        return {**vars(self), "_inv": None, "_cached_x_y": (None, None)}

    def _inv_call(self, y: Tensor) -> Tensor:
        if torch.is_grad_enabled() and not y.requires_grad:
            self._cached_x_y = None, None
        x: Tensor = super()._inv_call(y)  # type: ignore[no-untyped-call]
        return x
