"""What is asked of a posterior q(z|x): a draw with gradient, and a mean."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

__all__ = ["draw", "each", "mean"]


def each(encoded: Any) -> tuple[Distribution, ...]:
    """What ``encode`` returned as a tuple, one posterior a latent space.

    Raises:
        TypeError: if it holds anything but distributions.

    >>> from torch.distributions import Normal
    >>> each(Normal(0.0, 1.0))
    (Normal(loc: 0.0, scale: 1.0),)
    """
    posteriors: tuple[Distribution, ...] = encoded if isinstance(encoded, tuple) else (encoded,)
    for posterior in posteriors:
        if not hasattr(posterior, "rsample"):
            raise TypeError(
                f"encode returned {_kinds(encoded)}, not a distribution (or a tuple of them, one a "
                f"latent space); write DiagonalGaussian(loc, log_variance)."
            )
    return posteriors


def _kinds(encoded: Any) -> str:
    if not isinstance(encoded, list | tuple):
        return f"a {type(encoded).__name__}"
    kinds: Sequence[str] = [type(element).__name__ for element in encoded]
    return f"a {type(encoded).__name__} of {', '.join(kinds)}"


def draw(posterior: Distribution, samples: int | None = None) -> Tensor:
    """A draw through which gradients flow: [B, *factors], or [K, B, *factors] for K samples.

    Raises:
        TypeError: if the posterior has no reparameterised draw.

    >>> from torch.distributions import Normal
    >>> draw(Normal(torch.zeros(2, 3), 1.0), samples=5).shape
    torch.Size([5, 2, 3])
    """
    try:
        return posterior.rsample(torch.Size() if samples is None else torch.Size([samples]))
    except NotImplementedError:
        raise TypeError(
            f"posterior {type(posterior).__name__} has no rsample, so the encoder would get no "
            f"gradient; return a reparameterised distribution, such as DiagonalGaussian."
        ) from None


def mean(posterior: Distribution) -> Tensor:
    """The mean of z: [B, *factors].

    Raises:
        TypeError: if the posterior does not know its mean.

    >>> from torch.distributions import Normal
    >>> mean(Normal(torch.zeros(2, 3), 1.0)).shape
    torch.Size([2, 3])
    """
    try:
        return posterior.mean
    except (AttributeError, NotImplementedError):
        raise TypeError(
            f"posterior {type(posterior).__name__} has no mean to embed with; give it a mean "
            f"property, or write embed(x, sample=True)."
        ) from None
