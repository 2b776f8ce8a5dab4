"""REWO: a constraint on the distortion first, then the ELBO as far as that allows."""

import math
from typing import NamedTuple

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torch.optim import Optimizer
from typing_extensions import override

from lightning_vae.callbacks.control import Controller
from lightning_vae.callbacks.geco import moved, refuse_average, refuse_gains
from lightning_vae.callbacks.owner import Unit
from lightning_vae.schedules import Schedule

__all__ = ["REWO", "Reweighted", "reweighted"]


class Reweighted(NamedTuple):
    """What REWO remembers."""

    log_beta: float
    constraint: float | None = None  # the moving average; None before the first
    initial: bool = True  # until the constraint is met for the first time


def reweighted(
    state: Reweighted,
    constraint: float,
    nu: float,
    tau: float,
    alpha: float,
    limit: float,
) -> Reweighted:
    r"""One step of reconstruct-and-weigh: violated, β falls; met, β goes towards 1.

    .. math:: \log\beta_t = \log\beta_{t-1} + \nu\, f(\beta_{t-1}, \bar C_t)\, \bar C_t, \qquad
              f = \begin{cases} -1 & \bar C_t \ge 0 \\ \tanh(\tau(\beta-1)) & \bar C_t < 0
              \end{cases}

    In the initial phase, until the constraint is met, β stays as it is.

    Source: Klushyn et al. 2019, algorithm 1.

    >>> reweighted(Reweighted(0.0, initial=False), 2.0, nu=0.01, tau=5, alpha=0.9, limit=0.1)
    Reweighted(log_beta=-0.02, constraint=2.0, initial=False)
    """
    average = moved(state.constraint, constraint, alpha)
    if state.initial and average >= 0:
        return state._replace(constraint=average)
    f = -1.0 if average >= 0 else math.tanh(tau * math.expm1(state.log_beta))
    step = min(max(nu * f * average, -limit), limit)
    return Reweighted(state.log_beta + step, average, initial=False)


class REWO(Controller):
    r"""Meet a tolerance of the distortion, and then optimise the ELBO as far as it lets.

    β starts small and stays so until the distortion is below the tolerance. Then it falls while
    the tolerance is exceeded and otherwise goes towards 1: with a tolerance that the ELBO meets
    anyhow β ends at 1, where :class:`GECO` would go on to waste the room there is.

    Args:
        tolerance: κ in nats, as in :class:`GECO`, or a schedule of it.
        nu: ν, by how much log β moves a step and nat.
        tau: τ, how sharply β turns at 1.
        alpha: α, what the moving average of the constraint keeps.
        limit: The greatest change of log β in a step.
        start: β in the initial phase; None begins where the module is.
        initial_phase: Whether there is one; in it the parameters of the module's ``prior`` are not
            trained either, for they would learn of a posterior that is not there yet.
        minimum: The least β.
        maximum: The greatest β.
        unit: What the times of a scheduled tolerance count.
        target: What to move.
        observe: A key of what ``training_step`` returns, or logs at every step.
        name: What to log as ``schedule/<name>`` and ``control/<name>/...``.
        enabled: False leaves β alone.

    Raises:
        ValueError: if an argument is out of range, or what is observed is not finite.

    Source: Klushyn et al. 2019, "Learning Hierarchical Priors in VAEs", algorithm 1.

    >>> REWO(tolerance=90.0)
    REWO(Constant(90))
    """

    State = Reweighted
    asks_for_rate = False
    argument = "tolerance"

    def __init__(
        self,
        tolerance: Schedule | float,
        nu: float = 5e-4,
        tau: float = 5.0,
        alpha: float = 0.99,
        limit: float = 0.01,
        start: float | None = 0.01,
        initial_phase: bool = True,
        minimum: float = 1e-3,
        maximum: float = 1e3,
        unit: Unit = "step",
        target: str = "objective.beta",
        observe: str = "distortion",
        name: str | None = None,
        enabled: bool = True,
    ) -> None:
        super().__init__(tolerance, minimum, maximum, target, observe, None, unit, name, enabled)
        refuse_gains(minimum, nu=nu, tau=tau, limit=limit)
        refuse_average(alpha)
        self.tolerance, self.nu, self.tau, self.alpha = self.set_point, nu, tau, alpha
        self.limit, self.start, self.initial_phase = limit, start, initial_phase
        self._refuse_set_points()

    @override
    def rises(self, trainer: Trainer) -> bool:
        initial = self._state is not None and self._state.initial
        return initial or super().rises(trainer)

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        prior = getattr(pl_module, "prior", None)
        initial = self.enabled and self._state is not None and self._state.initial
        if initial and isinstance(prior, nn.Module):
            for parameter in prior.parameters():
                parameter.grad = None  # optimizers pass over it; requires_grad would upset DDP

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        initial = self._state is not None and self._state.initial
        if self._found is not None and initial and self._observed is not None:
            rank_zero_warn(
                f"{self} ended in its initial phase, with {self.observe}={self._observed:.4g} and "
                f"a tolerance of {self._aim:.4g}: {self.target} stayed at {self._found.get():g}, "
                f"and the prior was not trained. Train longer, choose a greater tolerance, or a "
                f"smaller start."
            )
        super().on_train_end(trainer, pl_module)

    @override
    def begun(self, value: float) -> Reweighted:
        return Reweighted(math.log(value), initial=self.initial_phase)

    @override
    def updated(self, state: Reweighted, observed: float, set_point: float) -> Reweighted:
        violated = observed - set_point
        new = reweighted(state, violated, self.nu, self.tau, self.alpha, self.limit)
        lower, upper = math.log(self.minimum), math.log(self.maximum)
        return new._replace(log_beta=min(max(new.log_beta, lower), upper))

    @override
    def number(self, state: Reweighted) -> float:
        return min(max(math.exp(state.log_beta), self.minimum), self.maximum)

    @override
    def stuck(self, value: float, observed: float, set_point: float) -> bool:
        return math.log(value) == math.log(self.minimum) and observed > set_point
