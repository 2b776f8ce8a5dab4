"""What every encoder head is."""

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.distributions import Distribution

__all__ = ["Posterior"]


class Posterior(nn.Module, ABC):
    """What an encoder ends in; its output is q(z|x), with one batch element an example.

    Every head says what its parameters are. One that lacks here is a subclass in six lines.

    >>> from torch.distributions import Laplace
    >>> class LaplacePosterior(Posterior):
    ...     def features(self, latent):
    ...         return 2 * latent
    ...
    ...     def forward(self, features):
    ...         loc, log_scale = features.chunk(2, dim=1)
    ...         return Laplace(loc, log_scale.exp())
    """

    @abstractmethod
    def features(self, latent: int) -> int:
        """How many features it needs for an example of this many latents.

        Raises:
            ValueError: if there are too few latents for it.
        """

    @abstractmethod
    def forward(self, features: Tensor) -> Distribution:
        """q(z|x) from features [B, features(latent)]."""
