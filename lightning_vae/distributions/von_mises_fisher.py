"""The von Mises-Fisher distribution of directions, and its divergences."""

import math
from typing import Any

import numpy as np
import torch
from torch import Size, Tensor
from torch.distributions import Beta, Distribution, constraints, register_kl
from torch.distributions.utils import clamp_probs
from torch.nn.functional import normalize

from lightning_vae.distributions.bessel import Bessel, bessel
from lightning_vae.distributions.hyperspherical_uniform import (
    HypersphericalUniform,
    at_least_two,
    log_area,
    unit_vector,
)
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.distributions.support import in_support, validates_values, zero_outside

__all__ = ["VonMisesFisher"]

# Wood accepts about two of three at worst: all of so many are refused once in 1e15 draws.
_PROPOSALS = 32


class VonMisesFisher(Distribution):
    r"""The von Mises-Fisher distribution of unit vectors about a mean direction.

    .. math:: \log q(z) = \kappa \mu^\top z + \log C_d(\kappa), \quad
              C_d(\kappa) = \frac{\kappa^{d/2-1}}{(2\pi)^{d/2}\, I_{d/2-1}(\kappa)}

    The density is with respect to the surface of the sphere, and −∞ off it (an error with
    ``validate_args=True``). Draws are Wood's, by rejection; their gradient with respect to μ
    is that of the rotation, with respect to κ the implicit one of the angle's distribution.
    A fixed κ makes the rate against :class:`HypersphericalUniform` a constant.

    Args:
        loc: μ, unit vectors [..., d] with d of 2 or more.
        concentration: κ >= 0, broadcast against the batch shape of ``loc``; 0 is uniform.

    Raises:
        ValueError: if d is below 2, or arguments are validated and ``loc`` holds no unit vectors.

    Source: Davidson et al. 2018; Wood 1994; Figurnov, Mohamed & Mnih 2018 (the gradient to κ).

    >>> q = VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(10.0))
    >>> q.mean, q.entropy()
    (tensor([0.0000, 0.0000, 0.9000]), tensor(0.5353))
    """

    arg_constraints = {"loc": unit_vector, "concentration": constraints.nonnegative}  # noqa: RUF012
    support = unit_vector
    has_rsample = True

    def __init__(
        self, loc: Tensor, concentration: Tensor | float, validate_args: bool | None = None
    ) -> None:
        concentration = torch.as_tensor(concentration, dtype=loc.dtype, device=loc.device)
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.dim = at_least_two("the last dimension of loc", loc.shape[-1])
        self.loc = loc.expand(*batch_shape, self.dim)
        self.concentration = concentration.expand(batch_shape)
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    @property
    def _bessel(self) -> Bessel:
        return bessel(0.5 * self.dim - 1, at_least_float32(self.concentration))

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def mean(self) -> Tensor:
        return self.loc * (self.concentration * self._bessel.slope).unsqueeze(-1)

    @property
    def variance(self) -> Tensor:
        _, across, shortfall = self._bessel
        # Their difference is lost to rounding at a large κ, where hardly any is along μ.
        along = (shortfall * (2 - shortfall) - (self.dim - 1) * across).clamp(min=0.0)
        return torch.lerp(across.unsqueeze(-1), along.unsqueeze(-1), self.loc.square())

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "VonMisesFisher":
        loc = self.loc.expand(*batch_shape, -1)
        return VonMisesFisher(loc, self.concentration.expand(batch_shape), validates_values(self))

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        kappa = at_least_float32(self.concentration)
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            angle = _angle(self.dim, kappa.expand(shape[:-1]))
        if kappa.requires_grad and torch.is_grad_enabled():
            angle = angle + _angle_slope(self.dim, kappa.detach(), angle) * (kappa - kappa.detach())
        angle = angle.unsqueeze(-1).to(self.loc.dtype)
        return angle.cos() * self.loc + angle.sin() * self._tangent(shape)

    def _tangent(self, shape: Size) -> Tensor:
        """A uniform direction at right angles to μ."""
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        along = (noise * self.loc).sum(-1, keepdim=True)
        return normalize(noise - along * self.loc, dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        inside = in_support(self, value)
        value = value.masked_fill(~inside.unsqueeze(-1), 0.0)
        # κ (μ·z - 1), without the difference of numbers near one.
        decline = 0.5 * self.concentration * (value - self.loc).square().sum(-1)
        return zero_outside(inside, -decline - self._bessel.log_series - log_area(self.dim))

    def entropy(self) -> Tensor:
        return log_area(self.dim) - _kl_to_uniform(self)


def _angle(dim: int, kappa: Tensor) -> Tensor:
    """Draws of the angle between z and μ, by rejection from Ulrich's envelope (Wood 1994, VM)."""
    b = (dim - 1) / (2 * kappa + torch.hypot(2 * kappa, torch.full_like(kappa, dim - 1)))
    half = kappa.new_tensor(0.5 * (dim - 1))
    e = clamp_probs(Beta(half, half, validate_args=False).sample((_PROPOSALS, *kappa.shape)))
    # m = 1 - x_0 and y = 1 - cos: at a large κ both are small, and the cosine is one.
    m, y = 2 * b / (1 + b), 2 * b * e / (1 - (1 - b) * e)
    log_ratio = kappa * (m - y) + (dim - 1) * torch.log((m + y - m * y) / (m * (2 - m)))
    accepted = log_ratio >= torch.rand_like(e).log()
    first = accepted.to(torch.uint8).argmax(0, keepdim=True)
    e = e.gather(0, first).squeeze(0)
    return 2 * torch.atan2((b * e).sqrt(), (1 - e).sqrt())


def _angle_slope(dim: int, kappa: Tensor, angle: Tensor) -> Tensor:
    """dθ/dκ at a fixed quantile: -∂F/∂κ over the density, an integral from θ away from the mode."""
    outwards, length = _outer_side(dim, kappa, angle)
    nodes, weights = (0.5 * angle.new_tensor(half) for half in np.polynomial.legendre.leggauss(64))
    t = angle.unsqueeze(-1) + (outwards * length).unsqueeze(-1) * (0.5 + nodes)
    angle, kappa = angle.unsqueeze(-1), kappa.unsqueeze(-1)
    fall = 2 * kappa * torch.sin(0.5 * (t - angle)) * torch.sin(0.5 * (t + angle))
    log_ratio = (dim - 2) * torch.log(t.sin() / angle.sin()) - fall
    shortfall = bessel(0.5 * dim - 1, kappa).shortfall
    excess = shortfall - 2 * (0.5 * t).sin().square()  # cos t less its mean
    return outwards * length * (weights * excess * log_ratio.exp()).sum(-1)


def _outer_side(dim: int, kappa: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Which way leads away from the density's mode, and how far there is any of it."""
    envelope = dim - 2 + torch.hypot(kappa.new_tensor(dim - 2.0), 2 * kappa)
    cosine = 2 * kappa / envelope.clamp(min=torch.finfo(kappa.dtype).tiny)
    reach = 12 / (kappa * cosine + 0.5 * envelope).sqrt()
    below = angle < torch.acos(cosine.clamp(max=1.0))
    room = torch.where(below, angle, math.pi - angle)
    return torch.where(below, -1.0, 1.0).to(angle.dtype), torch.minimum(reach, room)


def _kl_to_uniform(q: VonMisesFisher) -> Tensor:
    log_series, _, shortfall = q._bessel
    return -q.concentration * shortfall - log_series


@register_kl(VonMisesFisher, HypersphericalUniform)
def _kl_fisher_uniform(q: VonMisesFisher, p: HypersphericalUniform) -> Tensor:
    return _kl_to_uniform(q).expand(torch.broadcast_shapes(q.batch_shape, p.batch_shape))


@register_kl(HypersphericalUniform, VonMisesFisher)
def _kl_uniform_fisher(q: HypersphericalUniform, p: VonMisesFisher) -> Tensor:
    log_ratio = p.concentration + p._bessel.log_series
    return log_ratio.expand(torch.broadcast_shapes(q.batch_shape, p.batch_shape))


@register_kl(VonMisesFisher, VonMisesFisher)
def _kl_fisher_fisher(q: VonMisesFisher, p: VonMisesFisher) -> Tensor:
    log_series, slope, shortfall = q._bessel
    turn = 0.5 * (q.loc - p.loc).square().sum(-1)  # 1 - cos of the angle between the means
    apart = p.concentration * (q.concentration * slope) * turn
    narrower = (p.concentration - q.concentration) * shortfall
    return p._bessel.log_series - log_series + narrower + apart
