"""The affine coupling flow: one half of the latents scales and shifts the other."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightning_vae.distributions.flow import Flow
from lightning_vae.distributions.precision import at_least_float32

__all__ = ["AffineCoupling", "kept"]

Conditioner = Callable[[Tensor], tuple[Tensor, Tensor]]


def kept(latents: int, flip: bool) -> int:
    """How many latents a coupling keeps, to move the others by.

    >>> kept(5, flip=False), kept(5, flip=True)
    (2, 3)
    """
    half = latents // 2
    return latents - half if flip else half


class AffineCoupling(Flow):
    r"""One layer of an affine coupling flow, for torch's ``TransformedDistribution``.

    .. math:: f(z)_1 = z_1, \quad f(z)_2 = z_2 \odot e^{s(z_1)} + t(z_1)

    Both directions are closed, so its density is known everywhere; the conditioner runs once for
    the value and the determinant together.

    Args:
        conditioner: From :math:`z_1` to :math:`(s, t)`, each in the shape of :math:`z_2`. A
            posterior's depends on the example too.
        flip: Whether :math:`z_1` is the second half. Alternate, so that every latent moves; of an
            odd number, the second half has the middle one.

    Raises:
        ValueError: if there are not two latents to split, or s and t do not fit.

    Source: Dinh, Sohl-Dickstein & Bengio 2017, equations 4-8.

    >>> from torch.distributions import Normal, Independent, TransformedDistribution
    >>> base = Independent(Normal(torch.zeros(4, 2), 1.0), 1)
    >>> flows = [AffineCoupling(lambda z: (z.tanh(), z), flip=flip) for flip in (False, True)]
    >>> q = TransformedDistribution(base, flows)
    >>> q.log_prob(q.rsample()).shape
    torch.Size([4])
    """

    def __init__(self, conditioner: Conditioner, flip: bool = False) -> None:
        super().__init__()
        self.conditioner, self.flip = conditioner, flip
        self._latest: tuple[Any, Any, Any] = (None, None, None)  # x, y and log |det dy/dx|

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_latest": (None, None, None)}

    def _call(self, x: Tensor) -> Tensor:
        fixed, moved = self._split(x)
        log_scale, shift = self._conditioned(fixed, moved)
        y = self._join(fixed, moved * log_scale.exp() + shift)
        self._latest = x, y, _summed(log_scale)
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        fixed, moved = self._split(y)
        log_scale, shift = self._conditioned(fixed, moved)
        x = self._join(fixed, (moved - shift) * (-log_scale).exp())
        self._latest = x, y, _summed(log_scale)
        return x

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        latest_x, latest_y, log_determinant = self._latest
        if x is latest_x and y is latest_y:
            known: Tensor = log_determinant
            return known
        return _summed(self._conditioned(*self._split(x))[0])

    def _split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        half = z.shape[-1] // 2
        if not half:
            raise ValueError("a coupling needs two latents or more, one to move another; got 1.")
        first, second = z[..., :half], z[..., half:]
        return (second, first) if self.flip else (first, second)

    def _join(self, fixed: Tensor, moved: Tensor) -> Tensor:
        return torch.cat((moved, fixed) if self.flip else (fixed, moved), -1)

    def _conditioned(self, fixed: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.conditioner(fixed)
        for name, given in (("log-scale", log_scale), ("shift", shift)):
            if given.shape != moved.shape:
                raise ValueError(
                    f"conditioner gave a {name} of shape {tuple(given.shape)} for latents of shape "
                    f"{tuple(moved.shape)}; it must have theirs."
                )
        return log_scale, shift


def _summed(log_scale: Tensor) -> Tensor:
    return at_least_float32(log_scale).sum(-1)
