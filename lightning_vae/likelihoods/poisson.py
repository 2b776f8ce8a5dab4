"""The Poisson likelihood of counts."""

from torch import Tensor
from torch.distributions import Distribution

from lightning_vae.distributions import poisson
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.likelihoods.likelihood import Likelihood

__all__ = ["Poisson"]


class Poisson(Likelihood):
    r"""The Poisson likelihood of counts.

    .. math:: -\log p(x|z) = \textstyle\sum_i e^{\ell_i} - x_i \ell_i + \log x_i!

    An exposure, such as the library size of a cell, is the decoder's business: it adds its
    logarithm to the features.

    Features: one, the log-rate ℓ.

    >>> import torch
    >>> Poisson()(torch.zeros(1, 2)).log_prob(torch.tensor([[0.0, 3.0]]))
    tensor([[-1.0000, -2.7918]])
    """

    def forward(self, features: Tensor) -> Distribution:
        return poisson.Poisson(at_least_float32(features), validate_args=False)
