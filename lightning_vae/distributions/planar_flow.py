"""The planar flow: a posterior bent along one direction at a time."""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from lightning_vae.distributions.flow import Flow

__all__ = ["PlanarFlow"]

_SHIFT = math.log(math.e - 1)


class PlanarFlow(Flow):
    r"""One layer of a planar flow, for torch's ``TransformedDistribution``.

    .. math:: f(z) = z + \hat u \tanh(w^\top z + b), \quad
              \hat u = u + \left[m(w^\top u) - w^\top u\right] \frac{w}{\|w\|^2}

    :math:`m(a) = -1 + \operatorname{softplus}(a + \log(e - 1)) > -1` makes every u invertible; the
    paper's lacks the shift, and with it the limit of :math:`\hat u` as w vanishes. At its own
    latest draw the inverse is remembered; elsewhere it is solved for, along the one direction.

    Args:
        u: The direction of the shift, [..., d]: one for all, or one an example.
        w: The normal of the plane, [..., d].
        b: The offset of the plane, [...].

    Raises:
        ValueError: if u and w differ in their last dimension.

    Source: Rezende & Mohamed 2015, equation 10 and appendix A.1.

    >>> from torch.distributions import Independent, TransformedDistribution
    >>> from lightning_vae.distributions import DiagonalGaussian
    >>> base = Independent(DiagonalGaussian(torch.zeros(4, 2), torch.zeros(4, 2)), 1)
    >>> flow = PlanarFlow(torch.ones(4, 2), torch.ones(4, 2), torch.zeros(4))
    >>> q = TransformedDistribution(base, [flow])
    >>> q.log_prob(q.rsample()).shape
    torch.Size([4])
    """

    def __init__(self, u: Tensor, w: Tensor, b: Tensor) -> None:
        if u.shape[-1] != w.shape[-1]:
            raise ValueError(f"u and w must be vectors of one length, got {u.shape} and {w.shape}.")
        super().__init__()
        self.w, self.b = w, b
        along = (w * u).sum(-1)
        self.steepness = softplus(along + _SHIFT)  # 1 + w·û
        # w / |w|² by a w whose greatest element is 1: the square of a small one would vanish.
        size = w.detach().abs().amax(-1).clamp(min=torch.finfo(w.dtype).tiny)
        v = w / size.unsqueeze(-1)
        square = v.square().sum(-1).clamp(min=1.0)  # less for w = 0 alone
        self.u = u + (_gap(along) / size / square).unsqueeze(-1) * v

    def _call(self, x: Tensor) -> Tensor:
        return x + self.u * torch.tanh((self.w * x).sum(-1) + self.b).unsqueeze(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        along = self._along((self.w * y).sum(-1))
        return y - self.u * torch.tanh(along + self.b).unsqueeze(-1)

    def _along(self, target: Tensor) -> Tensor:
        """w·x, from a + (w·û) tanh(a + b) = w·y by bisection; its gradient by a step of Newton."""
        slope = self.steepness - 1
        with torch.no_grad():
            low, high = target - slope.abs(), target + slope.abs()
            for _ in range(-int(math.log2(torch.finfo(target.dtype).eps)) + 8):
                middle = 0.5 * (low + high)
                above = middle + slope * torch.tanh(middle + self.b) > target
                low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        middle = 0.5 * (low + high)
        bend = torch.tanh(middle + self.b)
        return middle - (middle + slope * bend - target) / self._stretch(bend)

    def _stretch(self, bend: Tensor) -> Tensor:
        """The Jacobian's determinant 1 + (w·û)(1 - tanh²), as a sum of positive terms."""
        return bend.square() + self.steepness * (1 - bend.square())

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self._stretch(torch.tanh((self.w * x).sum(-1) + self.b)).log()


def _gap(a: Tensor) -> Tensor:
    """m(a) - a, to its last digit also where both nearly vanish."""
    near = torch.log1p(torch.expm1(-a.clamp(min=-1.0)) / math.e)
    return torch.where(a < -1, softplus(a + _SHIFT) - 1 - a, near)
