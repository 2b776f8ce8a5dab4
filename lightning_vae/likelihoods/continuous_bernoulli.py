"""The continuous Bernoulli likelihood."""

from torch import Tensor
from torch.distributions import Distribution

from lightning_vae.distributions import continuous_bernoulli
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.likelihoods.likelihood import Likelihood

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(Likelihood):
    r"""The continuous Bernoulli likelihood, a density for gray values in [0, 1].

    .. math:: -\log p(x|z) = -\textstyle\sum_i \left[\eta_i (x_i - \tfrac12) -
              \log\frac{\sinh(\eta_i/2)}{\eta_i/2}\right]

    The cross-entropy with the constant it lacks, which depends on η. Unlike ``Bernoulli``, its ELBO
    bounds a log-density. Its mean is not σ(η), which is what the Bernoulli's would be.

    Features: one, the logit η.

    Source: Loaiza-Ganem & Cunningham 2019, "The continuous Bernoulli".

    >>> import torch
    >>> ContinuousBernoulli()(torch.tensor([[2.0]])).mean
    tensor([[0.6565]])
    """

    def forward(self, features: Tensor) -> Distribution:
        logits = at_least_float32(features)
        return continuous_bernoulli.ContinuousBernoulli(logits, validate_args=False)
