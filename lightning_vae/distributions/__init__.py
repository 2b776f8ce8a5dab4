r"""Distributions that torch lacks, each with its divergences registered beneath it.

Every class is a :class:`torch.distributions.Distribution`, over its batch shape, so
``Independent``, ``expand`` and ``kl_divergence`` work as with torch's own; flows are torch's
``Transform``. Divergences are in nats and never reduced.
"""

from lightning_vae.distributions.affine_coupling import AffineCoupling
from lightning_vae.distributions.autoregressive_normal import AutoregressiveNormal
from lightning_vae.distributions.bernoulli import Bernoulli
from lightning_vae.distributions.continuous_bernoulli import ContinuousBernoulli
from lightning_vae.distributions.discretised_logistic_mixture import DiscretisedLogisticMixture
from lightning_vae.distributions.exponential import Exponential
from lightning_vae.distributions.gaussian import DiagonalGaussian, StandardGaussian
from lightning_vae.distributions.hyperspherical_uniform import HypersphericalUniform
from lightning_vae.distributions.mixture import Mixture
from lightning_vae.distributions.negative_binomial import NegativeBinomial
from lightning_vae.distributions.planar_flow import PlanarFlow
from lightning_vae.distributions.poisson import Poisson
from lightning_vae.distributions.profile_normal import ProfileNormal
from lightning_vae.distributions.pushforward import Pushforward
from lightning_vae.distributions.relaxed_categorical import RelaxedCategorical
from lightning_vae.distributions.stable_gaussian import StableGaussian, stable_log_variance
from lightning_vae.distributions.tokens import Tokens
from lightning_vae.distributions.uniform import Uniform
from lightning_vae.distributions.von_mises_fisher import VonMisesFisher
from lightning_vae.distributions.weibull import Weibull
from lightning_vae.distributions.weighted import Weighted
from lightning_vae.distributions.zero_inflated import ZeroInflated

__all__ = [
    "AffineCoupling",
    "AutoregressiveNormal",
    "Bernoulli",
    "ContinuousBernoulli",
    "DiagonalGaussian",
    "DiscretisedLogisticMixture",
    "Exponential",
    "HypersphericalUniform",
    "Mixture",
    "NegativeBinomial",
    "PlanarFlow",
    "Poisson",
    "ProfileNormal",
    "Pushforward",
    "RelaxedCategorical",
    "StableGaussian",
    "StandardGaussian",
    "Tokens",
    "Uniform",
    "VonMisesFisher",
    "Weibull",
    "Weighted",
    "ZeroInflated",
    "stable_log_variance",
]
