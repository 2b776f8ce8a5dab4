"""What every prior is, and several of them, one a latent space."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn
from torch.distributions import Distribution

__all__ = ["Prior", "Product", "as_prior"]


class Prior(nn.Module, ABC):
    """A module that returns p(z): a distribution with no batch shape and z's shape as its event."""

    wanted: int = 0  # how many training examples it is to start from, where a fit begins

    @abstractmethod
    def forward(self, **context: Any) -> Distribution | tuple[Distribution, ...]:
        """p(z), or one p(z_g) a group.

        A conditional prior p(z|c) takes c from the context and has the batch as its batch shape.
        """

    def lend(self, encoder: nn.Module) -> None:
        """Take the VAE's encoder, if it is of use: a :class:`VampPrior` is made of posteriors."""

    def start(self, examples: Tensor) -> None:
        """Take the ``wanted`` training examples, [wanted, ...], before the first step of a fit."""


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


def as_prior(
    prior: Prior | Sequence[Prior] | None, encoder: nn.Module | None = None
) -> Prior | None:
    """A prior as it is, and a sequence as their product; each is lent the encoder, if there is one.

    Raises:
        TypeError: if it, or one of them, is no module.

    >>> from lightning_vae.priors import StandardNormal
    >>> as_prior([StandardNormal(2), StandardNormal(3)]).groups[1]
    StandardNormal(3)
    """
    if isinstance(prior, list | tuple):
        return Product(*(_lent(each, encoder) for each in prior))
    return None if prior is None else _lent(prior, encoder)


def _lent(prior: object, encoder: nn.Module | None) -> Prior:
    checked = _checked(prior)
    for part in checked.modules():
        if isinstance(part, Prior) and encoder is not None:
            part.lend(encoder)
    return checked


def _checked(prior: object) -> Prior:
    if not isinstance(prior, nn.Module):
        raise TypeError(
            f"prior must be a module that returns a distribution, got {prior!r}; "
            f"write prior=StandardNormal(20)."
        )
    return cast(Prior, prior)
