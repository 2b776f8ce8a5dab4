"""The distortion: the negative log-likelihood of every example."""

import math
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Independent, constraints

from lightning_vae.distributions import Bernoulli, DiagonalGaussian
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.distributions.sentences import Sentences
from lightning_vae.distributions.weighted import Weighted

__all__ = ["distortion", "finite_extremes"]


def distortion(x: Tensor, likelihood: Distribution, check_support: bool = True) -> Tensor:
    r"""The negative log-likelihood of every example, with every constant.

    .. math:: D = -\log p(x|z)

    Args:
        x: The data, [B, ...].
        likelihood: p(x|z), whose batch and event shape together are x's.
        check_support: Whether to look that x lies in the support. It reads a number off the
            device: free on a CPU, a wait elsewhere.

    Returns:
        [B] nats, summed over all dimensions but the first, in float32 at least.

    Raises:
        ValueError: if the shapes differ (nothing is broadcast), or a value of x is not finite or
            lies outside the likelihood's support.
        TypeError: if the likelihood is no distribution.

    >>> import torch
    >>> distortion(torch.ones(2, 4), torch.distributions.Normal(torch.zeros(2, 4), 1.0))
    tensor([5.6758, 5.6758])
    """
    if not hasattr(likelihood, "log_prob"):
        raise TypeError(
            f"decode returned a {type(likelihood).__name__}, not a distribution; end it in a "
            f"likelihood, such as likelihoods.Bernoulli()(logits)."
        )
    shape = _shape(likelihood, x)
    if shape != x.shape:
        raise ValueError(
            f"decode returned a likelihood of shape {tuple(shape)} for x of shape "
            f"{tuple(x.shape)}; make the decoder's output {tuple(x.shape)}."
        )
    if check_support:
        _refuse_outside_support(x, likelihood)
    if isinstance(likelihood, Bernoulli):
        return _per_example(likelihood.cross_entropy(x))
    if isinstance(likelihood, DiagonalGaussian):
        return _per_example(likelihood.cost(x))
    return -_per_example(likelihood.log_prob(x))


def _shape(likelihood: Distribution, x: Tensor) -> Size:
    """The shape that x should have; a sentence may have any length."""
    if isinstance(_beneath(likelihood), Sentences):
        return likelihood.batch_shape + x.shape[1:]
    batch = Size(getattr(likelihood, "batch_shape", x.shape))
    return batch + Size(getattr(likelihood, "event_shape", ()))


def _beneath(likelihood: Distribution) -> Distribution:
    while isinstance(likelihood, Independent | Weighted):
        likelihood = likelihood.base_dist
    return likelihood


def _per_example(terms: Tensor) -> Tensor:
    terms = at_least_float32(terms)
    return terms.sum(tuple(range(1, terms.dim()))) if terms.dim() > 1 else terms


def _refuse_outside_support(x: Tensor, likelihood: Distribution) -> None:
    if x.dtype in (torch.uint8, torch.bool):
        scaled = "x.float() / 255" if x.dtype == torch.uint8 else "x.float()"
        raise ValueError(f"x has dtype {x.dtype}, which no likelihood takes; write {scaled}.")
    low, high = finite_extremes(x)
    likelihood = _beneath(likelihood)
    support = _support(likelihood)
    if support in (constraints.real, constraints.unit_interval) and not x.is_floating_point():
        raise ValueError(f"x has dtype {x.dtype}, but values are real; write x.float().")
    if not _inside(x, low, high, support):
        gray = support is constraints.boolean and low >= 0 and high <= 1
        other = "Bernoulli()(logits), the cross-entropy" if gray else "Gaussian()"
        raise ValueError(
            f"x lies outside the support of {type(likelihood).__name__}, {support}: got values "
            f"from {low:.4g} to {high:.4g}. Scale the data into the support, or choose a "
            f"likelihood that covers it, such as likelihoods.{other}."
        )


def finite_extremes(x: Tensor) -> tuple[float, float]:
    """The least and the greatest value of x, which settle the common supports in one pass.

    Raises:
        ValueError: if x is empty, or one of its values is NaN or infinite.

    >>> finite_extremes(torch.tensor([0.5, -2.0]))
    (-2.0, 0.5)
    """
    if not x.numel():
        raise ValueError(f"x is empty: its shape is {tuple(x.shape)}.")
    low, high = (float(extreme.item()) for extreme in torch.aminmax(x))  # NaN would be both
    if not (math.isfinite(low) and math.isfinite(high)):
        kind = "NaN" if math.isnan(low) else "infinite"
        raise ValueError(f"x has entries that are {kind}; replace or drop them.")
    return low, high


def _support(likelihood: Distribution) -> Any:
    try:
        return likelihood.support
    except (AttributeError, NotImplementedError):
        return constraints.real  # it states none


def _inside(x: Tensor, low: float, high: float, support: Any) -> bool:
    if support is constraints.real:
        return True
    if support is constraints.unit_interval:
        return low >= 0 and high <= 1
    return bool(support.check(x).all())
