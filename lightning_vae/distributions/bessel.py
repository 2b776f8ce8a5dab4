"""The modified Bessel function of the first kind, as far as directions on a sphere need it."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import Polynomial
from torch import Tensor

__all__ = ["Bessel", "bessel"]

_LEAST_ORDER = 16  # from which on the expansion has all digits of float64
_TERMS = 11


class Bessel(NamedTuple):
    """What is asked of I_ν at x, each finite and exact to the type's precision for every x >= 0."""

    log_series: Tensor  # log(I_ν(x) Γ(ν + 1) (x/2)^-ν e^-x)
    slope: Tensor  # I_{ν+1}(x) / (x I_ν(x)): 1 / (2ν + 2) at zero
    shortfall: Tensor  # 1 - I_{ν+1}(x) / I_ν(x): from 1 at zero to (ν + 1/2) / x


def bessel(order: float, x: Tensor) -> Bessel:
    r"""The modified Bessel function and its ratio to the next, without overflow or underflow.

    .. math:: \log\frac{I_\nu(x)\,\Gamma(\nu+1)}{(x/2)^{\nu}\,e^{x}}, \qquad
              \frac{I_{\nu+1}(x)}{x\,I_\nu(x)}, \qquad
              1 - \frac{I_{\nu+1}(x)}{I_\nu(x)}

    By Debye's expansion at an order of 16 or more, and from there downwards by the recurrence,
    in which all terms are positive. Plain tensor operations, so it has its gradient on any device.

    Args:
        order: :math:`\nu \ge 0`.
        x: Zero or more, of any shape.

    Source: Abramowitz & Stegun 1964, 9.7.7 and 9.6.26; Amos 1974.

    >>> log_series, slope, shortfall = bessel(0.5, torch.tensor([1.0, 2.0]))
    >>> log_series  # log((1 - e^-2x) / 2x)
    tensor([-0.8386, -1.4048])
    """
    steps = max(0, int(np.ceil(_LEAST_ORDER - order)))
    found = _debye(order + steps, x)
    for step in reversed(range(steps)):
        found = _one_lower(order + step, x, found)
    return found


def _one_lower(order: float, x: Tensor, above: Bessel) -> Bessel:
    """I_ν from I_{ν+1}, by I_ν = I_{ν+2} + 2(ν + 1)/x I_{ν+1}."""
    twice = 2 * (order + 1)
    rise = x * (x * above.slope)
    slope = 1 / (twice + rise)
    shortfall = (twice - x * above.shortfall) * slope
    return Bessel(above.log_series + torch.log1p(rise / twice), slope, shortfall)


def _debye(n: float, x: Tensor) -> Bessel:
    """Debye's expansion of I_n, uniform in x, less its value at x = 0."""
    t = torch.hypot(x, torch.full_like(x, n))
    p = n / t
    beyond = x * (x / (t + n))  # t - n
    correction, its_slope = _corrections(n)
    log_series = (
        -n * ((x + beyond) / (t + x))
        - n * torch.log1p(beyond / (2 * n))
        - 0.5 * torch.log1p(beyond / n)
        - beyond / t * _horner(correction, p)
    )
    drop = (0.5 + p * _horner(its_slope, p)) / t
    shortfall = (n + n * (n / (t + x))) / (t + n) + x / t * drop
    return Bessel(log_series, 1 / (t + n) - drop / t, shortfall)


def _horner(coefficients: Sequence[float], p: Tensor) -> Tensor:
    value = torch.zeros_like(p)
    for c in reversed(coefficients):
        value = value * p + c
    return value


@functools.cache
def _corrections(n: float) -> tuple[list[float], list[float]]:
    """(P(p) - P(1)) / (p - 1) and P'(p) of P = Σ D_k / n^k, by their coefficients."""
    total = sum((d / n**k for k, d in enumerate(_debye_logarithms(), 1)), start=Polynomial([0.0]))
    return (
        (total - total(1.0)) // Polynomial([-1.0, 1.0])
    ).coef.tolist(), total.deriv().coef.tolist()


@functools.cache
def _debye_logarithms() -> list[Polynomial]:
    """D_1, D_2, ... with exp Σ D_k / n^k = Σ U_k / n^k, U_k being Debye's polynomials."""
    p = Polynomial([0.0, 1.0])
    u = [Polynomial([1.0])]
    d: list[Polynomial] = []
    for k in range(1, _TERMS + 1):
        last = u[-1]
        u.append(0.5 * p**2 * (1 - p**2) * last.deriv() + 0.125 * ((1 - 5 * p**2) * last).integ())
        d.append(u[k] - sum(j / k * d[j - 1] * u[k - j] for j in range(1, k)))
    return d
