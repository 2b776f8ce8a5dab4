"""Saturation of posterior variances: at the prior's, or at nothing."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat
from typing_extensions import override

from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.metrics.groups import chosen
from lightning_vae.metrics.metric import OutputMetric

__all__ = ["VarianceSaturation", "variance_ratio"]


def variance_ratio(latent: Latent) -> Tensor:
    r"""The posterior's variance of every latent over the prior's.

    .. math:: \mathrm{Var}[q(z_d|x)] \,/\, \mathrm{Var}[p(z_d)]

    One is a latent that says nothing of x, near zero one that is hardly regularised.

    Returns:
        [B, d].

    Raises:
        TypeError: if either distribution does not know its variance.

    >>> from lightning_vae.distributions import DiagonalGaussian, StandardGaussian
    >>> q = DiagonalGaussian(torch.zeros(1, 2), torch.tensor([0.25, 1.0]).log())
    >>> variance_ratio(Latent(q, StandardGaussian((2,)), z=q.loc, rate=q.loc))
    tensor([[0.2500, 1.0000]])
    """
    try:
        posterior, prior = latent.posterior.variance, latent.prior.variance
    except (AttributeError, NotImplementedError):
        raise TypeError(
            f"{type(latent.posterior).__name__} or {type(latent.prior).__name__} does not know its "
            f"variance; give it a variance property."
        ) from None
    ratio = at_least_float32(posterior) / at_least_float32(prior)
    return ratio.reshape(-1, latent.z[0].numel() if latent.z.dim() > 1 else 1)


class VarianceSaturation(OutputMetric):
    r"""Which share of the latents has a posterior variance at the prior's, and which at nothing.

    Its value is a dict of ``at_prior``, the share of latents that are unused, and ``at_zero``, that
    of latents which are hardly noisy: the VAE is an autoencoder. What is judged of a latent is the
    mean over the data of its :func:`variance_ratio`.

    Args:
        prior: The ratio above which a latent is at the prior's.
        zero: The ratio below which it is at nothing; 1e-3 costs about 3.5 nats.
        group: The group of latents; None for all.

    Raises:
        ValueError: if not 0 < zero < prior.
        TypeError: if a distribution does not know its variance.

    >>> from lightning_vae import VAEModule
    >>> from lightning_vae.networks import MLPDecoder, MLPEncoder
    >>> vae = VAEModule(MLPEncoder((8,), latent=2), MLPDecoder((8,), latent=2))
    >>> metric = VarianceSaturation()
    >>> metric.update(vae(torch.rand(16, 8)))
    >>> metric.compute()["at_zero"]
    tensor(0.)
    """

    counts: list[Tensor]
    sums: list[Tensor]

    def __init__(
        self, prior: float = 0.95, zero: float = 1e-3, group: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(group, **kwargs)
        if not 0 < zero < prior:
            raise ValueError(f"zero must be above 0 and below prior, got {zero} and {prior}.")
        self.prior, self.zero = prior, zero
        self.add_state("counts", [], dist_reduce_fx="cat")
        self.add_state("sums", [], dist_reduce_fx="cat")

    @override
    def update(self, output: VAEOutput) -> None:
        several = output.distortion.dim() > 1
        ratios = torch.cat([_ratio(latent, several) for latent in chosen(output, self.group)], 1)
        self.counts.append(torch.tensor([len(ratios)], device=ratios.device))
        self.sums.append(ratios.sum(0, keepdim=True))
        self.counts = [dim_zero_cat(self.counts).sum(0, keepdim=True)]
        self.sums = [dim_zero_cat(self.sums).sum(0, keepdim=True)]

    @override
    def compute(self) -> dict[str, Tensor]:
        ratio = dim_zero_cat(self.sums).sum(0) / dim_zero_cat(self.counts).sum()
        at_prior, at_zero = ratio > self.prior, ratio < self.zero
        return {"at_prior": at_prior.float().mean(), "at_zero": at_zero.float().mean()}


def _ratio(latent: Latent, several: bool) -> Tensor:
    """With a row for every example, and every draw where the posterior is over draws."""
    z = latent.z[0] if several else latent.z
    return variance_ratio(Latent(latent.posterior, latent.prior, z, latent.rate))
