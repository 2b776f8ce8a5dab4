"""The negative binomial likelihood of overdispersed counts."""

from torch import Tensor
from torch.distributions import Distribution

from lightning_vae.distributions import negative_binomial
from lightning_vae.likelihoods.likelihood import Likelihood, parameters

__all__ = ["NegativeBinomial"]


class NegativeBinomial(Likelihood):
    r"""The negative binomial likelihood of counts, by mean and inverse dispersion.

    .. math:: x_i \sim \mathrm{NB}(\mu_i, \theta_i), \quad
              \mathrm{Var}\,x_i = \mu_i + \mu_i^2 / \theta_i

    A library size is the decoder's business: it adds its logarithm to the first feature, log μ. So
    is an inverse dispersion per gene: it gives a parameter as the second feature of all examples.

    Features: two, log μ and log θ.

    Source: Lopez et al. 2018 (scVI), methods.

    >>> import torch
    >>> NegativeBinomial()(torch.zeros(1, 2)).log_prob(torch.tensor([[1.0]]))
    tensor([[-1.3863]])
    """

    features = 2

    def forward(self, features: Tensor) -> Distribution:
        log_mean, log_inverse_dispersion = parameters(features, 2)
        return negative_binomial.NegativeBinomial(
            log_mean, log_inverse_dispersion, validate_args=False
        )
