"""Samples of the prior, decoded."""

from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from typing_extensions import Unpack, override

from lightning_vae.arguments import one_of, whole
from lightning_vae.callbacks.decoded import Codes, Decoded, DecodedOptions, spaces_of
from lightning_vae.module import VAEModule
from lightning_vae.pictures import Examples

__all__ = ["PriorSamples", "refuse_undrawable"]


def refuse_undrawable(module: LightningModule) -> None:
    """Refuse a hierarchy that does not say how its prior is drawn from.

    Raises:
        TypeError: if it overrides ``infer`` but not ``draw``.
    """
    cls: Any = type(module)
    if cls.infer is not VAEModule.infer and cls.draw is VAEModule.draw:
        raise TypeError(
            f"{cls.__name__} overrides infer but not draw, so nothing can be drawn from its "
            f"prior; write draw(n) in it."
        )


class PriorSamples(Decoded):
    r"""What the decoder makes of draws from the prior, the same draws each time.

    .. math:: z = \mathbb E_p[z] + T\,(z' - \mathbb E_p[z]), \quad z' \sim p(z)
              \qquad\text{or}\qquad z \sim U[-T, T)

    Args:
        samples: How many.
        draws: ``"prior"``, or ``"uniform"``, which is not the model's.
        temperature: T. With the standard normal prior z has standard deviation T.
        space: The one latent space that is drawn, where there are several; the others are at the
            means of the examples'. None draws all.
        options: What every :class:`Decoded` picture takes.

    Raises:
        ValueError: if an option is none of these; when first drawn, if there is no such space, or
            the prior does not know the mean that a temperature needs.
        TypeError: before the first batch, if the module is a hierarchy that cannot draw.

    >>> PriorSamples(samples=16, temperature=0.7)
    PriorSamples(samples=16, temperature=0.7)
    """

    shows = "samples"

    def __init__(
        self,
        samples: int = 32,
        draws: Literal["prior", "uniform"] = "prior",
        temperature: float = 1.0,
        space: int | None = None,
        **options: Unpack[DecodedOptions],
    ) -> None:
        super().__init__(**options)
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}.")
        self.samples = self.needs = whole("samples", samples)
        self.draws = one_of("draws", draws, ("prior", "uniform"))
        self.temperature, self.space = temperature, space

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if self.draws == "prior":
            refuse_undrawable(pl_module)

    @override
    def values(self, module: VAEModule, examples: Examples) -> Tensor:
        return self.decoded(module, *self._drawn(module, examples.cycled(self.samples)))

    def _drawn(self, module: VAEModule, examples: Examples) -> tuple[Codes, Examples]:
        drawn = (
            self._uniform(module, examples)
            if self.draws == "uniform"
            else self._prior(module, examples)
        )
        if self.space is not None:
            spaces_of(self.space, drawn)
            held = list(self.encoded(module, examples))
            held[self.space] = drawn[self.space]
            drawn = tuple(held)
        return drawn, examples

    def _uniform(self, module: VAEModule, examples: Examples) -> Codes:
        T = self.temperature
        return tuple(torch.empty_like(z).uniform_(-T, T) for z in self.encoded(module, examples))

    def _prior(self, module: VAEModule, examples: Examples) -> Codes:
        drawn = module.draw(self.samples, **examples.context)
        codes = drawn if isinstance(drawn, tuple) else (drawn,)
        if self.temperature == 1.0:
            return codes
        centres = self._centres(module, examples)
        return tuple(
            torch.lerp(m.to(z), z, self.temperature) for m, z in zip(centres, codes, strict=True)
        )

    def _centres(self, module: VAEModule, examples: Examples) -> Codes:
        priors = None if module.prior is None else module.prior(**examples.context)
        try:
            return tuple(p.mean for p in (priors if isinstance(priors, tuple) else (priors,)))
        except (AttributeError, NotImplementedError):
            raise ValueError(
                f"temperature={self.temperature} needs the prior's mean, and {module.prior} does "
                f"not know it; drop temperature."
            ) from None
