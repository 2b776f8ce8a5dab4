"""Interpolations between examples."""

from typing import Any

from torch import Tensor
from typing_extensions import Unpack, override

from lightning_vae.arguments import one_of, whole
from lightning_vae.callbacks.decoded import Decoded, DecodedOptions, spaces_of
from lightning_vae.module import VAEModule
from lightning_vae.pictures import Examples, paths
from lightning_vae.pictures.interpolation import Path

__all__ = ["ImageInterpolation"]


class ImageInterpolation(Decoded):
    """Rows of what the decoder makes along paths between two examples' posterior means.

    Args:
        start: A batch of examples to begin at, such as x; by default the first of those drawn.
        stop: A batch of as many to end at; by default the next.
        rows: How many paths, by default; ``row_size`` is how many steps each has.
        path: ``"lerp"``, straight, or ``"slerp"``, along the sphere.
        space: The one latent space that moves, where there are several; the others stay at the
            start's. None is all.
        options: What every :class:`Decoded` picture takes.

    Raises:
        ValueError: if an option is none of these; when first drawn, if there is no such space.

    >>> ImageInterpolation(rows=2, path="slerp")
    ImageInterpolation(rows=2, path='slerp')
    """

    shows = "image_interpolation"

    def __init__(
        self,
        start: Any = None,
        stop: Any = None,
        rows: int = 4,
        path: Path = "lerp",
        space: int | None = None,
        **options: Unpack[DecodedOptions],
    ) -> None:
        super().__init__(**options)
        if (start is None) != (stop is None):
            raise ValueError("start and stop belong together: give both, or neither.")
        self.start, self.stop, self.space = start, stop, space
        self.rows, self.path = whole("rows", rows), one_of("path", path, ("lerp", "slerp"))
        self.needs = 2 * rows

    @override
    def values(self, module: VAEModule, examples: Examples) -> Tensor:
        first, last = self._ends(module, examples)
        starts, stops = (self.encoded(module, end) for end in (first, last))
        codes = paths(starts, stops, self.row_size, self.path, spaces_of(self.space, starts))
        # The whole path has its beginning's context.
        given = first.repeated(self.row_size)
        return self.decoded(module, [z.flatten(0, 1) for z in codes], given)

    def _ends(self, module: VAEModule, examples: Examples) -> tuple[Examples, Examples]:
        if self.start is None:
            both = examples.cycled(2 * self.rows)
            return both.take(range(self.rows)), both.take(range(self.rows, 2 * self.rows))
        first, last = (
            self.examples(module, self.there(module, b)) for b in (self.start, self.stop)
        )
        if len(first) != len(last):
            raise ValueError(
                f"start has {len(first)} examples and stop {len(last)}; give as many of both."
            )
        return first, last
