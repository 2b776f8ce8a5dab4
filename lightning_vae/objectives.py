r"""Objectives: what a VAE minimises, with a few named coefficients that callbacks may move.

The central one is one formula with three coefficients, in nats:

.. math:: \mathcal L = D + \sum_g \beta_g\,\bigl|\max(\text{free\_bits}_g, R_g) - \text{capacity}_g\bigr|
"""

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributions import Distribution
from torch.optim import Optimizer

from lightning_vae.coefficients import Coefficient, Grouped, HasCoefficients
from lightning_vae.divergences import kl
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.likelihoods import distortion

__all__ = ["ELBO", "Coefficient", "Objective", "elbo", "free_bits", "mean_over_ranks"]

Per = Literal["latent", "channel", "group", "total"]
S = TypeVar("S", float, float | None)


class Objective(HasCoefficients, nn.Module, ABC):
    """What a VAE minimises: an output's terms, weighed by coefficients that callbacks may move.

    A subclass names its coefficients as :class:`Coefficient` class attributes and computes the
    loss. It is called eagerly, outside any compiled region: a float that changes is exact there.

    It may own networks. Those that are to minimise something else than the VAE does, such as a
    discriminator, get an ``optimizer`` of their own, and a second loss. The module then optimises
    by hand: it steps on ``loss`` without them, and they on ``own_loss`` alone. Under DDP that needs
    ``strategy="ddp_find_unused_parameters_true"``, for neither loss reaches all parameters.

    >>> class Squared(Objective):
    ...     gamma = Coefficient[float]()
    ...
    ...     def __init__(self, gamma: float = 2.0) -> None:
    ...         super().__init__()
    ...         self.gamma = gamma
    ...
    ...     def forward(self, output):
    ...         excess = output.rate.square().mean()
    ...         loss = output.distortion.mean() + self.gamma * excess
    ...         return {"loss": loss, "excess": excess.detach()}
    >>> Squared().coefficients
    {'gamma': 2.0}
    """

    samples: int | None = None  # how many draws of z it needs; None is one, without a K dimension
    # Parameters → optimizer, for networks of its own that minimise own_loss.
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(getattr(type(self), name, None), Coefficient):
            # nn.Module would register a Parameter or a module under the name, unchecked.
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @abstractmethod
    def forward(self, output: VAEOutput) -> dict[str, Tensor]:
        """``loss``, a scalar that keeps its graph, and named parts: unweighted and detached.

        With an ``optimizer``, also ``own_loss``, which keeps its graph to the objective's own
        networks; take it from detached draws.
        """

    def context(self, x: Tensor) -> dict[str, Any]:
        """What ``encode`` and ``decode`` get as keywords besides the batch's own context. None.

        It is drawn anew for every batch, and is found in the output: a β per example, for one.
        """
        return {}


def free_bits(rate: Tensor, floor: float, per: Per = "latent", batch_mean: bool = True) -> Tensor:
    r"""Hold the rate up to a floor: below it, a unit costs the floor and feels no gradient.

    .. math:: \max\bigl(\lambda, \tfrac1B \textstyle\sum_b R_{bj}\bigr) \quad\text{or}\quad
              \max(\lambda, R_{bj})

    The gradient is zero below the floor and full at and above it. A floor of 0 is no floor at
    all: a Monte Carlo rate may be negative.

    Args:
        rate: [B, \*factors] nats.
        floor: λ in nats, for every unit.
        per: What a unit is: ``"latent"``, each element; ``"channel"``, dimension 1 with the rest
            summed; ``"group"`` or ``"total"``, all elements together.
        batch_mean: Floor the mean over the batch (Kingma et al.), or else each example.

    Returns:
        The floored rate of every unit: [\*units] where the batch is averaged, else [B, \*units].

    Raises:
        ValueError: if the floor is negative or not finite, or ``per`` is none of the four.

    Source: Kingma et al. 2016 (IAF), appendix C.8.

    >>> rate = torch.tensor([[0.1, 2.0], [0.3, 4.0]])
    >>> free_bits(rate, 0.5)
    tensor([0.5000, 3.0000])
    >>> free_bits(rate, 3.0, per="group", batch_mean=False)
    tensor([3.0000, 4.3000])
    """
    if not 0 <= floor < math.inf:
        raise ValueError(f"floor must be a finite number of nats >= 0, got {floor}; 0 is no floor.")
    units = _units(rate, per)
    if batch_mean:
        units = units.mean(0)
    return _at_least(floor, units)


def _units(rate: Tensor, per: Per) -> Tensor:
    """[B, *factors] to [B, *units]."""
    if per == "latent":
        return rate
    if per == "channel":
        return rate.reshape(*rate.shape[:2], -1).sum(2)
    if per in ("group", "total"):
        return rate.reshape(len(rate), -1).sum(1)
    raise ValueError(f"per must be 'latent', 'channel', 'group' or 'total', got {per!r}.")


def elbo(
    x: Tensor,
    likelihood: Distribution,
    posterior: Distribution,
    prior: Distribution,
    z: Tensor | None = None,
    check_support: bool = True,
) -> Tensor:
    r"""The evidence lower bound of every example, with every constant.

    .. math:: \mathrm{ELBO}(x) = \log p(x|z) - \mathrm{KL}(q(z|x) \,\|\, p(z))

    Args:
        x: The data, [B, ...].
        likelihood: p(x|z) at a draw z, in x's shape.
        posterior: q(z|x), with batch shape [B, ...].
        prior: p(z), in the shape of one example's latents.
        z: The draw, used where the pair has no closed-form divergence; a fresh one by default.
        check_support: Whether to look that x lies in the support: see :func:`distortion`.

    Returns:
        [B] nats.

    Raises:
        ValueError: if shapes differ, or x lies outside the likelihood's support.

    Source: Kingma & Welling 2014, equation 3.

    >>> from torch.distributions import Normal
    >>> from lightning_vae.distributions import StandardGaussian
    >>> x = torch.zeros(1, 2)
    >>> elbo(x, Normal(x, 1.0), Normal(torch.ones(1, 3), 1.0), StandardGaussian((3,)))
    tensor([-3.3379])
    """
    rate = kl(posterior, prior, posterior.rsample() if z is None else z)
    if len(rate) != len(x):
        raise ValueError(
            f"posterior has a batch of {len(rate)} for {len(x)} examples of x; its first dimension "
            f"must be {len(x)}."
        )
    return -distortion(x, likelihood, check_support) - rate.reshape(len(x), -1).sum(1)


class ELBO(Objective):
    r"""The β-VAE objective with free bits and capacity; at its defaults, the negative ELBO.

    .. math:: \mathcal L = D + \sum_g \beta_g \,
              \bigl|\max(\text{free\_bits}_g, R_g) - \text{capacity}_g\bigr|

    D and R are nats, summed over their dimensions and averaged over the batch. Scalars apply to
    the sum over groups, tuples to one group each. R is the batch mean over all ranks, and the
    absolute value is of that mean. With a capacity, ``beta`` is Burgess' γ. Its part
    ``penalty`` is what β multiplies.

    Args:
        beta: β; 1 is the ELBO.
        free_bits: The floor λ of every unit, in nats; 0 is none.
        capacity: C in nats; None takes no absolute value, as may one group of several.
        per: The unit of the floor: see :func:`free_bits`. ``"total"`` is the sum over groups.
        batch_mean: Floor the batch's mean rate, or else each example's.
        total_floor: A second floor, on the sum over all groups, after the first.

    Raises:
        ValueError: if a coefficient is negative or not finite, tuples do not fit the groups, or a
            floor per latent meets a posterior whose divergence does not split over latents.

    Source: Higgins et al. 2017, equation 4; Burgess et al. 2018, equation 8; Kingma et al. 2016,
    appendix C.8.

    >>> objective = ELBO(beta=4.0, free_bits=0.25)
    >>> objective.coefficients
    {'beta': 4.0, 'free_bits': 0.25, 'capacity': None, 'total_floor': 0.0}
    """

    beta = Coefficient[Grouped]()
    free_bits = Coefficient[Grouped]()
    capacity = Coefficient[float | tuple[float | None, ...] | None](optional=True)
    total_floor = Coefficient[float](grouped=False)

    def __init__(
        self,
        beta: float | Sequence[float] = 1.0,
        free_bits: float | Sequence[float] = 0.0,
        capacity: float | Sequence[float | None] | None = None,
        per: Per = "latent",
        batch_mean: bool = True,
        total_floor: float = 0.0,
    ) -> None:
        super().__init__()
        self.beta, self.free_bits, self.capacity = beta, free_bits, capacity
        self.total_floor = total_floor
        self.per, self.batch_mean = per, batch_mean
        _units(torch.zeros(1, 1), per)
        self._refuse_conflicts()

    def forward(self, output: VAEOutput) -> dict[str, Tensor]:
        self._refuse_conflicts()
        distortion, rates = output.distortion.mean(), self._floored(output)
        betas = _one_each("beta", self.beta, len(rates))
        capacities = _one_each("capacity", self.capacity, len(rates))
        penalties = [
            rate if capacity is None else (rate - capacity).abs()
            for rate, capacity in zip(rates, capacities, strict=True)
        ]
        weighted = [beta * penalty for beta, penalty in zip(betas, penalties, strict=True)]
        parts = {"distortion": distortion.detach(), "penalty": _sum(penalties).detach()}
        if self._linear:
            parts["rate"] = parts["penalty"]
        return {"loss": distortion + _sum(weighted), **parts}

    @property
    def _grouped(self) -> bool:
        """Whether each group has a penalty of its own, rather than their sum one."""
        return isinstance(self.beta, tuple) or isinstance(self.capacity, tuple)

    @property
    def _linear(self) -> bool:
        """Whether the loss is linear in R, so that a rank's own mean is all it needs."""
        return self.capacity is None and not self.total_floor and self.free_bits == 0

    def _floored(self, output: VAEOutput) -> list[Tensor]:
        """The rate that enters each penalty, a scalar: one a group, or one for their sum."""
        on_total = self.per == "total"
        per_group = 0.0 if on_total else self.free_bits
        floors = _one_each("free_bits", per_group, len(output.latents))
        batch_dims = output.distortion.dim()
        rates = [
            self._group_rate(g, batch_dims, f) for g, f in zip(output.latents, floors, strict=True)
        ]
        if not self._grouped:
            total = self.free_bits if on_total and isinstance(self.free_bits, float) else 0.0
            rates = [_at_least(max(self.total_floor, total), _sum(rates))]
        if self.batch_mean:
            return rates
        means = [rate.mean() for rate in rates]
        return means if self.capacity is None else [self._over_ranks(mean) for mean in means]

    def _group_rate(self, latent: Latent, batch_dims: int, floor: float) -> Tensor:
        """One group's rate, floored per unit and summed: a scalar of the batch's mean, or [B]."""
        splits = latent.rate.shape == latent.z.shape
        if (
            (floor or self.planned.get("free_bits"))
            and self.per in ("latent", "channel")
            and not splits
        ):
            raise ValueError(
                f"free_bits per {self.per} needs a rate for every latent, but the divergence of "
                f"{type(latent.posterior).__name__} from {type(latent.prior).__name__} does not "
                f"split over latents; write per='group'."
            )
        rate = latent.rate.flatten(0, batch_dims - 1) if batch_dims > 1 else latent.rate
        if not self.batch_mean:
            floored = free_bits(rate, floor, self.per, batch_mean=False)
            return floored.reshape(len(rate), -1).sum(1)
        mean = self._over_ranks(rate.mean(0))
        return _at_least(floor, _units(mean[None], self.per) if floor else mean).sum()

    def _over_ranks(self, mean: Tensor) -> Tensor:
        return mean_over_ranks(mean) if self.training and not self._linear else mean

    def _refuse_conflicts(self) -> None:
        if isinstance(self.beta, tuple) and isinstance(self.capacity, float):
            raise ValueError(
                f"beta={self.beta} has one value a group but capacity={self.capacity} applies to "
                f"their sum; write a capacity for every group, or one beta."
            )
        if self._grouped and (self.total_floor or self.per == "total"):
            raise ValueError(
                "a floor on the total (per='total', total_floor) is one penalty for all groups; "
                "write one beta and one capacity with it."
            )
        if isinstance(self.free_bits, tuple) and self.per == "total":
            raise ValueError(
                "free_bits has one value a group; write per='group' instead of 'total'."
            )


def _at_least(floor: float, rate: Tensor) -> Tensor:
    # The gradient of clamp is full at the floor; that of maximum is half.
    return rate.clamp(min=floor) if floor > 0 else rate


def _sum(terms: Sequence[Tensor]) -> Tensor:
    return functools.reduce(torch.add, terms)


def _one_each(name: str, value: S | tuple[S, ...], groups: int) -> tuple[S, ...]:
    if not isinstance(value, tuple):
        return (value,) * groups
    if len(value) != groups:
        raise ValueError(f"{name}={value} has {len(value)} values for {groups} groups of latents.")
    return value


def mean_over_ranks(mean: Tensor) -> Tensor:
    """The mean over all ranks in value, this rank's own in gradient.

    DDP averages gradients over ranks, so each contributes its own mean's, evaluated where the
    global mean stands: a floor or an absolute value of the mean is not the mean of floors.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return mean
    everywhere = mean.detach().clone()
    distributed.all_reduce(everywhere)
    return everywhere / distributed.get_world_size() + (mean - mean.detach())
