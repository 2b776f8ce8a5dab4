"""Hierarchies: the rate's groups balanced while it is warmed up, and the distortion weighed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_vae.coefficients import Coefficient
from lightning_vae.latents import VAEOutput
from lightning_vae.objectives.objective import Objective
from lightning_vae.objectives.ranks import mean_over_ranks

__all__ = ["Balanced", "balance"]

_OFFSET = 0.01  # nats, so that a group without rate keeps a weight


def balance(rates: Tensor, alpha: Sequence[float] | None = None) -> Tensor:
    r"""Weights of the groups' rates that are larger where the rate is, of mean 1.

    .. math:: \gamma_g \propto \frac{\mathbb E_b |R_{bg}| + 0.01}{\alpha_g}

    A larger weight lowers a larger rate more, so that every group gets used.

    Args:
        rates: The rates of G groups, [B, G] nats.
        alpha: α, one a group; all 1 by default.

    Returns:
        [G], without gradient.

    Raises:
        ValueError: if alpha does not fit the groups.

    Source: Vahdat & Kautz 2020 (NVAE) and their code.

    >>> balance(torch.tensor([[0.99, 2.99], [0.99, 2.99]]))
    tensor([0.5000, 1.5000])
    """
    return _normalised(rates.detach().abs().mean(0), alpha)


def _normalised(rates: Tensor, alpha: Sequence[float] | None) -> Tensor:
    weights = rates + _OFFSET
    if alpha is not None:
        if len(alpha) != len(weights):
            raise ValueError(
                f"alpha={tuple(alpha)} has {len(alpha)} values for {len(weights)} groups of latents."
            )
        weights = weights / weights.new_tensor(alpha)
    return weights / weights.mean()


class Balanced(Objective):
    r"""The ELBO of a hierarchy with its groups balanced while β is below 1, as in NVAE.

    .. math:: \mathcal L = w D + \beta \sum_g \gamma_g R_g

    γ is that of :func:`balance`, over all ranks, in training while β < 1; at and above, and in
    evaluation, it is 1. Its part ``penalty`` is what β multiplies.

    Args:
        beta: β, of the rate.
        distortion_weight: w, of the distortion.
        alpha: α, one a group: NVAE takes :math:`4^s` over the number of groups in scale s, s = 0
            being the top, divided by the least of them.

    Raises:
        ValueError: if an α is not positive; at the loss, if there is not one for every group.

    Source: Vahdat & Kautz 2020 (NVAE) and their code.

    >>> Balanced(beta=0.1, alpha=(1.0, 2.0)).coefficients
    {'beta': 0.1, 'distortion_weight': 1.0}
    """

    beta = Coefficient[float](grouped=False)
    distortion_weight = Coefficient[float](grouped=False)

    def __init__(
        self,
        beta: float = 1.0,
        distortion_weight: float = 1.0,
        alpha: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if alpha is not None and not (alpha and all(0 < a < float("inf") for a in alpha)):
            raise ValueError(f"alpha must be positive numbers, one a group, got {alpha}.")
        self.beta, self.distortion_weight = beta, distortion_weight
        self.alpha = None if alpha is None else tuple(map(float, alpha))

    def forward(self, output: VAEOutput) -> dict[str, Tensor]:
        rates = torch.stack([rate.flatten() for rate in output.rates], 1)
        penalty = rates.mean(0)
        if self.training and self.beta < 1:
            everywhere = mean_over_ranks(rates.detach().abs().mean(0))
            penalty = _normalised(everywhere, self.alpha) * penalty
        loss = self.distortion_weight * output.distortion.mean() + self.beta * penalty.sum()
        return {"loss": loss, "penalty": penalty.sum().detach()}
