"""SoftFreeBits: β falls while the rate is below a floor, and rises while it is above."""

import math
from typing import NamedTuple

from typing_extensions import override

from lightning_vae.callbacks.control import Controller
from lightning_vae.callbacks.owner import Unit
from lightning_vae.schedules import Schedule

__all__ = ["SoftFreeBits", "Softened", "softened"]


class Softened(NamedTuple):
    """What SoftFreeBits remembers."""

    gamma: float


def softened(gamma: float, rate: float, floor: float, slack: float, step: float) -> float:
    r"""γ one step on: less below the floor, more above the slack, the same between.

    .. math:: \gamma_{t+1} = \gamma_t \cdot \begin{cases} 1 + \epsilon' & R > (1+\epsilon)\lambda \\
              1 / (1 + \epsilon') & R < \lambda \\ 1 & \text{else} \end{cases}

    Source: Chen et al. 2017.

    >>> softened(0.5, rate=3.0, floor=2.0, slack=0.05, step=0.1)
    0.55
    >>> softened(0.5, rate=2.05, floor=2.0, slack=0.05, step=0.1)
    0.5
    """
    if rate > (1 + slack) * floor:
        return gamma * (1 + step)
    return gamma / (1 + step) if rate < floor else gamma


class SoftFreeBits(Controller):
    r"""Hold the rate between a floor λ and (1 + ε) λ by β, or above at β = 1.

    Unlike ``free_bits``, which takes all weight off a rate below its floor, the rate keeps a weight
    that is as small as is needed.

    Args:
        floor: λ in nats, or a schedule of it.
        slack: ε, the part by which the rate may exceed λ before β rises.
        step: ε', by which part β changes in a step. Smaller steps give a slow model time to follow.
        minimum: The least β.
        maximum: The greatest β; 1 is the ELBO.
        warmup: A schedule of β that comes first.
        unit: What the times of floor and warmup count.
        target: What to move.
        observe: A key of what ``training_step`` returns, or logs at every step.
        name: What to log as ``schedule/<name>`` and ``control/<name>/...``.
        enabled: False leaves β alone.

    Raises:
        ValueError: if an argument is out of range, or the rate is not finite.

    Source: Chen et al. 2017, "Variational Lossy Autoencoder".

    >>> SoftFreeBits(5.0)
    SoftFreeBits(Constant(5))
    """

    State = Softened
    argument = "floor"

    def __init__(
        self,
        floor: Schedule | float,
        slack: float = 0.05,
        step: float = 0.01,
        minimum: float = 1e-4,
        maximum: float = 1.0,
        warmup: Schedule | None = None,
        unit: Unit = "step",
        target: str = "objective.beta",
        observe: str = "rate",
        name: str | None = None,
        enabled: bool = True,
    ) -> None:
        super().__init__(floor, minimum, maximum, target, observe, warmup, unit, name, enabled)
        if minimum <= 0:
            raise ValueError(f"β moves by factors, so minimum must be above 0, got {minimum}.")
        if not (0 <= slack < math.inf and 0 < step < math.inf):
            raise ValueError(f"slack must be at least 0 and step above, got {slack} and {step}.")
        self.floor, self.slack, self.step = self.set_point, slack, step
        self._refuse_set_points(above=0.0)

    @override
    def begun(self, value: float) -> Softened:
        return Softened(value)

    @override
    def updated(self, state: Softened, observed: float, set_point: float) -> Softened:
        gamma = softened(state.gamma, observed, set_point, self.slack, self.step)
        return Softened(min(max(gamma, self.minimum), self.maximum))

    @override
    def number(self, state: Softened) -> float:
        return min(max(state.gamma, self.minimum), self.maximum)

    @override
    def stuck(self, value: float, observed: float, set_point: float) -> bool:
        return value <= self.minimum and observed < set_point
