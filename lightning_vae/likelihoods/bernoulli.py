"""The Bernoulli likelihood."""

from torch import Tensor
from torch.distributions import Distribution

from lightning_vae import distributions
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.likelihoods.likelihood import Likelihood

__all__ = ["Bernoulli"]


class Bernoulli(Likelihood):
    r"""The Bernoulli likelihood from logits, for data in [0, 1].

    .. math:: -\log p(x|z) = -x\log\sigma(\ell) - (1-x)\log(1-\sigma(\ell))

    On binary x this is the exact negative log-likelihood in nats. On gray values it is the
    cross-entropy, which is **no density**: its ELBO bounds nothing. A value outside [0, 1] raises
    a ValueError.

    Features: one, the logit ℓ.

    Source: Kingma & Welling 2014, appendix C.1.

    >>> import torch
    >>> Bernoulli()(torch.tensor([[0.0]])).mean
    tensor([[0.5000]])
    """

    def forward(self, features: Tensor) -> Distribution:
        return distributions.Bernoulli(at_least_float32(features), validate_args=False)
