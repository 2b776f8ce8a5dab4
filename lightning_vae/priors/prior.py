"""What every prior is, and several of them, one a latent space."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

from torch import nn
from torch.distributions import Distribution

__all__ = ["Prior", "Product", "as_prior"]


class Prior(nn.Module, ABC):
    """A module that returns p(z): a distribution with no batch shape and z's shape as its event."""

    @abstractmethod
    def forward(self, **context: Any) -> Distribution | tuple[Distribution, ...]:
        """p(z), or one p(z_g) a group.

        A conditional prior p(z|c) takes c from the context and has the batch as its batch shape.
        """


class Product(Prior):
    r"""Independent priors, one a latent space: :math:`p(z_1, z_2) = p(z_1)\,p(z_2)`.

    Args:
        priors: One prior for every group that ``encode`` returns, in its order.

    >>> from lightning_vae.priors import StandardNormal
    >>> [p.event_shape for p in Product(StandardNormal(2), StandardNormal((4, 8)))()]
    [torch.Size([2]), torch.Size([4, 8])]
    """

    def __init__(self, *priors: Prior) -> None:
        super().__init__()
        self.groups = nn.ModuleList(priors)

    def forward(self, **context: Any) -> tuple[Distribution, ...]:
        return tuple(prior(**context) for prior in self.groups)


def as_prior(prior: Prior | Sequence[Prior] | None) -> Prior | None:
    """A prior as it is, and a sequence as their product.

    Raises:
        TypeError: if it, or one of them, is no module.

    >>> from lightning_vae.priors import StandardNormal
    >>> as_prior([StandardNormal(2), StandardNormal(3)]).groups[1]
    StandardNormal(3)
    """
    if isinstance(prior, list | tuple):
        return Product(*map(_checked, prior))
    return None if prior is None else _checked(prior)


def _checked(prior: object) -> Prior:
    if not isinstance(prior, nn.Module):
        raise TypeError(
            f"prior must be a module that returns a distribution, got {prior!r}; "
            f"write prior=StandardNormal(20)."
        )
    return cast(Prior, prior)
