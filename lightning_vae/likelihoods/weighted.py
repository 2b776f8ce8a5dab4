"""Another head whose elements count more or less, the same for every example: a taper."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from lightning_vae.distributions.weighted import Weighted as WeightedDistribution
from lightning_vae.likelihoods.likelihood import Likelihood

__all__ = ["Weighted"]


class Weighted(Likelihood):
    r"""A head whose log-density is weighed by a taper over the elements of an example.

    .. math:: \log p_w(x|z) = \textstyle\sum_i w_i \log p(x_i|z)

    For what differs from example to example, a mask or a weight that comes with the batch, weigh
    the distribution in ``decode``: see :class:`lightning_vae.distributions.weighted.Weighted`.

    Args:
        likelihood: The head to weigh.
        weight: w ≥ 0 and finite, in the shape of one example; a dimension of size 1 is for all.

    Raises:
        ValueError: if a weight is negative or not finite; when called, if the shape does not fit.

    Features: those of the head.

    >>> from lightning_vae.likelihoods import Gaussian
    >>> head = Weighted(Gaussian(), torch.tensor([1.0, 0.5, 0.0]))
    >>> head(torch.zeros(1, 3)).log_prob(torch.zeros(1, 3))
    tensor([[-0.9189, -0.4595,  0.0000]])
    """

    weight: Tensor

    def __init__(self, likelihood: Likelihood, weight: Tensor) -> None:
        super().__init__()
        if not bool(((weight >= 0) & weight.isfinite()).all()):
            raise ValueError(f"weight must be finite and not negative, got {weight}.")
        self.likelihood, self.features = likelihood, likelihood.features
        self.register_buffer("weight", torch.as_tensor(weight))

    def forward(self, features: Tensor) -> Distribution:
        weighed: Distribution = self.likelihood(features)
        return WeightedDistribution(weighed, self.weight[None], validate_args=False)
