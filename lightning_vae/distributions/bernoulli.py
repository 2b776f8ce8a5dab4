"""The Bernoulli distribution by logits, on gray values too."""

from typing import Any

from torch import Size, Tensor
from torch.distributions import Bernoulli as BinaryBernoulli
from torch.distributions import Distribution, constraints
from torch.nn.functional import binary_cross_entropy_with_logits

from lightning_vae.distributions.gaussian import broadcast
from lightning_vae.distributions.support import in_support, validates_values, zero_outside

__all__ = ["Bernoulli"]


class Bernoulli(BinaryBernoulli):
    r"""The Bernoulli distribution by logits, its log-density continued to :math:`[0, 1]`.

    .. math:: \log p(x) = x \log\sigma(\ell) + (1 - x) \log(1 - \sigma(\ell))

    For x in {0, 1} this is the Bernoulli log-probability. For gray values between it is the
    negative cross-entropy that the field trains with: **no density**, since it does not integrate
    to one over [0, 1] (for that, see the continuous Bernoulli of Loaiza-Ganem & Cunningham 2019).

    Args:
        logits: :math:`\ell`, of any shape.

    Outside [0, 1] the log-density is −∞ (an error with ``validate_args=True``).

    >>> import torch
    >>> Bernoulli(torch.tensor([150.0, 0.0])).log_prob(torch.tensor([0.0, 0.5]))
    tensor([-150.0000,   -0.6931])
    """

    support = constraints.unit_interval  # type: ignore[assignment]

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        # Not torch's own constructor, which broadcasts the one argument: two views, one backwards.
        self.is_scalar, self.logits, self._param = False, logits, logits
        Distribution.__init__(self, logits.shape, validate_args=validate_args)

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "Bernoulli":
        return Bernoulli(self.logits.expand(batch_shape), validates_values(self))

    def log_prob(self, value: Tensor) -> Tensor:
        inside = in_support(self, value)
        logits, value = broadcast(
            self.logits, value.to(self.logits.dtype).masked_fill(~inside, 0.0)
        )
        return zero_outside(
            inside, -binary_cross_entropy_with_logits(logits, value, reduction="none")
        )

    def cross_entropy(self, value: Tensor) -> Tensor:
        """The negative log-probability, without the two negations of data that ``-log_prob`` is."""
        return binary_cross_entropy_with_logits(self.logits, value, reduction="none")
