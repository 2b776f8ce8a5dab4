r"""Linear support vector machines on one feature, one against the rest, all solved at once.

.. math:: \min_{w, b}\ \tfrac12 (w^2 + b^2)
          + C \sum_n c_n \max(0, 1 - y_n (w x_n + b))^2

What LinearSVC minimises. With one feature, the examples inside the margin are those on one side of
a threshold, so that sums over them are differences of running sums, and a Newton step costs a
search instead of a pass over the data.
"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Lines", "fit", "predict"]

_STEPS, _HALVINGS = 60, 30
_TOLERANCE = 1e-10  # of the largest gradient, beside C N


class Lines(NamedTuple):
    """Decision functions w x + b for D features and F classes; one a feature for two classes."""

    w: Tensor  # [D, F] float64
    b: Tensor  # [D, F] float64
    classes: Tensor  # [classes] int64


def fit(x: Tensor, classes: Tensor, C: float = 0.01) -> Lines:
    """Fit one machine for each feature and class, of balanced weights.

    As in LinearSVC, a class against the rest is weighted by N / (F n), and the rest not; of two
    classes both are weighted.

    Args:
        x: Features, [N, D].
        classes: Labels, [N] int64.
        C: Weight of the errors, beside the squared norm of the weights.

    Source: Fan et al. 2008, LIBLINEAR, section 2.1.

    >>> x = torch.tensor([[-1.0], [-1.0], [1.0], [1.0]])
    >>> lines = fit(x, torch.tensor([0, 0, 1, 1]), C=100.0)
    >>> lines.w
    tensor([[0.9988]], dtype=torch.float64)
    """
    problem = _Problem.of(x.double().T.contiguous(), classes, C)
    w = torch.zeros(x.shape[1], len(problem.sizes), dtype=torch.float64, device=x.device)
    b = torch.zeros_like(w)
    for _ in range(_STEPS):
        now = _terms(problem, w, b)
        if now.gradient.abs().max() <= _TOLERANCE * (1 + C * len(x)):
            break
        w, b = _shorter(problem, w, b, now)
    return Lines(w, b, problem.classes)


def predict(lines: Lines, x: Tensor) -> Tensor:
    """The class that each feature alone stands for: [N, D] -> [N, D] int64.

    >>> lines = fit(torch.tensor([[-1.0], [1.0]]), torch.tensor([3, 7]))
    >>> predict(lines, torch.tensor([[-5.0], [5.0]])).T
    tensor([[3, 7]])
    """
    found = torch.empty(x.shape, dtype=torch.int64, device=x.device)
    for d, (w, b) in enumerate(zip(lines.w, lines.b, strict=True)):
        decision = torch.addcmul(b, x[:, d : d + 1].double(), w)
        found[:, d] = (decision > 0).squeeze(1) if len(w) == 1 else decision.argmax(1)
    return lines.classes[found]


class _Problem(NamedTuple):
    """The examples of D features, sorted, and in running sums of 1, x and x²."""

    x: Tensor  # [D, N], sorted
    sums: Tensor  # [D, N + 1, 3], in that order
    keys: Tensor  # [D, N]: class · N + rank, sorted; the order of what follows
    class_sums: Tensor  # [D, N + 1, 3]
    firsts: Tensor  # [F], the least key of each class
    starts: Tensor  # [F], where each class begins
    sizes: Tensor  # [F]
    classes: Tensor
    weight: Tensor  # [F], C of the class
    rest: Tensor  # [F], C of the rest

    @staticmethod
    def of(x: Tensor, labels: Tensor, C: float) -> "_Problem":
        classes, index, sizes = labels.unique(return_inverse=True, return_counts=True)
        weight = C * len(labels) / (len(classes) * sizes.double())
        rest, starts = torch.full_like(weight, C), sizes.cumsum(0) - sizes
        firsts = len(labels) * torch.arange(len(classes), device=x.device)
        ordered, order = x.sort(dim=1)
        keys, by_class = (firsts[index][order] + torch.arange(len(labels)).to(x.device)).sort(dim=1)
        sums, class_sums = _running(ordered), _running(ordered.gather(1, by_class))
        if len(classes) == 2:  # one machine, for the second
            rest, weight = weight[:1], weight[1:]
            firsts, starts, sizes = firsts[1:], starts[1:], sizes[1:]
        places = (firsts, starts, sizes)
        return _Problem(ordered, sums, keys, class_sums, *places, classes, weight, rest)


def _running(x: Tensor) -> Tensor:
    moments = torch.stack([torch.ones_like(x), x, x.square()], -1).cumsum(1)
    return torch.cat([torch.zeros_like(moments[:, :1]), moments], 1)


class _Terms(NamedTuple):
    value: Tensor  # [D, F]
    gradient: Tensor  # [2, D, F], by w and b
    hessian: Tensor  # [3, D, F], by ww, wb and bb


def _terms(problem: _Problem, w: Tensor, b: Tensor) -> _Terms:
    # Inside the margin: the class where w x < 1 - b, the rest where w x > -1 - b.
    own, _ = _below(problem, w, (1 - b) / w)
    _, others = _below(problem, w, (-1 - b) / w)
    n, s, q = (problem.weight.unsqueeze(-1) * own).unbind(-1)
    m, t, r = (problem.rest.unsqueeze(-1) * others).unbind(-1)
    short, long = 1 - b, 1 + b
    value = 0.5 * (w.square() + b.square())
    value = value + short.square() * n - 2 * short * w * s + w.square() * q
    value = value + long.square() * m + 2 * long * w * t + w.square() * r
    by_w = w + 2 * (w * (q + r) - short * s + long * t)
    by_b = b + 2 * (w * (s + t) - short * n + long * m)
    hessian = torch.stack([1 + 2 * (q + r), 2 * (s + t), 1 + 2 * (n + m)])
    return _Terms(value, torch.stack([by_w, by_b]), hessian)


def _below(problem: _Problem, w: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over the class where w x < w threshold, and over the rest where it is greater."""
    threshold = threshold.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
    ranks = torch.searchsorted(problem.x, threshold)
    places = torch.searchsorted(problem.keys, problem.firsts + ranks)
    start = problem.class_sums[:, problem.starts]
    whole = problem.class_sums[:, problem.starts + problem.sizes] - start
    lower = _at(problem.class_sums, places) - start
    lower_rest = _at(problem.sums, ranks) - lower
    upper_rest = problem.sums[:, -1:] - whole - lower_rest
    rising = (w >= 0).unsqueeze(-1)
    own, others = torch.where(rising, lower, whole - lower), (upper_rest, lower_rest)
    return own, torch.where(rising, *others)


def _at(sums: Tensor, places: Tensor) -> Tensor:
    return sums.gather(1, places.unsqueeze(-1).expand(-1, -1, sums.shape[2]))


def _shorter(problem: _Problem, w: Tensor, b: Tensor, now: _Terms) -> tuple[Tensor, Tensor]:
    """A Newton step, halved for each machine until its value falls."""
    (ww, wb, bb), (gw, gb) = now.hessian, now.gradient
    determinant = ww * bb - wb.square()
    step_w, step_b = (bb * gw - wb * gb) / determinant, (ww * gb - wb * gw) / determinant
    fall = 1e-4 * (gw * step_w + gb * step_b)
    size = torch.ones_like(w)
    for _ in range(_HALVINGS):
        value = _terms(problem, w - size * step_w, b - size * step_b).value
        # Up to rounding: at the optimum nothing falls any more.
        enough = value <= now.value - size * fall + 1e-12 * now.value.abs()
        if enough.all():
            break
        size = torch.where(enough, size, 0.5 * size)
    return w - size * step_w, b - size * step_b
