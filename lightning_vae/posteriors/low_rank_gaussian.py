"""The Gaussian posterior whose latents are correlated in a few ways."""

from torch import Tensor
from torch.distributions import Distribution, LowRankMultivariateNormal

from lightning_vae.arguments import whole
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.posteriors.posterior import Posterior

__all__ = ["LowRankGaussian"]


class LowRankGaussian(Posterior):
    r"""The Gaussian posterior whose covariance is a diagonal and a few directions.

    .. math:: q(z|x) = N\bigl(z;\, \mu(x),\, W(x) W(x)^\top + \operatorname{diag} e^{s(x)}\bigr)

    From the standard normal the rate is closed, one number of nats an example: it does not split
    over latents, and free bits are per group.

    Args:
        rank: r, the columns of W.

    Raises:
        ValueError: if the rank is no whole number above 0.

    Features: 2 + r a latent; first every μ, then every s, then W, row after row.

    Source: Rezende, Mohamed & Wierstra 2014, section 4.3, of rank 1 and by precisions.

    >>> import torch
    >>> head = LowRankGaussian(rank=3)
    >>> head(torch.zeros(16, head.features(20))).event_shape
    torch.Size([20])
    """

    def __init__(self, rank: int = 1) -> None:
        super().__init__()
        self.rank = whole("rank", rank)

    def features(self, latent: int) -> int:
        return (2 + self.rank) * latent

    def forward(self, features: Tensor) -> Distribution:
        d = features.shape[1] // (2 + self.rank)
        loc, log_variance, factor = at_least_float32(features).split([d, d, self.rank * d], 1)
        return LowRankMultivariateNormal(
            loc, factor.unflatten(1, (d, self.rank)), log_variance.exp(), validate_args=False
        )

    def extra_repr(self) -> str:
        return f"rank={self.rank}"
