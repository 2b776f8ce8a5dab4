"""The prior of a sequence of latents, each correlated with the one before."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_vae import distributions
from lightning_vae.priors.fixed import Fixed
from lightning_vae.priors.shape import latent_shape

__all__ = ["AutoregressiveNormal"]


class AutoregressiveNormal(Fixed):
    r"""A stationary normal sequence, which no posterior of independent latents can equal (δ-VAE).

    .. math:: z_1 \sim N(0, 1), \qquad z_t \sim N\bigl(\alpha z_{t-1},\ 1 - \alpha^2\bigr)

    So the rate of any diagonal Gaussian has a floor, in nats, whatever the encoder does:

    .. math:: R \ge \tfrac12 \sum_k \left[(n - 2) \log(1 + \alpha_k^2) - \log(1 - \alpha_k^2)\right]

    The rate itself is closed, one term for every latent.

    Args:
        shape: The latent shape of one example, n first: ``20``, or ``(20, 4)`` for four channels.
        correlation: α in (-1, 1), of all channels or one a channel; 0 is the standard normal.

    Raises:
        ValueError: if a size is not a positive whole number, α is not in (-1, 1), or there is
            neither one α nor one a channel.

    Source: Razavi et al. 2019, "Preventing Posterior Collapse with delta-VAEs", section 2.1.

    >>> prior = AutoregressiveNormal(20, correlation=0.9)
    >>> prior().sample((16,)).shape, round(prior.floor, 3)
    (torch.Size([16, 20]), 6.17)
    """

    def __init__(
        self, shape: int | Sequence[int], correlation: float | Sequence[float] = 0.9
    ) -> None:
        super().__init__()
        self.shape = latent_shape(shape)
        self.correlation = correlation
        alpha = torch.as_tensor(correlation, dtype=torch.float64)
        if not bool((alpha.abs() < 1).all()):
            raise ValueError(f"correlation must be in (-1, 1), got {correlation}; write 0.9.")
        if alpha.dim() and alpha.shape != self.shape[1:]:
            raise ValueError(
                f"correlation={correlation} has shape {tuple(alpha.shape)} for channels of shape "
                f"{tuple(self.shape[1:])}; write one number, or one a channel."
            )

    @property
    def floor(self) -> float:
        """The least rate of independent normal latents, in nats."""
        square = self.made(torch.zeros((), dtype=torch.float64)).correlation.square()
        pairs = (self.shape[0] - 2) * square.log1p() - (-square).log1p()
        return float(0.5 * pairs.sum()) if self.shape[0] > 1 else 0.0

    def made(self, like: Tensor) -> distributions.AutoregressiveNormal:
        alpha = torch.as_tensor(self.correlation, dtype=like.dtype, device=like.device)
        alpha = alpha.expand(self.shape[1:]).contiguous()
        return distributions.AutoregressiveNormal(alpha, self.shape[0], validate_args=False)

    def extra_repr(self) -> str:
        shape = self.shape[0] if len(self.shape) == 1 else tuple(self.shape)
        return f"{shape}, correlation={self.correlation}"
