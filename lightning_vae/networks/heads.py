"""The head that a network ends in, or the one by default."""

from lightning_vae.likelihoods import Bernoulli, Likelihood
from lightning_vae.posteriors import Gaussian, Posterior

__all__ = ["likelihood_head", "posterior_head"]


def likelihood_head(likelihood: Likelihood | None) -> Likelihood:
    """A decoder's head: by default the Bernoulli's."""
    if likelihood is None:
        return Bernoulli()
    if not isinstance(likelihood, Likelihood):
        raise TypeError(
            f"likelihood must be a decoder head of lightning_vae.likelihoods, got {likelihood!r}; "
            f"write likelihood=likelihoods.Gaussian()."
        )
    return likelihood


def posterior_head(posterior: Posterior | None) -> Posterior:
    """An encoder's head: by default the diagonal Gaussian's."""
    if posterior is None:
        return Gaussian()
    if not isinstance(posterior, Posterior):
        raise TypeError(
            f"posterior must be an encoder head of lightning_vae.posteriors, got {posterior!r}; "
            f"write posterior=posteriors.Gaussian()."
        )
    return posterior
