"""A distribution whose elements count more or less, or not at all: masks, weights, tapers."""

from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from lightning_vae.distributions.profile_normal import ProfileNormal
from lightning_vae.distributions.support import validates_values

__all__ = ["Weighted"]


class Weighted(Distribution):
    r"""A likelihood whose log-density is weighed element by element.

    .. math:: \log p_w(x) = \textstyle\sum_i w_i \log p(x_i|z)

    With a mask (a weight of zeros and ones, or of booleans) this is the likelihood of what was
    observed, and the ELBO bounds its evidence; what x holds where it is masked has no influence,
    if it is a value of the support: fill in zeros. With other weights, an example's or a taper's,
    the sum is weighed as it is written, and bounds nothing. Mean and draws are the base's.

    A mask reaches the decoder by the context:

    .. code-block:: python

        class Masked(VAEModule):
            def context(self, batch):
                return {"mask": batch["mask"]}

            def encode(self, x, mask=None):
                return self.encoder(x)

            def decode(self, z, mask=None):
                likelihood = self.decoder(z)
                return likelihood if mask is None else Weighted(likelihood, mask)

    Args:
        base_dist: The likelihood.
        weight: w ≥ 0, with as many dimensions as the base's batch shape, each of its size or 1:
            a mask [B, C, H, W], weights of examples [B, 1, 1, 1], a taper [1, 1, H, W].

    Raises:
        ValueError: if the shape is none of these; with ``validate_args``, if a weight is negative
            or NaN.

    >>> from torch.distributions import Normal
    >>> x, mask = torch.zeros(1, 3), torch.tensor([[True, True, False]])
    >>> Weighted(Normal(x, 1.0), mask).log_prob(x)
    tensor([[-0.9189, -0.9189,  0.0000]])
    """

    arg_constraints = {"weight": constraints.nonnegative}  # noqa: RUF012

    def __init__(
        self, base_dist: Distribution, weight: Tensor, validate_args: bool | None = None
    ) -> None:
        shape = base_dist.batch_shape
        sizes = zip(weight.shape, shape, strict=False)
        if weight.dim() != len(shape) or not all(own in (1, size) for own, size in sizes):
            raise ValueError(
                f"weight has shape {tuple(weight.shape)} for a likelihood of shape {tuple(shape)}; "
                f"give it {len(shape)} dimensions, each of the likelihood's size or 1."
            )
        base: Any = base_dist
        if isinstance(base, Weighted):  # a mask on a taper: what is beneath must see both
            base, weight = base.base_dist, base.weight * weight
        self.base_dist: Distribution = base
        self.weight = weight.expand(shape)
        super().__init__(shape, base_dist.event_shape, validate_args=validate_args)

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "Weighted":
        base: Any = self.base_dist
        return Weighted(
            base.expand(batch_shape), self.weight.expand(batch_shape), validates_values(self)
        )

    @property
    def support(self) -> Any:
        return self.base_dist.support

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return self.base_dist.has_rsample

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def log_prob(self, value: Tensor) -> Tensor:
        if isinstance(self.base_dist, ProfileNormal):
            log_prob = self.base_dist.log_prob(value, self.weight)
        else:
            log_prob = self.base_dist.log_prob(value)
        # Not by the product alone: what does not count may be infinite.
        return torch.where(self.weight > 0, self.weight * log_prob, torch.zeros_like(log_prob))

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        return self.base_dist.sample(Size(sample_shape))

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        return self.base_dist.rsample(Size(sample_shape))
