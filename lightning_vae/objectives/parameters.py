"""The same posterior with other parameters: gathered over ranks, or without their gradients."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal

__all__ = ["rebuilt"]


def rebuilt(posterior: Distribution, change: Callable[[Tensor], Tensor]) -> Distribution:
    """The posterior with every parameter changed, found by the names in its ``arg_constraints``.

    What else its constructor takes, a floor or a temperature, stays as it is.

    Raises:
        TypeError: if it cannot be made from those.

    >>> import torch
    >>> from torch.distributions import Normal
    >>> rebuilt(Normal(torch.zeros(2), torch.ones(2)), lambda parameter: parameter + 1).stddev
    tensor([2., 2.])
    """
    if isinstance(posterior, Independent):
        base = rebuilt(posterior.base_dist, change)
        return Independent(base, posterior.reinterpreted_batch_ndims, validate_args=False)
    made: Callable[..., Distribution] = type(posterior)
    try:
        parameters = {name: change(getattr(posterior, name)) for name in _names(posterior)}
        return made(**parameters, **_settings(posterior, parameters), validate_args=False)
    except (AttributeError, NotImplementedError, TypeError) as error:
        raise TypeError(
            f"posterior {type(posterior).__name__} cannot be made anew from its parameters: name "
            f"all arguments of its constructor in arg_constraints and keep each as an attribute."
        ) from error


def _settings(posterior: Distribution, parameters: dict[str, Tensor]) -> dict[str, Any]:
    """The other arguments of its constructor, plain numbers all of them."""
    kept = vars(posterior)
    others = set(inspect.signature(type(posterior)).parameters) - set(parameters)
    return {name: kept[name] for name in others if isinstance(kept.get(name), int | float)}


def _names(posterior: Distribution) -> list[str]:
    # In an order that every process has: sets have one of their own, and ranks gather in turn.
    names = sorted(posterior.arg_constraints)
    if isinstance(posterior, MultivariateNormal):  # it names three forms of one covariance
        return ["loc", "scale_tril"]
    # Torch's discrete families name both and take one.
    both = "probs" in names and "logits" in names
    return [name for name in names if not (both and name == "probs")]
