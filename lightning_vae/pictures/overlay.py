"""The coefficients and what they did, on one chart."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from lightning_vae.pictures.figure import blank

__all__ = ["Curves", "overlay"]

# By key: the steps, and the values there.
Curves = Mapping[str, tuple[Sequence[int], Sequence[float]]]


def overlay(curves: Curves) -> Figure:
    """``schedule/…`` on an axis of their own, dashed, over all others in nats.

    Validation's are dotted, with a mark at every point.

    >>> figure = overlay({"schedule/beta": ([1, 2], [0.0, 1.0]), "val/rate": ([2], [20.0])})
    >>> [ax.get_ylabel() for ax in figure.axes]
    ['nats', 'coefficients']
    """
    figure = blank(7.5, 4.2)
    terms = figure.subplots()
    coefficients = terms.twinx()
    for k, (key, (steps, values)) in enumerate(curves.items()):
        scheduled, validated = key.startswith("schedule/"), key.startswith("val/")
        ax = coefficients if scheduled else terms
        style = "--" if scheduled else ":" if validated else "-"
        ax.plot(steps, values, style, marker="." if validated else "", color=f"C{k}", label=key)
    terms.set(xlabel="step", ylabel="nats")
    coefficients.set_ylabel("coefficients")
    lines = [line for ax in (terms, coefficients) for line in ax.get_lines()]
    figure.legend(
        lines, [str(line.get_label()) for line in lines], loc="outside upper center", ncols=4
    )
    return figure
