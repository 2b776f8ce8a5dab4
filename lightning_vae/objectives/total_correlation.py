"""The total correlation of the latents, and the objective that penalises it (β-TCVAE)."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from lightning_vae.arguments import one_of, whole
from lightning_vae.coefficients import Coefficient, Grouped
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.objectives.densities import log_density, pairwise
from lightning_vae.objectives.draws import refuse_several_draws
from lightning_vae.objectives.groups import summed, weighed
from lightning_vae.objectives.objective import Objective
from lightning_vae.objectives.parameters import rebuilt
from lightning_vae.objectives.ranks import gather, rank, ranks

__all__ = ["Decomposition", "TotalCorrelation", "aggregate", "decompose", "stratified", "weighted"]


class Decomposition(NamedTuple):
    """What the rate of every example is made of; [B] nats each, which sum to the rate."""

    mutual_information: Tensor  # log q(z|x) - log q(z)
    total_correlation: Tensor  # log q(z) - Σ log q(z_d)
    dimension_wise_kl: Tensor  # Σ log q(z_d) - log p(z)


def decompose(
    latent: Latent, log_weights: Tensor, everyone: Distribution | None = None
) -> Decomposition:
    r"""The rate in three: index-code mutual information, total correlation, dimension-wise KL.

    .. math:: \mathrm{KL}(q(z|x)\,\|\,p(z)) \approx
              \log\frac{q(z|x)}{q(z)} + \log\frac{q(z)}{\prod_d q(z_d)}
              + \log\frac{\prod_d q(z_d)}{p(z)}, \quad
              q(z_i) = \sum_j W_{ij}\, q(z_i|x_j)

    The mean of each over the data is a divergence; the value of one example may be negative.

    Args:
        latent: The posterior, prior and draw of B examples, z being [B, \*factors].
        log_weights: log W, [B, J]: of :func:`stratified`, :func:`weighted`, or -log J where the
            posteriors are those of all the data.
        everyone: The J posteriors that make up q(z); the latent's own by default.

    Returns:
        Three terms of [B] nats.

    Raises:
        ValueError: if the posterior's density does not split over its latents.

    Source: Chen et al. 2018, equation 2.

    >>> from lightning_vae.distributions import DiagonalGaussian, StandardGaussian
    >>> q = DiagonalGaussian(torch.tensor([[-9.0, -9.0], [9.0, 9.0]]), torch.zeros(2, 2))
    >>> latent = Latent(q, StandardGaussian((2,)), z=q.loc, rate=torch.zeros(2, 2))
    >>> decompose(latent, torch.full((2, 2), 0.5).log()).total_correlation  # one bit
    tensor([0.6931, 0.6931])
    """
    posterior, prior, z = latent.posterior, latent.prior, latent.z
    log_pairs = pairwise(posterior if everyone is None else everyone, z)
    log_q, log_marginals = aggregate(log_pairs, log_weights)
    return Decomposition(
        log_density(posterior, z) - log_q,
        log_q - log_marginals,
        log_marginals - log_density(prior, z),
    )


def aggregate(log_pairs: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""The log-density of the aggregate posterior, and that of the product of its marginals.

    .. math:: \log \sum_j W_{ij} \prod_d q(z_{id}|x_j), \qquad
              \sum_d \log \sum_j W_{ij}\, q(z_{id}|x_j)

    Args:
        log_pairs: :math:`\log q(z_{id}|x_j)`, [B, J, d].
        log_weights: log W, [B, J]; -inf leaves a posterior out.

    Returns:
        Two of [B] nats.

    Source: Chen et al. 2018, appendix C.

    >>> joint, marginals = aggregate(torch.zeros(1, 4, 3), torch.full((1, 4), 0.25).log())
    >>> joint, marginals
    (tensor([0.]), tensor([0.]))
    """
    log_q = (log_weights + log_pairs.sum(2)).logsumexp(1)
    log_marginals = (log_weights.unsqueeze(2) + log_pairs).logsumexp(1)
    return log_q, log_marginals.sum(1)


def weighted(batch: int, size: int, device: torch.device | None = None) -> Tensor:
    r"""Minibatch weighted sampling: the log-weights of a batch of B that stands for N examples.

    .. math:: \log W_{ij} = -\log(N B)

    Its q(z) is too small by a factor of about N, which is a constant in each of the three terms
    and leaves their gradients alone.

    Args:
        batch: B.
        size: N, the number of examples in the data set.
        device: Where to make it.

    Returns:
        [B, B].

    Raises:
        ValueError: if the batch has more examples than the data set.

    Source: Chen et al. 2018, section 3 and appendix C.1.

    >>> weighted(2, size=5).exp()
    tensor([[0.1000, 0.1000],
            [0.1000, 0.1000]])
    """
    _refuse_larger(batch, size)
    return torch.full((batch, batch), -math.log(size * batch), device=device)


def stratified(batch: int, size: int, device: torch.device | None = None) -> Tensor:
    r"""Minibatch stratified sampling: log-weights with which q(z) is free of bias.

    .. math:: W_{ii} = \frac1N, \quad W_{i,i+1} = \frac{N-M}{N M}, \quad
              W_{ij} = \frac1M \text{ else}, \quad M = B - 1

    Every row sums to 1. (The matrix in wide use, filled by a stride of M + 1 over rows of M + 1,
    sets a column where it means the diagonal, and one row of it sums to more.)

    Args:
        batch: B, two at least.
        size: N, the number of examples in the data set.
        device: Where to make it.

    Returns:
        [B, B].

    Raises:
        ValueError: if there is one example, or the batch has more than the data set.

    Source: Chen et al. 2018, appendix C.2.

    >>> stratified(3, size=5).exp()
    tensor([[0.2000, 0.3000, 0.5000],
            [0.5000, 0.2000, 0.3000],
            [0.3000, 0.5000, 0.2000]])
    """
    _refuse_larger(batch, size)
    if batch < 2:
        raise ValueError(
            "stratified sampling needs two examples in a batch, got 1; write estimator='mws', or "
            "drop_last=True in the DataLoader."
        )
    others, own = batch - 1, torch.arange(batch, device=device)
    weights = torch.full((batch, batch), -math.log(others), device=device)
    weights[own, own.roll(-1)] = math.log((size - others) / (size * others))
    weights[own, own] = -math.log(size)
    return weights


def _refuse_larger(batch: int, size: int) -> None:
    if batch > size:
        raise ValueError(
            f"size={size} is less than one batch of {batch} over all ranks; give the number of "
            f"examples in the training set."
        )


class TotalCorrelation(Objective):
    r"""The ELBO with the parts of its rate weighed apart; with α = β = γ = 1 the ELBO again.

    .. math:: \mathcal L = D + \alpha\, I_q(z; x)
              + \beta\, \mathrm{KL}\bigl(q(z) \,\|\, \textstyle\prod_d q(z_d)\bigr)
              + \gamma\, \mathrm{KL}\bigl(\textstyle\prod_d q(z_d) \,\|\, p(z)\bigr)

    The aggregate posterior q(z) is estimated from the batch, under DDP from that of all ranks,
    whose batches must be of one size; in evaluation from the rank's own. Scalars apply to every
    group of latents, tuples to one each. Its parts are ``mutual_information``,
    ``total_correlation`` and ``dimension_wise_kl``, sums over groups.

    Args:
        size: N, the number of examples in the training set; where that has another, a fit warns.
        alpha: α, of the index-code mutual information.
        beta: β, of the total correlation.
        gamma: γ, of the dimension-wise KL.
        estimator: ``"mss"``, :func:`stratified` sampling, or ``"mws"``, :func:`weighted`, whose
            values (not gradients) are off by constants: its MI by about log N, its TC by
            (d-1) log N and its KL by -d log N.

    Raises:
        ValueError: if size is no whole number above 0, or the estimator neither of the two; at the
            loss, if a posterior is not elementwise or a batch does not fit.

    Source: Chen et al. 2018, equations 2 and 4; β = 6 is theirs for dSprites.

    >>> TotalCorrelation(size=60_000).coefficients
    {'alpha': 1.0, 'beta': 6.0, 'gamma': 1.0}
    """

    alpha = Coefficient[Grouped]()
    beta = Coefficient[Grouped]()
    gamma = Coefficient[Grouped]()

    def __init__(
        self,
        size: int,
        alpha: float | Sequence[float] = 1.0,
        beta: float | Sequence[float] = 6.0,
        gamma: float | Sequence[float] = 1.0,
        estimator: Literal["mss", "mws"] = "mss",
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.size = whole("size", size, write="size=len(dataset)")
        self.estimator = one_of("estimator", estimator, ("mss", "mws"))

    @property
    def training_size(self) -> int:
        return self.size

    def forward(self, output: VAEOutput) -> dict[str, Tensor]:
        refuse_several_draws(output)
        output.refuse_mismatch()
        distortion = output.distortion.mean()
        mi, tc, kl = zip(*map(self._means, output.latents), strict=True)
        loss = distortion + weighed("alpha", self.alpha, mi)
        loss = loss + weighed("beta", self.beta, tc) + weighed("gamma", self.gamma, kl)
        sums = zip(Decomposition._fields, map(summed, (mi, tc, kl)), strict=True)
        parts = {name: part.detach() for name, part in sums}
        return {"loss": loss, "distortion": distortion.detach(), **parts}

    def _means(self, latent: Latent) -> list[Tensor]:
        """The three terms of one group, averaged over this rank's examples."""
        everyone, examples, together = latent.posterior, len(latent.z), 1
        if self.training and ranks() > 1:
            everyone, together = rebuilt(everyone, gather), ranks()
        weights = stratified if self.estimator == "mss" else weighted
        log_weights = weights(together * examples, self.size, latent.z.device)
        mine = log_weights[rank() * examples :][:examples] if together > 1 else log_weights
        return [term.mean() for term in decompose(latent, mine, everyone)]
