"""The categorical likelihood, over tokens or any other classes."""

from torch import Tensor
from torch.distributions import Distribution

from lightning_vae.arguments import whole
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.distributions.tokens import Tokens
from lightning_vae.likelihoods.likelihood import Likelihood, parameters

__all__ = ["Categorical"]


class Categorical(Likelihood):
    r"""The categorical likelihood of tokens, sequences of them padded to one length.

    .. math:: -\log p(x|z) = -\textstyle\sum_{t: x_t \ne \text{padding}} \log \mathrm{softmax}(\ell_t)_{x_t}

    x holds whole numbers from 0 to classes - 1, as integers. ``sample`` and ``reconstruct`` give
    the most likely token. A recurrent decoder, whose logits are [B, T, V], needs no head: it
    returns ``distributions.tokens.Tokens(logits, padding)``.

    Args:
        classes: V, the size of the vocabulary.
        padding: The token that fills short sequences up and costs nothing, or None.

    Raises:
        ValueError: if there are fewer than two classes, or padding is none of them.

    Features: one for each class, its logit: [B, V·T, ...], all tokens' first class first.

    >>> import torch
    >>> Categorical(5, padding=0)(torch.zeros(2, 5 * 7)).batch_shape
    torch.Size([2, 7])
    """

    def __init__(self, classes: int, padding: int | None = None) -> None:
        super().__init__()
        self.features = whole("classes", classes, 2)
        if padding is not None and padding not in range(classes):
            raise ValueError(
                f"padding must be a token from 0 to {classes - 1}, got {padding!r}; write padding=0."
            )
        self.padding = padding

    def forward(self, features: Tensor) -> Distribution:
        parameters(features, self.features)
        logits = at_least_float32(features).unflatten(1, (self.features, -1)).movedim(1, -1)
        return Tokens(logits, self.padding, validate_args=False)

    def extra_repr(self) -> str:
        return f"{self.features}, padding={self.padding}"
