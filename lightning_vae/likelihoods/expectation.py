"""What to show of a likelihood: its mean, or of names the likeliest."""

from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent

from lightning_vae.distributions.weighted import Weighted

__all__ = ["expectation"]


def expectation(likelihood: Distribution) -> Tensor:
    r"""The mean :math:`\mathbb E[x|z]` in x's shape; where x are names, the likeliest one.

    Of gray values and 8-bit images it lies in [0, 1], between the levels; of counts it is the
    expected count, no whole number. Tokens have no mean (torch's is NaN): theirs are whole.

    Raises:
        TypeError: if the likelihood does not know its mean.

    >>> import torch
    >>> expectation(Categorical(logits=torch.tensor([[0.0, 2.0, 1.0]])))
    tensor([1])
    """
    base = likelihood
    while isinstance(base, Independent | Weighted):
        base = base.base_dist
    try:
        mean: Tensor = base.mode if isinstance(base, Categorical) else likelihood.mean
    except (AttributeError, NotImplementedError):
        raise TypeError(
            f"likelihood {type(likelihood).__name__} has no mean to show; give it a mean property, "
            f"or draw with vae.decode(vae.draw(n)).sample()."
        ) from None
    return mean
