"""The rate spectrum: how many nats each latent carries, from the most to the least."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from lightning_vae.pictures.figure import blank

__all__ = ["spectrum"]

_ACTIVE = 0.01  # nats, as in Burda et al.'s count of active units


def spectrum(rates: Sequence[Tensor], names: int = 40) -> Figure:
    """Bars of the rate of every latent, sorted, group by group.

    Args:
        rates: The mean rate of each latent, one tensor [*factors] a group, in nats.
        names: Up to how many bars are named by their latent.

    >>> import torch
    >>> spectrum([torch.tensor([0.0, 2.0, 1.0])]).axes[0].get_title()
    'R = 3.00 nats, 2 of 3 latents above 0.01'
    """
    figure = blank()
    ax = figure.subplots()
    labels: list[str] = []
    for group, rate in enumerate(rates):
        flat = rate.flatten().float().cpu()
        order = flat.argsort(descending=True, stable=True).tolist()
        places = range(len(labels), len(labels) + len(order))
        ax.bar(places, flat[order].tolist(), label=f"group {group}")
        labels += [f"{group}.{latent}" if len(rates) > 1 else str(latent) for latent in order]
    total = sum(float(rate.sum()) for rate in rates)
    active = sum(int((rate > _ACTIVE).sum()) for rate in rates)
    ax.set_title(f"R = {total:.2f} nats, {active} of {len(labels)} latents above {_ACTIVE:g}")
    ax.set(xlabel="latent, from most to least", ylabel="rate, nats")
    if len(labels) <= names:
        ax.set_xticks(range(len(labels)), labels)
    if len(rates) > 1:
        ax.legend()
    return figure
