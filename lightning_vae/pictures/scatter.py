"""Codes in the plane, coloured by label."""

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lightning_vae.pictures.figure import blank

__all__ = ["scatter"]

_CLASSES = 20  # as many as the palette has colours


def scatter(
    points: Tensor, labels: Tensor | None = None, names: tuple[str, str] = ("", "")
) -> Figure:
    """Points, each a dot in the colour of its label.

    Up to twenty whole numbers are classes, with a legend; other numbers a scale.

    Args:
        points: [N, 2].
        labels: [N], or None.
        names: What the axes are called.

    >>> import torch
    >>> len(scatter(torch.randn(9, 2), torch.arange(9) % 3).axes[0].collections)
    3
    """
    figure = blank(6.0, 5.0)
    ax = figure.subplots()
    ax.set(xlabel=names[0], ylabel=names[1])
    ax.axis("equal")
    x, y = points.float().cpu().T.tolist()
    if labels is None:
        ax.scatter(x, y, s=6)
    elif labels.is_floating_point() or len(labels.unique()) > _CLASSES:
        dots = ax.scatter(x, y, s=6, c=labels.cpu().tolist(), cmap="viridis")
        figure.colorbar(dots, ax=ax)
    else:
        _classes(ax, points.float().cpu(), labels.cpu())
    return figure


def _classes(ax: Axes, points: Tensor, labels: Tensor) -> None:
    classes = labels.unique().tolist()
    palette = colormaps["tab10" if len(classes) <= 10 else "tab20"]
    for k, label in enumerate(classes):
        x, y = points[labels == label].T.tolist()
        ax.scatter(x, y, s=6, color=palette(k), label=str(label))
    ax.legend(markerscale=2, fontsize="small")
