"""Where a density is, and that it is zero elsewhere."""

import torch
from torch import Tensor
from torch.distributions import Distribution

__all__ = ["in_support", "validates_values", "zero_outside"]


def validates_values(d: Distribution) -> bool | None:
    """What ``validate_args`` was given as; None where it was left to torch's default.

    >>> from torch.distributions import Normal
    >>> validates_values(Normal(0.0, 1.0)), validates_values(Normal(0.0, 1.0, validate_args=True))
    (None, True)
    """
    return vars(d).get("_validate_args")


def in_support(d: Distribution, value: Tensor) -> Tensor:
    """Where a value lies in the support; NaN lies in none.

    Only ``validate_args=True``, asked for by name, makes a value outside it an error. Torch's
    default would raise in the middle of a Monte Carlo divergence, whose answer is infinity.

    Raises:
        ValueError: if ``validate_args=True`` and a value lies outside, or one event of the value
            has another shape than the distribution's.
    """
    event = value.shape[value.dim() - len(d.event_shape) :]
    if event != d.event_shape:
        raise ValueError(
            f"{type(d).__name__} is over events of shape {tuple(d.event_shape)}, "
            f"got a value of shape {tuple(value.shape)}."
        )
    if validates_values(d):
        d._validate_sample(value)
    support = d.support
    assert support is not None
    return support.check(value)  # type: ignore[no-any-return]


def zero_outside(inside: Tensor, log_density: Tensor) -> Tensor:
    """The log-density, and −∞ outside.

    >>> zero_outside(torch.tensor([True, False]), torch.tensor([-1.0, 3.0]))
    tensor([-1., -inf])
    """
    return log_density.masked_fill(~inside, -torch.inf)
