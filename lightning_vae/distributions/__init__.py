r"""Distributions that torch lacks, each with its divergences registered beneath it.

Every class is a :class:`torch.distributions.Distribution`, elementwise over its batch shape, so
``Independent``, ``expand`` and ``kl_divergence`` work as with torch's own. Divergences are in nats
and never reduced.
"""

from lightning_vae.distributions.bernoulli import Bernoulli
from lightning_vae.distributions.gaussian import DiagonalGaussian, StandardGaussian

__all__ = ["Bernoulli", "DiagonalGaussian", "StandardGaussian"]
