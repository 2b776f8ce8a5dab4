"""The affine coupling flow: one half of the latents scales and shifts the other."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Transform, constraints

__all__ = ["AffineCoupling"]

Conditioner = Callable[[Tensor], tuple[Tensor, Tensor]]


class AffineCoupling(Transform):
    r"""One layer of an affine coupling flow, for torch's ``TransformedDistribution``.

    .. math:: f(z)_1 = z_1, \quad f(z)_2 = z_2 \odot e^{s(z_1)} + t(z_1)

    Both directions are closed, so its density is known everywhere.

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

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, conditioner: Conditioner, flip: bool = False) -> None:
        super().__init__(cache_size=1)
        self.conditioner, self.flip = conditioner, flip

    def __getstate__(self) -> dict[str, Any]:
        # What is remembered of the latest draw hangs on a graph, which cannot be copied.
        return {**vars(self), "_inv": None, "_cached_x_y": (None, None)}

    def _call(self, x: Tensor) -> Tensor:
        fixed, moved = self._split(x)
        log_scale, shift = self._conditioned(fixed, moved)
        return self._join(fixed, moved * log_scale.exp() + shift)

    def _inverse(self, y: Tensor) -> Tensor:
        fixed, moved = self._split(y)
        log_scale, shift = self._conditioned(fixed, moved)
        return self._join(fixed, (moved - shift) * (-log_scale).exp())

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self._conditioned(*self._split(x))[0].sum(-1)

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
