"""What is measured of the latents, and how it reads as a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from lightning_vae.latents import VAEOutput
from lightning_vae.metrics import (
    ActiveUnits,
    ELBODecomposition,
    MutualInformation,
    OutputMetric,
    RateSpectrum,
    VarianceSaturation,
)
from lightning_vae.objectives.densities import pairwise

__all__ = ["Measures", "chosen_metrics", "measured", "table"]


@dataclass(frozen=True)
class Measures:
    """What is known of the latents; None is what these distributions cannot tell. In nats."""

    latents: int
    active_units: int
    rate: float
    spectrum: tuple[float, ...] = ()  # of every latent, from the greatest down
    mutual_information: float | None = None
    ceiling: float | None = None  # log N: what the examples can show of it
    total_correlation: float | None = None
    dimension_wise_kl: float | None = None
    shuffled_gap: float | None = None
    variance_at_prior: float | None = None  # share of latents
    variance_at_zero: float | None = None  # share of latents
    nll: float | None = None
    bits_per_dimension: float | None = None
    perplexity: float | None = None  # a word, of text

    @property
    def scalars(self) -> dict[str, float]:
        """What there is to log, by name; the rate and its spectrum are elsewhere."""
        others = ("latents", "rate", "spectrum", "ceiling")
        known = {name: value for name, value in vars(self).items() if name not in others}
        return {name: float(value) for name, value in known.items() if value is not None}


def chosen_metrics(output: VAEOutput, examples: int, hierarchical: bool) -> dict[str, OutputMetric]:
    """The metrics that such latents allow.

    In a hierarchy a group's posterior depends on the draws of others: no mixture of those of all
    examples is at hand, and a posterior mean moves with the prior's. Only rates tell there.
    """
    splits = all(latent.rate.shape == latent.z.shape for latent in output.latents)
    metrics: dict[str, OutputMetric] = {
        "active": ActiveUnits(of="rates" if hierarchical and splits else "means"),
        "spectrum": RateSpectrum(),
        "variance": VarianceSaturation(),
    }
    if not hierarchical:
        elementwise = _elementwise(output)
        metrics["information"] = (
            ELBODecomposition(examples)
            if elementwise
            else MutualInformation(entropy="drawn", examples=examples)
        )
    return metrics


def _elementwise(output: VAEOutput) -> bool:
    try:
        several = output.distortion.dim() > 1
        for latent in output.latents:
            pairwise(latent.posterior, (latent.z[0] if several else latent.z)[:1])
    except (ValueError, RuntimeError):
        return False
    return True


def measured(metrics: Mapping[str, OutputMetric], latents: int) -> Measures:
    """The values of the chosen metrics, and of those added under "gap" and "likelihood"."""
    found: dict[str, Any] = {name: metric.compute() for name, metric in metrics.items()}
    spectrum: list[float] = found["spectrum"].reshape(-1).tolist()
    information = _floats(found.get("information", {}))
    variance = _floats(found.get("variance", {}))
    likelihood = _floats(found.get("likelihood", {}))
    gap, active = found.get("gap"), found.get("active")
    return Measures(
        latents=latents,
        active_units=sum(rate > 0.1 for rate in spectrum) if active is None else int(active),
        rate=sum(spectrum),
        spectrum=tuple(spectrum),
        mutual_information=information.get("mutual_information"),
        ceiling=information.get("ceiling"),
        total_correlation=information.get("total_correlation"),
        dimension_wise_kl=information.get("dimension_wise_kl"),
        shuffled_gap=None if gap is None else gap.item(),
        variance_at_prior=variance.get("at_prior"),
        variance_at_zero=variance.get("at_zero"),
        nll=likelihood.get("nll"),
        bits_per_dimension=likelihood.get("bits_per_dimension"),
        perplexity=likelihood.get("perplexity"),
    )


def _floats(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    if not tensors:
        return {}
    values = torch.stack([value.float().cpu() for value in tensors.values()])
    return dict(zip(tensors, values.tolist(), strict=True))


def table(measures: Measures) -> Table:
    """The measures as a rich table.

    >>> table(Measures(latents=2, active_units=2, rate=1.0)).row_count
    3
    """
    rows = Table()
    rows.add_column("latents")
    rows.add_column("nats", justify="right")
    rows.add_row("active units", f"{measures.active_units} of {measures.latents}")
    rows.add_row("rate", f"{measures.rate:.3f}")
    for name, value in measures.scalars.items():
        if name != "active_units":
            share = name.startswith("variance")
            rows.add_row(name.replace("_", " "), f"{value:.0%}" if share else f"{value:.3f}")
    rows.add_row("rate by latent", " ".join(f"{rate:.2f}" for rate in measures.spectrum[:10]))
    return rows
