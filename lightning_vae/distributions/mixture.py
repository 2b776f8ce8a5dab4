"""Mixtures of distributions of one family."""

from torch import Tensor
from torch.distributions import MixtureSameFamily

from lightning_vae.distributions.precision import at_least_float32

__all__ = ["Mixture"]


class Mixture(MixtureSameFamily):
    r"""A mixture of K distributions of one family: torch's own, with its density in float32 at least.

    .. math:: \log p(z) = \log \sum_{k=1}^K \pi_k\, p_k(z)

    A log-density that is summed over latents in bfloat16 keeps three digits, and a rate is the
    difference of two of them. There is no divergence in closed form, and no reparameterised draw.

    Args:
        mixture_distribution: The weights :math:`\pi`, a ``Categorical`` of K.
        component_distribution: The K distributions, of batch shape [\*batch, K].

    Raises:
        ValueError: if there are not as many weights as components.

    Source: Bishop 2006, "Pattern Recognition and Machine Learning", section 2.3.9.

    >>> import torch
    >>> from torch.distributions import Categorical, Normal
    >>> halves = Mixture(Categorical(torch.ones(2)), Normal(torch.tensor([-3.0, 3.0]), 1.0))
    >>> halves.log_prob(torch.tensor(3.0)), halves.mean, halves.variance
    (tensor(-1.6121), tensor(0.), tensor(10.))
    """

    def log_prob(self, value: Tensor) -> Tensor:
        log_density: Tensor = super().log_prob(at_least_float32(value))  # type: ignore[no-untyped-call]
        return log_density
