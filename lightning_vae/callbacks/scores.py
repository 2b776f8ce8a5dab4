"""What several metrics make of one evaluation: their names, their values, a table of them."""

import re
from collections.abc import Mapping, Sequence

from rich.table import Table
from torchmetrics import Metric

__all__ = ["named", "scores", "table"]


def named(metrics: Sequence[Metric]) -> dict[str, Metric]:
    """Metrics by the names under which they are logged: those of their classes, in lower case.

    Raises:
        ValueError: if two are of one class.

    >>> from lightning_vae.metrics import MIG, FactorVAEScore
    >>> list(named([FactorVAEScore(), MIG(bins=10)]))
    ['factor_vae_score', 'mig']
    """
    names = [_snake_case(type(metric).__name__) for metric in metrics]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(
            f"metrics has two of {', '.join(sorted(repeated))}: keep one, or subclass the other "
            f"under a name of its own."
        )
    return dict(zip(names, metrics, strict=True))


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def scores(metrics: Mapping[str, Metric]) -> dict[str, float]:
    """What metrics make of all they were given; several values of one are ``name_value``.

    >>> import torch
    >>> from lightning_vae.metrics import MIG
    >>> metric = MIG()
    >>> metric.update(torch.eye(2), torch.eye(2).long())
    >>> scores({"mig": metric})
    {'mig': 0.0}
    """
    found: dict[str, float] = {}
    for name, metric in metrics.items():
        value = metric.compute()
        several = value if isinstance(value, Mapping) else {"": value}
        found |= {f"{name}_{key}".rstrip("_"): float(each) for key, each in several.items()}
    return found


def table(title: str, values: Mapping[str, float]) -> Table:
    """Scores as a rich table.

    >>> table("disentanglement", {"mig": 0.5}).row_count
    1
    """
    rows = Table(title, "score")
    rows.columns[1].justify = "right"
    for name, value in values.items():
        rows.add_row(name.replace("_", " "), f"{value:.4f}")
    return rows
