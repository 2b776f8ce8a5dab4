"""The posterior of discrete latents: categorical variables, relaxed by Gumbel-softmax."""

from torch import Tensor
from torch.distributions import Distribution

from lightning_vae import distributions
from lightning_vae.arguments import positive, whole
from lightning_vae.posteriors.posterior import Posterior

__all__ = ["RelaxedCategorical"]


class RelaxedCategorical(Posterior):
    r"""Categorical variables whose draws are relaxed by Gumbel-softmax.

    .. math:: z_v = \operatorname{softmax}\left(\frac{\ell_v(x) + g_v}{\tau}\right), \quad
              g_{vk} \sim \operatorname{Gumbel}(0, 1)

    z is [B, V, K]; the encoder's ``latent`` counts all V·K elements. Its prior is
    ``priors.UniformCategorical(V, K)``, and the rate, exact, one number of nats an example, V log K
    at most. The temperature τ is a plain number, which a callback can lower:
    ``Anneal("encoder.posterior.temperature", Exponential(1.0, 0.5, over=20))``.

    Args:
        classes: K, of every variable.
        temperature: τ.

    Raises:
        ValueError: if there is one class or fewer, or τ is not positive; at construction of the
            encoder, if its latents do not divide into variables of K.

    Features: one a latent, the logits ℓ.

    Source: Jang, Gu & Poole 2017, "Categorical Reparameterization with Gumbel-Softmax".

    >>> import torch
    >>> head = RelaxedCategorical(classes=10)
    >>> head(torch.zeros(16, head.features(200))).rsample().shape
    torch.Size([16, 20, 10])
    """

    def __init__(self, classes: int, temperature: float = 1.0) -> None:
        super().__init__()
        self.classes = whole("classes", classes, 2)
        self.temperature = positive("temperature", temperature)

    def features(self, latent: int) -> int:
        if latent % self.classes:
            raise ValueError(
                f"latent={latent} elements do not divide into variables of {self.classes} classes; "
                f"write latent={self.classes * max(1, round(latent / self.classes))}."
            )
        return latent

    def forward(self, features: Tensor) -> Distribution:
        logits = features.unflatten(1, (-1, self.classes))
        return distributions.RelaxedCategorical(logits, self.temperature, validate_args=False)

    def extra_repr(self) -> str:
        return f"classes={self.classes}, temperature={self.temperature}"
