"""What every encoder head does whose draws are another's, sent through flows."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor
from torch.distributions import Distribution, Independent, Transform

from lightning_vae.arguments import whole
from lightning_vae.distributions import Pushforward
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.posteriors.gaussian import Gaussian
from lightning_vae.posteriors.posterior import Posterior
from lightning_vae.posteriors.relaxed_categorical import RelaxedCategorical
from lightning_vae.posteriors.von_mises_fisher import VonMisesFisher

__all__ = ["Flow"]


class Flow(Posterior, ABC):
    """A head whose draws are those of a base, bent by flows that depend on the example.

    The rate is one-sample Monte Carlo, one number of nats an example. There is no mean in closed
    form: write ``vae.embed(x, sample=True)``.
    """

    def __init__(self, latent: int, base: Posterior | None) -> None:
        super().__init__()
        if isinstance(base, VonMisesFisher | RelaxedCategorical):
            raise ValueError(
                f"base must have a density in space, for flows to bend it, but {base} is over "
                f"directions or classes; write base=posteriors.Gaussian()."
            )
        self.latent, self.base = whole("latent", latent), Gaussian() if base is None else base

    @property
    @abstractmethod
    def bends(self) -> int:
        """How many features the flows need."""

    @abstractmethod
    def flows(self, bends: Tensor) -> Sequence[Transform]:
        """The flows of examples, from features [B, bends]."""

    def features(self, latent: int) -> int:
        if latent != self.latent:
            raise ValueError(
                f"{type(self).__name__}(latent={self.latent}) is for another encoder; write "
                f"latent={latent}."
            )
        return self.base.features(latent) + self.bends

    def forward(self, features: Tensor) -> Distribution:
        own, bends = features.split([features.shape[1] - self.bends, self.bends], 1)
        base = self.base(own)
        vectors = Independent(base, len(base.batch_shape) - 1, validate_args=False)
        return Pushforward(vectors, [*self.flows(at_least_float32(bends))], validate_args=False)
