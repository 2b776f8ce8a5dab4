"""What every objective is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_vae.coefficients import Coefficient, HasCoefficients
from lightning_vae.latents import VAEOutput

__all__ = ["Objective"]


class Objective(HasCoefficients, nn.Module, ABC):
    """What a VAE minimises: an output's terms, weighed by coefficients that callbacks may move.

    A subclass names its coefficients as :class:`Coefficient` class attributes and computes the
    loss. It is called eagerly, outside any compiled region: a float that changes is exact there.

    It may own networks. Those that are to minimise something else than the VAE does, such as a
    discriminator, get an ``optimizer`` of their own, and a second loss. The module then optimises
    by hand: it steps on ``loss`` without them, and they on ``own_loss`` alone. Under DDP that needs
    ``strategy="ddp_find_unused_parameters_true"``, for neither loss reaches all parameters.

    >>> class Squared(Objective):
    ...     gamma = Coefficient[float]()
    ...
    ...     def __init__(self, gamma: float = 2.0) -> None:
    ...         super().__init__()
    ...         self.gamma = gamma
    ...
    ...     def forward(self, output):
    ...         excess = output.rate.square().mean()
    ...         loss = output.distortion.mean() + self.gamma * excess
    ...         return {"loss": loss, "excess": excess.detach()}
    >>> Squared().coefficients
    {'gamma': 2.0}
    """

    samples: int | None = None  # how many draws of z it needs; None is one, without a K dimension
    # Parameters → optimizer, for networks of its own that minimise own_loss.
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(getattr(type(self), name, None), Coefficient):
            # nn.Module would register a Parameter or a module under the name, unchecked.
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @abstractmethod
    def forward(self, output: VAEOutput) -> dict[str, Tensor]:
        """``loss``, a scalar that keeps its graph, and named parts: unweighted and detached.

        With an ``optimizer``, also ``own_loss``, which keeps its graph to the objective's own
        networks; take it from detached draws.
        """

    @property
    def training_size(self) -> int | None:
        """How many examples it was told that the training set has, as ``size``; None: it is not."""
        return None

    def context(self, x: Tensor) -> dict[str, Any]:
        """What ``encode`` and ``decode`` get as keywords besides the batch's own context. None.

        It is drawn anew for every batch, and is found in the output: a β per example, for one.
        """
        return {}
