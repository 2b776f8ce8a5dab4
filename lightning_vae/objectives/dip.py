"""Disentangled inferred priors: the covariance of the aggregate posterior held to the identity."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor
from torch.distributions import Distribution, Independent

from lightning_vae.coefficients import Coefficient, Grouped
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.latents import VAEOutput
from lightning_vae.objectives.groups import summed, weighed
from lightning_vae.objectives.objective import Objective
from lightning_vae.objectives.ranks import mean_over_ranks

__all__ = ["DIP", "aggregate_covariance", "identity_penalties"]


def identity_penalties(covariance: Tensor) -> tuple[Tensor, Tensor]:
    r"""How far a covariance is from the identity, off its diagonal and on it.

    .. math:: \sum_{i \ne j} C_{ij}^2, \qquad \sum_i (C_{ii} - 1)^2

    Args:
        covariance: C, [d, d].

    Returns:
        Two scalars.

    Source: Kumar et al. 2018, section 3.

    >>> import torch
    >>> identity_penalties(torch.tensor([[3.0, 0.5], [0.5, 1.0]]))
    (tensor(0.5000), tensor(4.))
    """
    diagonal = covariance.diagonal()
    off = covariance - diagonal.diag()
    return off.square().sum(), (diagonal - 1).square().sum()


def aggregate_covariance(
    posterior: Distribution, variant: Literal["I", "II"] = "I", over_ranks: bool = False
) -> Tensor:
    r"""The covariance over the batch of the posterior's means (I), or of its draws (II).

    .. math:: \mathrm{Cov}_x[\mu(x)], \qquad
              \mathrm{Cov}_{q(z)}[z] = \mathrm{Cov}_x[\mu(x)] + \mathbb E_x[\mathrm{diag}\,\sigma^2(x)]

    Args:
        posterior: q(z|x) of B examples; all latents of an example count, whatever their shape.
        variant: Of the means, or of the draws.
        over_ranks: Whether the batch is that of all ranks; the gradients are then this rank's
            share, as DDP averages them.

    Returns:
        [d, d], divided by B.

    Raises:
        ValueError: if the posterior has no mean, or under II no variance for every latent.

    Source: Kumar et al. 2018, section 3.

    >>> import torch
    >>> from torch.distributions import Normal
    >>> q = Normal(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), 0.5)
    >>> aggregate_covariance(q, "II")
    tensor([[1.2500, 0.0000],
            [0.0000, 0.2500]])
    """
    average = mean_over_ranks if over_ranks else _as_it_is
    means = at_least_float32(_moment(posterior, "mean")).flatten(1)
    # The gradient through the centre is zero over all ranks, but not over one.
    centred = means - average(means.detach().mean(0))
    covariance = centred.T @ centred / len(centred)
    if variant == "II":
        variances = at_least_float32(_moment(posterior, "variance")).flatten(1)
        covariance = covariance + variances.mean(0).diag()
    return average(covariance)


def _as_it_is(mean: Tensor) -> Tensor:
    return mean


def _moment(posterior: Distribution, name: str) -> Tensor:
    """[B, *factors], the mean or the variance; refused where it would miss covariances."""
    try:
        moment: Tensor = getattr(posterior, name)
    except (AttributeError, NotImplementedError):
        raise ValueError(
            f"posterior {type(posterior).__name__} has no {name}, which DIP needs; give it a "
            f"{name} property."
        ) from None
    base = posterior
    while isinstance(base, Independent):
        base = base.base_dist
    if name == "variance" and base.event_shape:
        raise ValueError(
            f"posterior {type(base).__name__} is not elementwise, and DIP-VAE-II takes its "
            f"latents to be independent given x; write variant='I'."
        )
    return moment


class DIP(Objective):
    r"""The ELBO with a penalty on the aggregate posterior's covariance (DIP-VAE I and II).

    .. math:: \mathcal L = D + \beta R + \lambda_{od} \sum_{i \ne j} C_{ij}^2
              + \lambda_d \sum_i (C_{ii} - 1)^2

    C is that of the batch, under DDP in training of all ranks'. Scalars apply to every group of
    latents, tuples to one each. Its parts are ``off_diagonal`` and ``diagonal``, sums over groups.

    Args:
        lambda_od: λ_od, of the covariances.
        lambda_d: λ_d, of the variances; the paper has 10 λ_od under I and λ_od under II.
        variant: ``"I"``, C is of the posterior means; ``"II"``, of the draws.
        beta: β, of the rate.

    Raises:
        ValueError: if the variant is neither; at the loss, if the posterior lacks a moment.

    Source: Kumar et al. 2018, section 3.

    >>> DIP(lambda_od=5.0, lambda_d=50.0).coefficients
    {'lambda_od': 5.0, 'lambda_d': 50.0, 'beta': 1.0}
    """

    lambda_od = Coefficient[Grouped]()
    lambda_d = Coefficient[Grouped]()
    beta = Coefficient[Grouped]()

    def __init__(
        self,
        lambda_od: float | Sequence[float] = 10.0,
        lambda_d: float | Sequence[float] = 100.0,
        variant: Literal["I", "II"] = "I",
        beta: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        if variant not in ("I", "II"):
            raise ValueError(f"variant must be 'I' or 'II', got {variant!r}.")
        self.lambda_od, self.lambda_d, self.beta = lambda_od, lambda_d, beta
        self.variant = variant

    def forward(self, output: VAEOutput) -> dict[str, Tensor]:
        covariances = [
            aggregate_covariance(latent.posterior, self.variant, over_ranks=self.training)
            for latent in output.latents
        ]
        off, on = zip(*map(identity_penalties, covariances), strict=True)
        loss = output.distortion.mean()
        loss = loss + weighed("beta", self.beta, [rate.mean() for rate in output.rates])
        loss = loss + weighed("lambda_od", self.lambda_od, off)
        loss = loss + weighed("lambda_d", self.lambda_d, on)
        parts = {"off_diagonal": summed(off).detach(), "diagonal": summed(on).detach()}
        return {"loss": loss, **parts}
