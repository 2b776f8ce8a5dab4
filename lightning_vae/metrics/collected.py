"""Metrics that need every example's posterior at once."""

from abc import ABC
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torchmetrics.utilities.data import dim_zero_cat
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.metrics.groups import chosen
from lightning_vae.metrics.metric import OutputMetric
from lightning_vae.metrics.stored import packed, unpacked
from lightning_vae.objectives.densities import log_density

__all__ = ["Collected"]


class Collected(OutputMetric, ABC):
    """A metric that keeps the posterior, a draw and its prior density of every example.

    Args:
        examples: How many examples to keep in each process, the first; None is all.
        group: The group of latents; None for all.

    Raises:
        ValueError: if ``examples`` is below 2, or the posterior depends on other draws than of x.
        TypeError: if a posterior cannot be made from its parameters.
    """

    tables: list[Tensor]
    draws: list[Tensor]
    log_priors: list[Tensor]

    def __init__(
        self, examples: int | None = None, group: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(group, **kwargs)
        instead = "examples=None for all"
        self.examples = None if examples is None else whole("examples", examples, 2, instead)
        self._like: tuple[Latent, ...] = ()
        for name in ("tables", "draws", "log_priors"):
            self.add_state(name, [], dist_reduce_fx="cat")

    @override
    def update(self, output: VAEOutput) -> None:
        kept = sum(len(draws) for draws in self.draws)
        left = len(output.x) if self.examples is None else self.examples - kept
        if left <= 0:
            return
        latents = tuple(_one_draw(g, output) for g in chosen(output, self.group))
        self._like = self._like or latents
        table = torch.cat([packed(latent.posterior) for latent in latents], 1)
        draws = at_least_float32(torch.cat([latent.z.flatten(1) for latent in latents], 1))
        log_prior = torch.stack([log_density(g.prior, g.z) for g in latents]).sum(0)
        for state, rows in zip(
            (self.tables, self.draws, self.log_priors), (table, draws, log_prior), strict=True
        ):
            state.append(rows[:left])

    def collected(self) -> tuple[list[Distribution], list[Tensor], Tensor]:
        """The posteriors and draws of every group, and log p(z) of every example."""
        if not self._like:
            raise RuntimeError(f"{type(self).__name__} has seen no example; call update first.")
        tables = dim_zero_cat(self.tables)
        widths = [packed(latent.posterior).shape[1] for latent in self._like]
        posteriors = [
            unpacked(table, like=latent.posterior)
            for table, latent in zip(tables.split(widths, 1), self._like, strict=True)
        ]
        sizes = [latent.z[0].numel() for latent in self._like]
        draws = [
            z.reshape(len(z), *latent.z.shape[1:])
            for z, latent in zip(dim_zero_cat(self.draws).split(sizes, 1), self._like, strict=True)
        ]
        return posteriors, draws, dim_zero_cat(self.log_priors)


def _one_draw(latent: Latent, output: VAEOutput) -> Latent:
    """The first of several draws."""
    if output.distortion.dim() == 1:
        return latent
    posterior = latent.posterior
    if len(posterior.batch_shape + posterior.event_shape) == latent.z.dim():
        raise ValueError(
            "the posterior depends on other draws, so that those of several do not make one "
            "aggregate; give the output of one draw, vae(x)."
        )
    return Latent(posterior, latent.prior, latent.z[0], latent.rate[0])
