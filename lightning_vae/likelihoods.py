"""Decoder heads: modules that turn a decoder's last features into the likelihood p(x|z).

And the distortion, which is what it makes of x.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, constraints
from torch.distributions import Laplace as LaplaceDistribution
from torch.distributions import Normal as NormalDistribution

from lightning_vae import distributions
from lightning_vae.distributions import at_least_float32

__all__ = ["Bernoulli", "Gaussian", "Laplace", "Likelihood", "distortion"]


class Likelihood(nn.Module, ABC):
    """What a decoder ends in; its output has one element of batch shape for every element of x."""

    features: int = 1  # how many features it needs for one element of x

    @abstractmethod
    def forward(self, features: Tensor) -> Distribution:
        """p(x|z) from features [B, C·features, ...], its parameters in float32 at least."""


class Bernoulli(Likelihood):
    r"""The Bernoulli likelihood from logits, for data in [0, 1].

    .. math:: -\log p(x|z) = -x\log\sigma(\ell) - (1-x)\log(1-\sigma(\ell))

    On binary x this is the exact negative log-likelihood in nats. On gray values it is the
    cross-entropy, which is **no density**: its ELBO bounds nothing. A value outside [0, 1] raises
    a ValueError.

    Source: Kingma & Welling 2014, appendix C.1.

    >>> import torch
    >>> Bernoulli()(torch.tensor([[0.0]])).mean
    tensor([[0.5000]])
    """

    def forward(self, features: Tensor) -> Distribution:
        return distributions.Bernoulli(at_least_float32(features), validate_args=False)


def _positive(name: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a positive finite number, got {value}; write {name}=1.0.")
    return float(value)


class Gaussian(Likelihood):
    r"""The Gaussian likelihood with a fixed scale.

    .. math:: -\log p(x|z) = \frac{\|x-\mu\|^2}{2\sigma^2} + \frac D2 \log 2\pi\sigma^2

    The scale weighs distortion against rate: β at scale σ is the same optimum as 1 at √β·σ. The
    summed squared error of other code is this at ``scale=0.5**0.5``, less its constant.

    Args:
        scale: σ > 0, in the units of x.

    Source: Lucas et al. 2019, "Don't Blame the ELBO!", section 4.

    >>> import torch
    >>> Gaussian(scale=0.5)(torch.zeros(1, 1)).log_prob(torch.zeros(1, 1))
    tensor([[-0.2258]])
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = _positive("scale", scale)

    def forward(self, features: Tensor) -> Distribution:
        return NormalDistribution(at_least_float32(features), self.scale, validate_args=False)

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


class Laplace(Likelihood):
    r"""The Laplace likelihood with a fixed scale: absolute error, with its constant.

    .. math:: -\log p(x|z) = \frac{\|x-\mu\|_1}{b} + D \log 2b

    Args:
        scale: b > 0, in the units of x.

    >>> import torch
    >>> Laplace(scale=1.0)(torch.zeros(1, 1)).log_prob(torch.ones(1, 1))
    tensor([[-1.6931]])
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = _positive("scale", scale)

    def forward(self, features: Tensor) -> Distribution:
        return LaplaceDistribution(at_least_float32(features), self.scale, validate_args=False)

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


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
    shape = getattr(likelihood, "batch_shape", x.shape) + getattr(likelihood, "event_shape", ())
    if shape != x.shape:
        raise ValueError(
            f"decode returned a likelihood of shape {tuple(shape)} for x of shape "
            f"{tuple(x.shape)}; make the decoder's output {tuple(x.shape)}."
        )
    if check_support:
        _refuse_outside_support(x, likelihood)
    if isinstance(likelihood, distributions.Bernoulli):
        return _per_example(likelihood.cross_entropy(x))
    return -_per_example(likelihood.log_prob(x))


def _per_example(terms: Tensor) -> Tensor:
    terms = at_least_float32(terms)
    return terms.sum(tuple(range(1, terms.dim()))) if terms.dim() > 1 else terms


def _refuse_outside_support(x: Tensor, likelihood: Distribution) -> None:
    if x.dtype in (torch.uint8, torch.bool):
        scaled = "x.float() / 255" if x.dtype == torch.uint8 else "x.float()"
        raise ValueError(f"x has dtype {x.dtype}, which no likelihood takes; write {scaled}.")
    if not x.numel():
        raise ValueError(f"x is empty: its shape is {tuple(x.shape)}.")
    # The two extremes settle the common supports in one pass over x; NaN would be both of them.
    low, high = (extreme.item() for extreme in torch.aminmax(x))
    if not (math.isfinite(low) and math.isfinite(high)):
        kind = "NaN" if math.isnan(low) else "infinite"
        raise ValueError(f"x has entries that are {kind}; replace or drop them.")
    while isinstance(likelihood, Independent):
        likelihood = likelihood.base_dist
    support = _support(likelihood)
    if not _inside(x, low, high, support):
        raise ValueError(
            f"x lies outside the support of {type(likelihood).__name__}, {support}: got values "
            f"from {low:.4g} to {high:.4g}. Scale the data into the support, or choose a "
            f"likelihood that covers it, such as likelihoods.Gaussian()."
        )


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
