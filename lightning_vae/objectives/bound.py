"""The evidence lower bound, and the β-VAE objective with free bits and capacity."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

from lightning_vae.coefficients import Coefficient, Grouped
from lightning_vae.divergences import kl
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.likelihoods import distortion
from lightning_vae.objectives.floors import Per, at_least, free_bits, refuse_whole, units
from lightning_vae.objectives.groups import one_each, summed
from lightning_vae.objectives.objective import Objective
from lightning_vae.objectives.ranks import mean_over_ranks

__all__ = ["ELBO", "elbo"]


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
    the sum over groups, tuples to one group each. R is the batch mean, in training over all
    ranks, in evaluation over the rank's own batch, and the absolute value is of that mean. With a
    capacity, ``beta`` is Burgess' γ. Its part ``penalty`` is what β multiplies.

    Args:
        beta: β; 1 is the ELBO.
        free_bits: The floor λ of every unit, in nats; 0 is none.
        capacity: C in nats; None takes no absolute value, as may one group of several.
        per: The unit of the floor: see :func:`free_bits`. ``"total"`` is the sum over groups.
        batch_mean: Floor the batch's mean rate, or else each example's.
        total_floor: A second floor, on the sum over all groups, after the first.

    Raises:
        ValueError: if a coefficient is negative or not finite, batch_mean is not a bool, tuples do not fit the groups, or a
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
        if not isinstance(batch_mean, bool):
            raise ValueError(f"batch_mean must be True or False, got {batch_mean!r}.")
        self.per, self.batch_mean = per, batch_mean
        units(torch.zeros(1, 1), per)
        self._refuse_conflicts()

    def forward(self, output: VAEOutput) -> dict[str, Tensor]:
        self._refuse_conflicts()
        distortion, rates = output.distortion.mean(), self._floored(output)
        betas = one_each("beta", self.beta, len(rates))
        capacities = one_each("capacity", self.capacity, len(rates))
        penalties = [
            rate if capacity is None else (rate - capacity).abs()
            for rate, capacity in zip(rates, capacities, strict=True)
        ]
        weighted = [beta * penalty for beta, penalty in zip(betas, penalties, strict=True)]
        parts = {"distortion": distortion.detach(), "penalty": summed(penalties).detach()}
        if self._linear:
            parts["rate"] = parts["penalty"]
        return {"loss": distortion + summed(weighted), **parts}

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
        output.refuse_mismatch()
        on_total = self.per == "total"
        per_group = 0.0 if on_total else self.free_bits
        floors = one_each("free_bits", per_group, len(output.latents))
        batch_dims = output.distortion.dim()
        rates = [
            self._group_rate(g, batch_dims, f) for g, f in zip(output.latents, floors, strict=True)
        ]
        if not self._grouped:
            total = self.free_bits if on_total and isinstance(self.free_bits, float) else 0.0
            rates = [at_least(max(self.total_floor, total), summed(rates))]
        if self.batch_mean:
            return rates
        means = [rate.mean() for rate in rates]
        return means if self.capacity is None else [self._over_ranks(mean) for mean in means]

    def _group_rate(self, latent: Latent, batch_dims: int, floor: float) -> Tensor:
        """One group's rate, floored per unit and summed: a scalar of the batch's mean, or [B]."""
        if floor or self.planned.get("free_bits"):
            refuse_whole(latent, self.per)
        rate = latent.rate.flatten(0, batch_dims - 1) if batch_dims > 1 else latent.rate
        if not self.batch_mean:
            floored = free_bits(rate, floor, self.per, batch_mean=False)
            return floored.reshape(len(rate), -1).sum(1)
        mean = self._over_ranks(rate.mean(0))
        return at_least(floor, units(mean[None], self.per) if floor else mean).sum()

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
