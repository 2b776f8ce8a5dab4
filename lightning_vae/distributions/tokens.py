"""Sequences of tokens, whose padding costs nothing."""

from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Categorical

from lightning_vae.distributions.support import in_support, validates_values, zero_outside

__all__ = ["Tokens"]


class Tokens(Categorical):
    r"""The categorical distribution of every token of a sequence.

    .. math:: \log p(x) = [x \ne \text{padding}]\,\bigl(\ell_x - \log\textstyle\sum_v e^{\ell_v}\bigr)

    Padding costs nothing and has no gradient. It keeps its share of the softmax, as everywhere in
    the literature, which training drives to none. An identifier has no mean: ``mean`` is the most
    likely token. Of what is no token the log-probability is −∞ (an error with
    ``validate_args=True``).

    Args:
        logits: [B, T, V], one number for every word of the vocabulary.
        padding: The token that fills short sequences up, or None.

    Raises:
        ValueError: if padding is no token of the vocabulary.

    Source: Bowman et al. 2016, section 2.

    >>> import torch
    >>> p = Tokens(torch.zeros(1, 3, 4), padding=0)
    >>> p.log_prob(torch.tensor([[2, 3, 0]])), p.mean.shape
    (tensor([[-1.3863, -1.3863,  0.0000]]), torch.Size([1, 3]))
    """

    def __init__(
        self, logits: Tensor, padding: int | None = None, validate_args: bool | None = None
    ) -> None:
        if padding is not None and not 0 <= padding < logits.shape[-1]:
            raise ValueError(
                f"padding must be a token from 0 to {logits.shape[-1] - 1}, got {padding}; write "
                f"padding=0, and fill x up with it."
            )
        self.padding = padding
        super().__init__(logits=logits, validate_args=validate_args)

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "Tokens":
        logits = self.logits.expand(*batch_shape, self._num_events)
        return Tokens(logits, self.padding, validates_values(self))

    @property
    def mean(self) -> Tensor:
        return self.mode

    def log_prob(self, value: Tensor) -> Tensor:
        inside = in_support(self, value)
        # A lookup beyond the vocabulary would end a whole CUDA context.
        token = value.masked_fill(~inside, 0).long()
        token, logits = torch.broadcast_tensors(token[..., None], self.logits)
        log_prob = zero_outside(inside, logits.gather(-1, token[..., :1]).squeeze(-1))
        return log_prob if self.padding is None else log_prob.masked_fill(value == self.padding, 0)
