"""The rate spectrum: what every latent costs, from the most to the least."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat
from typing_extensions import override

from lightning_vae.latents import VAEOutput
from lightning_vae.metrics.groups import rates
from lightning_vae.metrics.metric import OutputMetric

__all__ = ["RateSpectrum", "rate_spectrum"]


def rate_spectrum(rates: Tensor) -> Tensor:
    r"""The mean rate of every latent, sorted from the greatest down.

    .. math:: \mathbb E_x\left[\mathrm{KL}(q(z_d|x) \,\|\, p(z_d))\right]

    Args:
        rates: [N, d] nats.

    Returns:
        [d] nats.

    >>> rate_spectrum(torch.tensor([[0.0, 2.0, 1.0], [0.0, 4.0, 1.0]]))
    tensor([3., 1., 0.])
    """
    return rates.mean(0).sort(descending=True).values


class RateSpectrum(OutputMetric):
    r"""The mean rate of every latent over the data set, sorted from the greatest down.

    Its sum is the rate. A group whose divergence does not split over latents has one entry.

    Args:
        group: The group of latents; None for all.

    >>> from lightning_vae import VAEModule
    >>> from lightning_vae.networks import MLPDecoder, MLPEncoder
    >>> vae = VAEModule(MLPEncoder((8,), latent=2), MLPDecoder((8,), latent=2))
    >>> metric = RateSpectrum()
    >>> metric.update(vae(torch.rand(16, 8)))
    >>> metric.compute().shape
    torch.Size([2])
    """

    counts: list[Tensor]
    sums: list[Tensor]

    def __init__(self, group: int | None = None, **kwargs: Any) -> None:
        super().__init__(group, **kwargs)
        self.add_state("counts", [], dist_reduce_fx="cat")
        self.add_state("sums", [], dist_reduce_fx="cat")

    @override
    def update(self, output: VAEOutput) -> None:
        batch = rates(output, self.group)
        self.counts.append(torch.tensor([len(batch)], device=batch.device))
        self.sums.append(batch.sum(0, keepdim=True))
        self.counts = [dim_zero_cat(self.counts).sum(0, keepdim=True)]
        self.sums = [dim_zero_cat(self.sums).sum(0, keepdim=True)]

    @override
    def compute(self) -> Tensor:
        """[d] nats."""
        # The sums are means already, once divided by their count.
        return rate_spectrum(dim_zero_cat(self.sums).sum(0, keepdim=True) / self._count())

    def _count(self) -> Tensor:
        return dim_zero_cat(self.counts).sum()

    @override
    def plot(self, val: Tensor | None = None, ax: Any = None) -> Any:
        """Draw the spectrum as bars; returns a figure and its axes."""
        import matplotlib.pyplot as plt

        spectrum = self.compute() if val is None else val
        figure, axes = plt.subplots() if ax is None else (ax.get_figure(), ax)
        axes.bar(range(len(spectrum)), spectrum.tolist())
        axes.set(xlabel="latent, by rate", ylabel="rate [nats]")
        return figure, axes
