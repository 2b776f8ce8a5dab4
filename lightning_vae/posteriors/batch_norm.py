"""The Gaussian posterior whose means spread over every batch, so that the rate has a floor."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lightning_vae.arguments import positive, share, whole
from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.posteriors.posterior import Posterior

__all__ = ["BatchNormGaussian"]

# torch's 1e-5 would let means of less spread than that fall below the floor.
_EPSILON = 1e-20


class BatchNormGaussian(Posterior):
    r"""A diagonal Gaussian whose mean is normalised over the batch to a fixed spread (BN-VAE).

    .. math:: \mu_i = \gamma\, \frac{h_i - \bar h_i}{\sigma(h_i)} + b_i, \qquad
              \mathbb E[R] \ge \tfrac12 \textstyle\sum_i (\gamma^2 + b_i^2) \ge \tfrac d2 \gamma^2

    γ is fixed and b learned. The floor is that of a training batch's mean rate from N(0, I), in
    nats, and so of all ranks', each normalising its own; in evaluation running averages take the
    batch's place, and it holds as well as these do. All latents are active by construction: look
    at the mutual information for what they say.

    Args:
        latent: The number of latents d.
        gamma: γ > 0, the spread of every mean.
        momentum: The share of a batch in the running averages.

    Raises:
        ValueError: if gamma is not positive, or the encoder has another number of latents; in
            training, for a batch of one example.

    Features: two a latent; first every h, then every log σ².

    Source: Zhu et al. 2020, "A Batch Normalized Inference Network Keeps the KL Vanishing Away",
    theorem 1 (γ = 0.6 for text).

    >>> head = BatchNormGaussian(latent=32, gamma=0.6)
    >>> round(head.floor, 2), head(torch.randn(16, head.features(32))).batch_shape
    (5.76, torch.Size([16, 32]))
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, latent: int, gamma: float = 0.6, momentum: float = 0.1) -> None:
        super().__init__()
        self.latent, self.momentum = whole("latent", latent), share("momentum", momentum)
        self.gamma = positive("gamma", gamma, write="gamma=0.6")
        self.bias = nn.Parameter(torch.zeros(latent))
        self.register_buffer("mean", torch.zeros(latent))
        self.register_buffer("variance", torch.ones(latent))

    @property
    def floor(self) -> float:
        """The least mean rate of a training batch, d γ² / 2 nats."""
        return 0.5 * self.latent * self.gamma**2

    def reset_parameters(self) -> None:
        """Begin anew."""
        nn.init.zeros_(self.bias)
        self.mean.zero_()
        self.variance.fill_(1)

    def features(self, latent: int) -> int:
        if latent != self.latent:
            raise ValueError(
                f"BatchNormGaussian(latent={self.latent}) is for another encoder; write "
                f"latent={latent}."
            )
        return 2 * latent

    def forward(self, features: Tensor) -> Distribution:
        h, log_variance = at_least_float32(features).chunk(2, dim=1)
        mean, variance = self._spread(h) if self.training else (self.mean, self.variance)
        loc = self.gamma * (h - mean) * (variance + _EPSILON).rsqrt() + self.bias
        return DiagonalGaussian(loc, log_variance, validate_args=False)

    def _spread(self, h: Tensor) -> tuple[Tensor, Tensor]:
        if len(h) < 2:
            raise ValueError(
                "BatchNormGaussian needs batches of two examples at least in training, got one; "
                "write drop_last=True, or another batch_size."
            )
        variance, mean = torch.var_mean(h, dim=0, correction=0)
        with torch.no_grad():
            self.mean.lerp_(mean.to(self.mean.dtype), self.momentum)
            self.variance.lerp_(variance.to(self.variance.dtype), self.momentum)
        return mean, variance

    def extra_repr(self) -> str:
        return f"latent={self.latent}, gamma={self.gamma}"
