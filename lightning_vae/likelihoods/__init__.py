"""Decoder heads: modules that turn a decoder's last features into the likelihood p(x|z).

And the distortion, which is what it makes of x.
"""

from lightning_vae.likelihoods.bernoulli import Bernoulli
from lightning_vae.likelihoods.gaussian import Gaussian
from lightning_vae.likelihoods.laplace import Laplace
from lightning_vae.likelihoods.likelihood import Likelihood
from lightning_vae.likelihoods.nll import distortion

__all__ = ["Bernoulli", "Gaussian", "Laplace", "Likelihood", "distortion"]
