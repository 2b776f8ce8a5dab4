"""Decoder heads: modules that turn a decoder's last features into the likelihood p(x|z)."""

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.distributions import Distribution
from torch.distributions import Laplace as LaplaceDistribution
from torch.distributions import Normal as NormalDistribution

from lightning_vae import distributions

__all__ = ["Bernoulli", "Gaussian", "Laplace", "Likelihood"]


class Likelihood(nn.Module, ABC):
    """What a decoder ends in; its output has one element of batch shape for every element of x."""

    features: int = 1  # how many features it needs for one element of x

    @abstractmethod
    def forward(self, features: Tensor) -> Distribution:
        """p(x|z) from features [B, C·features, ...]."""


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
        return distributions.Bernoulli(features, validate_args=False)


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
        return NormalDistribution(features, self.scale, validate_args=False)

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
        return LaplaceDistribution(features, self.scale, validate_args=False)

    def extra_repr(self) -> str:
        return f"scale={self.scale}"
