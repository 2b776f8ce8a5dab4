"""The categorical distribution, drawn by Gumbel-softmax."""

from typing import Any

from torch import Size, Tensor
from torch.distributions import Categorical, Distribution, OneHotCategorical, constraints
from torch.nn.functional import log_softmax

from lightning_vae.arguments import positive
from lightning_vae.distributions.support import in_support, validates_values, zero_outside

__all__ = ["RelaxedCategorical"]


class RelaxedCategorical(OneHotCategorical):
    r"""The one-hot categorical distribution, whose ``rsample`` is relaxed by Gumbel-softmax.

    .. math:: z = \operatorname{softmax}\left(\frac{\log\pi + g}{\tau}\right), \quad
              g_k \sim \operatorname{Gumbel}(0, 1)

    The mean, entropy and divergences are those of the categorical that it relaxes, so the rate
    against ``OneHotCategorical`` is exact: :math:`\log K - H(\pi)` where that is uniform.
    ``sample`` draws one-hot vectors. ``log_prob`` is :math:`\sum_k z_k \log\pi_k`, continued to
    the simplex: there it is **no density** (for that, see torch's ``RelaxedOneHotCategorical``).

    Args:
        logits: :math:`\log\pi` up to a constant, [..., K].
        temperature: τ > 0. As τ falls, draws approach one-hot vectors and gradients grow noisy.
            Keep it as a plain float on the encoder, where ``Anneal`` can move it.

    Raises:
        ValueError: if the temperature is a number that is not positive and finite.

    Source: Jang, Gu & Poole 2017, section 2; Maddison, Mnih & Teh 2017, section 3.

    >>> import torch
    >>> q = RelaxedCategorical(torch.tensor([0.0, 0.0, 100.0]), temperature=0.5)
    >>> q.rsample()
    tensor([0., 0., 1.])
    >>> torch.distributions.kl_divergence(q, OneHotCategorical(logits=torch.zeros(3)))
    tensor(1.0986)
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012
    support = constraints.simplex  # type: ignore[assignment]
    has_rsample = True

    def __init__(
        self,
        logits: Tensor,
        temperature: float | Tensor = 1.0,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(temperature, Tensor):  # one of those torch validates
            temperature = positive("temperature", temperature)
        self.temperature = temperature
        # Torch's own constructor validates its inner categorical whatever it is told.
        self._categorical = Categorical(logits=logits, validate_args=validate_args)
        batch, event = logits.shape[:-1], logits.shape[-1:]
        Distribution.__init__(self, batch, event, validate_args=validate_args)

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "RelaxedCategorical":
        logits = self.logits.expand(*batch_shape, -1)
        return RelaxedCategorical(logits, self.temperature, validates_values(self))

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        # A standard Gumbel is minus the logarithm of a standard exponential.
        exponential = self.logits.new_empty(self._extended_shape(sample_shape)).exponential_()
        return ((self.logits - exponential.log()) / self.temperature).softmax(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        inside = in_support(self, value)
        value = value.masked_fill(~inside.unsqueeze(-1), 0.0)
        terms = value * log_softmax(self.logits, -1).masked_fill(value == 0, 0.0)
        return zero_outside(inside, terms.sum(-1))
