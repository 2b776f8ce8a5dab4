"""The zero-inflated negative binomial likelihood of counts."""

from torch import Tensor
from torch.distributions import Distribution

from lightning_vae.distributions.negative_binomial import NegativeBinomial
from lightning_vae.distributions.zero_inflated import ZeroInflated
from lightning_vae.likelihoods.likelihood import Likelihood, parameters

__all__ = ["ZeroInflatedNegativeBinomial"]


class ZeroInflatedNegativeBinomial(Likelihood):
    r"""The negative binomial likelihood of counts that drop to zero with probability π.

    .. math:: p(x|z) = \pi\,[x = 0] + (1 - \pi)\,\mathrm{NB}(x; \mu, \theta)

    Features: three, log μ, log θ and the logit of π.

    Source: Lopez et al. 2018 (scVI), methods.

    >>> import torch
    >>> ZeroInflatedNegativeBinomial()(torch.zeros(1, 3)).log_prob(torch.tensor([[0.0]])).exp()
    tensor([[0.7500]])
    """

    features = 3

    def forward(self, features: Tensor) -> Distribution:
        log_mean, log_inverse_dispersion, logits = parameters(features, 3)
        counts = NegativeBinomial(log_mean, log_inverse_dispersion, validate_args=False)
        return ZeroInflated(counts, logits, validate_args=False)
