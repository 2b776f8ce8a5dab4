"""Latent traversals: what each latent does, as the others stay."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Unpack, override

from lightning_vae.arguments import one_of, whole
from lightning_vae.callbacks.decoded import Codes, Decoded, DecodedOptions, spaces_of
from lightning_vae.latents import Latent
from lightning_vae.module import VAEModule
from lightning_vae.pictures import (
    Drawn,
    Examples,
    most_active,
    quantiles,
    there_and_back,
    traversal,
)
from lightning_vae.pictures.margin import margin
from lightning_vae.pictures.ranking import activity

__all__ = ["LatentTraversal"]

_RANKED_BY = 64  # examples over which rates are averaged
_BETWEEN = {"value": (-2.0, 2.0), "quantile": (0.025, 0.975)}


class LatentTraversal(Decoded):
    """A row for each latent: it walks, the others stay where an example's posterior mean is.

    Args:
        latents: Which walk, in this order; by default those that carry the most nats.
        most_active: How many, by default.
        origin: Where the others stay: ``"encoding"``, the posterior mean, or ``"zero"``.
        same_image: Whether all rows begin at one example; or row i at example i.
        example: Which, counted from the first that is drawn.
        by: What the walk is even in: ``"value"``, or ``"quantile"`` of the prior.
        between: Where it begins and ends: by default from -2 to 2, or from the quantile of 0.025
            to that of 0.975. ``row_size`` is how many steps it has.
        animated: Whether to show the walks in time, to and fro, with a latent beside the other.
        space: The one latent space (or group of a hierarchy) that walks, where there are several;
            a latent is its place among the space's flattened factors. None is all.
        options: What every :class:`Decoded` picture takes.

    Raises:
        ValueError: if an option is none of these; when first drawn, if there is no such latent or
            space, or ``latents`` are given for one of several spaces without saying which.

    Source: Higgins et al. 2017, section 4.1; sorted by rate, Burgess et al. 2018, section 5.

    >>> LatentTraversal(latents=[0, 2], between=(-3, 3), origin="zero")
    LatentTraversal(latents=(0, 2), origin='zero', between=(-3.0, 3.0))
    """

    shows = "traversal"

    def __init__(
        self,
        latents: Sequence[int] | None = None,
        most_active: int = 10,
        origin: Literal["encoding", "zero"] = "encoding",
        same_image: bool = True,
        example: int = 0,
        by: Literal["value", "quantile"] = "value",
        between: tuple[float, float] | None = None,
        animated: bool = False,
        space: int | None = None,
        **options: Unpack[DecodedOptions],
    ) -> None:
        super().__init__(**options)
        self.latents = None if latents is None else tuple(latents)
        self.most_active = whole("most_active", most_active)
        self.origin = one_of("origin", origin, ("encoding", "zero"))
        self.by, self.same_image = one_of("by", by, ("value", "quantile")), same_image
        self.between = None if between is None else (float(between[0]), float(between[1]))
        if by == "quantile" and not all(0 < p < 1 for p in self._ends):
            raise ValueError(f"between must be probabilities inside (0, 1), got {between}.")
        self.animated, self.space = animated, space
        self.example = whole("example", example, 0)
        self.needs = max(_RANKED_BY, self.example + 1)

    @property
    def _ends(self) -> tuple[float, float]:
        return _BETWEEN[self.by] if self.between is None else self.between

    @override
    def draw(self, module: VAEModule, examples: Examples) -> Drawn:
        walked, activities = self._walked(module, examples)
        steps = self._decoded(module, examples, walked)
        if self.animated:
            frames = [self.laid_out(values, len(walked)) for values in steps.unbind(1)]
            return _animation(frames)
        drawn = self.laid_out(steps.flatten(0, 1), self.row_size)
        names = [self._name(place, activities) for place in walked]
        return margin(drawn, names) if isinstance(drawn, Tensor) else drawn

    @override
    def values(self, module: VAEModule, examples: Examples) -> Tensor:
        walked, _ = self._walked(module, examples)
        return self._decoded(module, examples, walked).flatten(0, 1)

    def _decoded(
        self, module: VAEModule, examples: Examples, walked: list[tuple[int, int]]
    ) -> Tensor:
        """[R, S, ...]: what the decoder makes of every row's every step."""
        rows = range(len(walked))
        if self.example >= len(examples):
            raise ValueError(f"example={self.example} does not exist: there are {len(examples)}.")
        starts = examples.take(
            [self.example if self.same_image else i % len(examples) for i in rows]
        )
        codes = self._codes(module, starts, walked)
        given = starts.repeated(self.row_size)
        decoded = self.decoded(module, [z.flatten(0, 1) for z in codes], given)
        return decoded.view(len(walked), self.row_size, *decoded.shape[1:])

    def _codes(self, module: VAEModule, starts: Examples, walked: list[tuple[int, int]]) -> Codes:
        """Every space's codes of every row and step, [R, S, *factors]."""
        origins = self.encoded(module, starts)
        if self.origin == "zero":
            origins = tuple(map(torch.zeros_like, origins))
        values = self._values(module, starts, walked)
        codes = [z.unsqueeze(1).repeat_interleave(self.row_size, 1) for z in origins]
        for row, (space, latent) in enumerate(walked):
            one = slice(row, row + 1)
            codes[space][one] = traversal(origins[space][one], [latent], values[one])
        return tuple(codes)

    def _values(self, module: VAEModule, starts: Examples, walked: list[tuple[int, int]]) -> Tensor:
        """Where every row's latent walks, [R, S]."""
        steps = torch.linspace(*self._ends, self.row_size)
        if self.by == "value":
            return steps.expand(len(walked), -1)
        latents = self._inferred(module, starts)
        tables = [quantiles(latent.prior, steps).flatten(1) for latent in latents]
        return torch.stack([tables[space][:, latent] for space, latent in walked])

    def _walked(
        self, module: VAEModule, examples: Examples
    ) -> tuple[list[tuple[int, int]], list[Tensor]]:
        """Which latents walk, as (space, latent), and what every latent of all carries."""
        means = self.encoded(module, examples)
        spaces = spaces_of(self.space, means)
        rates = [latent.rate for latent in self._inferred(module, examples)]
        activities = [activity(rate, mean) for rate, mean in zip(rates, means, strict=True)]
        if self.latents is None:
            ranked = most_active([activities[space] for space in spaces], self.most_active)
            return [(spaces[i], latent) for i, latent in ranked], activities
        if len(spaces) > 1:
            raise ValueError(
                f"latents={self.latents} are of one space, but encode returns {len(means)}; write "
                f"space=0, and another traversal with a key of its own for the next."
            )
        return [(spaces[0], latent) for latent in self.latents], activities

    def _inferred(self, module: VAEModule, examples: Examples) -> tuple[Latent, ...]:
        return module.infer(examples.x, **examples.context)

    def _name(self, place: tuple[int, int], activities: Sequence[Tensor]) -> str:
        space, latent = place
        prefix = f"{space}." if len(activities) > 1 else ""
        return f"z{prefix}{latent}  {float(activities[space].flatten()[latent]):.2f}"


def _animation(frames: Sequence[Drawn]) -> Drawn:
    images = [frame for frame in frames if isinstance(frame, Tensor)]
    if len(images) < len(frames):
        raise ValueError("animated shows images; drop it for sentences.")
    return there_and_back(torch.stack(images))
