"""The regularisers of a plain minibatch, of repeated examples too, all weighed by β."""

import torch
from torch import Tensor

from lightning_vae.arguments import positive, whole
from lightning_vae.coefficients import Coefficient
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.likelihoods.expectation import expectation
from lightning_vae.objectives.densities import pairwise
from lightning_vae.objectives.draws import refuse_several_draws
from lightning_vae.objectives.floors import free_bits, refuse_whole
from lightning_vae.objectives.groups import summed
from lightning_vae.objectives.objective import Objective
from lightning_vae.objectives.similarity import similarity
from lightning_vae.objectives.total_correlation import aggregate

__all__ = ["Regularised", "between", "within"]

_WEIGHTS = {
    "total_correlation": "gamma",
    "total_correlation_between": "gamma_between",
    "total_correlation_within": "gamma_within",
    "similarity": "delta",
    "similarity_between": "delta_between",
}


def between(batch: int, repeats: int, device: torch.device | None = None) -> Tensor:
    """Which examples are repetitions of one: [B, B] booleans, for repetitions in succession.

    Raises:
        ValueError: if the batch does not divide into repetitions.

    >>> between(4, repeats=2).int()
    tensor([[1, 1, 0, 0],
            [1, 1, 0, 0],
            [0, 0, 1, 1],
            [0, 0, 1, 1]], dtype=torch.int32)
    """
    example = _places(batch, repeats, device) // repeats
    return example.unsqueeze(1) == example


def within(batch: int, repeats: int, device: torch.device | None = None) -> Tensor:
    """Which examples belong to the same repetition, the first of each, the second and so on.

    Raises:
        ValueError: if the batch does not divide into repetitions.

    >>> within(4, repeats=2).int()
    tensor([[1, 0, 1, 0],
            [0, 1, 0, 1],
            [1, 0, 1, 0],
            [0, 1, 0, 1]], dtype=torch.int32)
    """
    repetition = _places(batch, repeats, device) % repeats
    return repetition.unsqueeze(1) == repetition


def _places(batch: int, repeats: int, device: torch.device | None) -> Tensor:
    if batch % repeats:
        raise ValueError(
            f"a batch of {batch} does not divide into repeats={repeats} of every example; give a "
            f"batch_size that does, and drop_last=True."
        )
    return torch.arange(batch, device=device)


def _log_mean(among: Tensor) -> Tensor:
    """The log-weights of a mean over those among whom an example is counted."""
    return (among / among.sum(1, keepdim=True)).log()


def _correlations(output: VAEOutput, among: dict[str, Tensor]) -> dict[str, Tensor]:
    """The total correlation of every example among others, [B] each."""
    if not among:
        return {}
    pairs = [pairwise(latent.posterior, latent.z) for latent in output.latents]

    def one(log_weights: Tensor) -> Tensor:
        joint_and_marginals = [aggregate(each, log_weights) for each in pairs]
        return summed([joint - marginals for joint, marginals in joint_and_marginals])

    return {name: one(_log_mean(which)) for name, which in among.items()}


def _similarities(
    output: VAEOutput, among: dict[str, Tensor], temperature: float
) -> dict[str, Tensor]:
    """The similarity of every reconstruction to others, [B] each."""
    if not among:
        return {}
    reconstruction = expectation(output.likelihood)
    if not reconstruction.is_floating_point():
        raise ValueError(
            f"x are names (the likelihood is {type(output.likelihood).__name__}), which have no "
            f"directions to be similar in; write delta=0 and delta_between=0."
        )
    return {name: similarity(reconstruction, which, temperature) for name, which in among.items()}


class Regularised(Objective):
    r"""The ELBO with minibatch regularisers, every one of them multiplied by β.

    .. math:: \mathcal L = D + \beta \bigl(\tilde R + \gamma\, T + \gamma_b T_b + \gamma_w T_w
              + \delta\, S + \delta_b S_b\bigr)

    :math:`\tilde R` is the rate with a floor under every latent of every example. T is the total
    correlation with q(z) the plain mean over the batch; :math:`T_b` over the repetitions of an
    example, which it makes diverse, and :math:`T_w` over the examples of a repetition. S is the
    :func:`similarity` of the reconstructions, :math:`S_b` that among repetitions. All are of the
    rank's own batch, where each example stands ``repeats`` times in succession. Its parts are
    ``penalty``, all that β multiplies, and of the five, ``total_correlation`` and so on, those that
    are computed. One whose weight is 0, and which no scheduling callback is going to raise, is
    neither computed nor logged, and asks nothing of the likelihood or the posteriors.

    Args:
        beta: β.
        gamma: γ, of the total correlation.
        gamma_between: γ_b, of that between the repetitions of an example.
        gamma_within: γ_w, of that within a repetition.
        delta: δ, of the similarity.
        delta_between: δ_b, of the similarity between the repetitions of an example.
        free_bits: The floor of every latent of every example, in nats.
        repeats: How often every example stands in the batch.
        temperature: τ, of the similarity.

    Raises:
        ValueError: if repeats is no whole number above 0, or τ not positive; at the loss, if the
            batch does not divide, a posterior is not elementwise where T is wanted, or x are names,
            which have no directions, where S is.
        TypeError: at the loss, if S is wanted of a likelihood that does not know its mean.

    Source: Groth, VAE-project, ``VAEloss``; Chen et al. 2018, for the total correlation.

    >>> Regularised(beta=0.5, gamma=2.0).given
    {'beta': 0.5, 'gamma': 2.0}
    """

    beta = Coefficient[float](grouped=False)
    gamma = Coefficient[float](grouped=False)
    gamma_between = Coefficient[float](grouped=False)
    gamma_within = Coefficient[float](grouped=False)
    delta = Coefficient[float](grouped=False)
    delta_between = Coefficient[float](grouped=False)
    free_bits = Coefficient[float](grouped=False)

    def __init__(
        self,
        beta: float = 1.0,
        gamma: float = 0.0,
        gamma_between: float = 0.0,
        gamma_within: float = 0.0,
        delta: float = 0.0,
        delta_between: float = 0.0,
        free_bits: float = 0.0,
        repeats: int = 1,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.beta, self.free_bits = beta, free_bits
        self.gamma, self.gamma_between, self.gamma_within = gamma, gamma_between, gamma_within
        self.delta, self.delta_between = delta, delta_between
        self.repeats = whole("repeats", repeats)
        self.temperature = positive("temperature", temperature)

    def forward(self, output: VAEOutput) -> dict[str, Tensor]:
        penalty, terms = self.penalties(output)
        loss = output.distortion.mean() + self.beta * penalty.mean()
        parts = {name: term.detach().mean() for name, term in terms.items()}
        return {"loss": loss, "penalty": penalty.detach().mean(), **parts}

    def penalties(self, output: VAEOutput) -> tuple[Tensor, dict[str, Tensor]]:
        """What β multiplies for every example, and the regularisers that it weighs; [B] nats each.

        Those are unweighted, and without the ones whose weight is and stays 0.
        """
        refuse_several_draws(output)
        output.refuse_mismatch()
        penalty = summed([self._floored(latent) for latent in output.latents])
        terms = self._regularisers(output)
        for name, term in terms.items():
            penalty = penalty + getattr(self, _WEIGHTS[name]) * term
        return penalty, terms

    def _floored(self, latent: Latent) -> Tensor:
        """[B]."""
        if self.free_bits or self.planned.get("free_bits"):
            refuse_whole(latent, "latent")
        return free_bits(latent.rate, self.free_bits, batch_mean=False).flatten(1).sum(1)

    def _regularisers(self, output: VAEOutput) -> dict[str, Tensor]:
        z = output.latents[0].z
        repeated, same = (f(len(z), self.repeats, z.device) for f in (between, within))
        everyone = torch.ones_like(same)
        correlations = self._weighed(
            total_correlation=everyone,
            total_correlation_between=repeated,
            total_correlation_within=same,
        )
        similarities = self._weighed(similarity=everyone, similarity_between=repeated)
        return {
            **_correlations(output, correlations),
            **_similarities(output, similarities, self.temperature),
        }

    def _weighed(self, **among: Tensor) -> dict[str, Tensor]:
        """Those of the regularisers whose weight is more than 0, or is going to be."""
        weights = {name: _WEIGHTS[name] for name in among}
        return {
            name: among[name]
            for name, weight in weights.items()
            if getattr(self, weight) or self.planned.get(weight)
        }
