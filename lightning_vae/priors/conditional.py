"""The prior that a network makes of the context."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.distributions import Distribution, Independent

from lightning_vae.priors.prior import Prior

__all__ = ["Conditional"]


class Conditional(Prior):
    r"""A prior p(z|c), which a network makes of the context: a label, or the group above.

    .. math:: p(z|c) = \text{network}(c), \quad \text{or} \quad p(z_l \mid z_{l+1})

    A module's ``context(batch)`` gives it c in training, and its user in sampling:
    ``vae.sample(n, label=label)``, one label a draw. A hierarchy's ``infer`` calls it with what it
    drew above: ``self.lower(above=z)``. The divergence is closed where that of the network's
    distribution is. c may be of any type, as long as the network takes it.

    Args:
        network: c → p(z|c), a distribution with a batch of as many examples as c has. Every
            encoder is one: ``MLPEncoder((10,), latent=20)``.
        names: The name of c in the context; several are given to the network in this order.

    Raises:
        ValueError: if no name is given; when called, if the context lacks one.
        TypeError: when called, if the network returns no distribution.

    Source: Sohn, Lee & Yan 2015, "Learning Structured Output Representation using Deep Conditional
    Generative Models"; for hierarchies, Sønderby et al. 2016, "Ladder Variational Autoencoders".

    >>> import torch
    >>> from lightning_vae.networks import MLPEncoder
    >>> prior = Conditional(MLPEncoder((3,), latent=20), "label")
    >>> p = prior(label=torch.eye(3))
    >>> p.batch_shape, p.event_shape
    (torch.Size([3]), torch.Size([20]))
    """

    def __init__(self, network: nn.Module, names: str | Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.names = (names,) if isinstance(names, str) else tuple(names)
        if not self.names:
            raise ValueError("names is empty; write what the prior is conditioned on: 'label'.")

    def forward(self, **context: Any) -> Distribution:
        for name in self.names:
            if name not in context:
                raise ValueError(
                    f"context has no {name!r}, only {sorted(context)}; return it from "
                    f"context(batch), and write {name}=... to sample."
                )
        return _over_latents(self.network(*(context[name] for name in self.names)))

    def extra_repr(self) -> str:
        return f"names={self.names}"


def _over_latents(conditioned: Any) -> Distribution:
    """The latents as the event, the examples as the batch."""
    if not isinstance(conditioned, Distribution):
        raise TypeError(
            f"network of Conditional returned a {type(conditioned).__name__}, not a distribution; "
            f"write DiagonalGaussian(loc, log_variance)."
        )
    latents = len(conditioned.batch_shape) - 1
    return Independent(conditioned, latents, validate_args=False) if latents > 0 else conditioned
