"""Paths from one code to another: straight, or along the sphere."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Path", "interpolation", "lerp", "paths", "slerp"]

Path = Literal["lerp", "slerp"]

_PARALLEL = 1e-4  # radians; nearer, an angle has no plane


def lerp(start: Tensor, stop: Tensor, t: Tensor) -> Tensor:
    r"""The straight line, :math:`(1 - t)\,a + t\,b`; both ends are hit exactly.

    Args:
        start: a, [N, *factors].
        stop: b, of the same shape.
        t: How far, [S] in [0, 1].

    Returns:
        [N, S, *factors].

    >>> lerp(torch.zeros(1, 2), torch.tensor([[1.0, 2.0]]), torch.tensor([0.0, 0.5, 1.0]))
    tensor([[[0.0000, 0.0000],
             [0.5000, 1.0000],
             [1.0000, 2.0000]]])
    """
    t = t.to(start).view(1, -1, *[1] * (start.dim() - 1))
    return torch.lerp(start.unsqueeze(1), stop.unsqueeze(1), t)


def slerp(start: Tensor, stop: Tensor, t: Tensor) -> Tensor:
    r"""Along the great circle, so that a path between draws of N(0, I) keeps their length.

    .. math:: \frac{\sin((1 - t)\,\Omega)}{\sin\Omega}\,a + \frac{\sin(t\,\Omega)}{\sin\Omega}\,b

    Ω is the angle between a and b. Where they are parallel or opposite, or one is zero, no circle
    is given, and the path is straight.

    Takes and returns what :func:`lerp` does.

    Source: White 2016, "Sampling Generative Networks", section 2.1.

    >>> a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    >>> slerp(a, b, torch.tensor([0.5]))
    tensor([[[1.4142, 1.4142]]])
    """
    a, b = start.flatten(1), stop.flatten(1)
    angle = _angle(a, b)
    t = t.to(a).view(1, -1)
    first, second = ((part * angle).sin() / angle.sin() for part in (1 - t, t))
    along = first.unsqueeze(2) * a.unsqueeze(1) + second.unsqueeze(2) * b.unsqueeze(1)
    straight = lerp(a, b, t.flatten())
    turns = (angle > _PARALLEL) & (angle < torch.pi - _PARALLEL)
    turns &= a.any(1, keepdim=True) & b.any(1, keepdim=True)
    path = torch.where(turns.unsqueeze(2), along, straight)
    return path.view(*path.shape[:2], *start.shape[1:])


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """[N, 1] radians. Not by the cosine, which is flat where vectors are parallel."""
    tiny = torch.finfo(a.dtype).tiny
    a, b = (v / v.norm(dim=1, keepdim=True).clamp_min(tiny) for v in (a, b))
    return 2 * torch.atan2((a - b).norm(dim=1), (a + b).norm(dim=1)).unsqueeze(1)


def interpolation(start: Tensor, stop: Tensor, steps: int, path: Path = "lerp") -> Tensor:
    """Codes from start to stop, both included: [N, *factors] each to [N, steps, *factors].

    >>> interpolation(torch.zeros(2, 3), torch.ones(2, 3), steps=5).shape
    torch.Size([2, 5, 3])
    """
    along = slerp if path == "slerp" else lerp
    return along(start, stop, torch.linspace(0, 1, steps, device=start.device))


def paths(
    starts: Sequence[Tensor],
    stops: Sequence[Tensor],
    steps: int,
    path: Path = "lerp",
    spaces: Sequence[int] = (0,),
) -> tuple[Tensor, ...]:
    """The same for several latent spaces; those not named stay where they start.

    >>> first, second = paths([torch.zeros(1, 1)] * 2, [torch.ones(1, 1)] * 2, steps=3)
    >>> first.flatten(), second.flatten()
    (tensor([0.0000, 0.5000, 1.0000]), tensor([0., 0., 0.]))
    """
    ends = [stop if g in spaces else starts[g] for g, stop in enumerate(stops)]
    return tuple(
        interpolation(start, end, steps, path) for start, end in zip(starts, ends, strict=True)
    )
