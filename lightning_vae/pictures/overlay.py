"""The coefficients and what they did, on one chart."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from lightning_vae.pictures.figure import blank

__all__ = ["Curves", "overlay"]

# By key: the steps, and the values there.
Curves = Mapping[str, tuple[Sequence[int], Sequence[float]]]

_LINEAR = 10.0  # nats


def overlay(curves: Curves) -> Figure:
    """``schedule/…`` on an axis of their own, dashed, over all others in nats.

    A term has one colour: a line in training, dots in validation. Nats are on a logarithmic axis
    but for ten about zero, since a distortion may begin a hundred times above the rate.

    >>> figure = overlay({"schedule/beta": ([1, 2], [0.0, 1.0]), "val/rate": ([2], [20.0])})
    >>> [ax.get_ylabel() for ax in figure.axes]
    ['nats', 'coefficients']
    """
    figure = blank(7.5, 4.2)
    terms = figure.subplots()
    coefficients = terms.twinx()
    names = list(dict.fromkeys(_term(key) for key in curves))
    for key, (steps, values) in curves.items():
        ax = coefficients if key.startswith("schedule/") else terms
        style = "--" if ax is coefficients else ":." if key.startswith("val/") else "-"
        ax.plot(steps, values, style, color=f"C{names.index(_term(key))}", label=key)
    terms.set_yscale("symlog", linthresh=_LINEAR)
    terms.set(xlabel="step", ylabel="nats")
    coefficients.set_ylabel("coefficients")
    lines = [line for ax in (terms, coefficients) for line in ax.get_lines()]
    labels = [str(line.get_label()) for line in lines]
    figure.legend(lines, labels, loc="outside upper center", ncols=4)
    return figure


def _term(key: str) -> str:
    """A key without ``train/`` or ``val/``."""
    return key.removeprefix("train/").removeprefix("val/")
