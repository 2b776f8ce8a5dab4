"""Decoder heads: modules that turn a decoder's last features into the likelihood p(x|z).

And the distortion, which is what it makes of x.
"""

from lightning_vae.likelihoods.bernoulli import Bernoulli
from lightning_vae.likelihoods.categorical import Categorical
from lightning_vae.likelihoods.continuous_bernoulli import ContinuousBernoulli
from lightning_vae.likelihoods.discretised_logistic_mixture import DiscretisedLogisticMixture
from lightning_vae.likelihoods.expectation import expectation
from lightning_vae.likelihoods.floors import at_floor
from lightning_vae.likelihoods.gaussian import Gaussian
from lightning_vae.likelihoods.heteroscedastic_gaussian import HeteroscedasticGaussian
from lightning_vae.likelihoods.laplace import Laplace
from lightning_vae.likelihoods.learned_gaussian import LearnedGaussian
from lightning_vae.likelihoods.likelihood import Likelihood
from lightning_vae.likelihoods.negative_binomial import NegativeBinomial
from lightning_vae.likelihoods.nll import distortion
from lightning_vae.likelihoods.optimal_gaussian import OptimalGaussian
from lightning_vae.likelihoods.poisson import Poisson
from lightning_vae.likelihoods.weighted import Weighted
from lightning_vae.likelihoods.zero_inflated_negative_binomial import ZeroInflatedNegativeBinomial

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretisedLogisticMixture",
    "Gaussian",
    "HeteroscedasticGaussian",
    "Laplace",
    "LearnedGaussian",
    "Likelihood",
    "NegativeBinomial",
    "OptimalGaussian",
    "Poisson",
    "Weighted",
    "ZeroInflatedNegativeBinomial",
    "at_floor",
    "distortion",
    "expectation",
]
