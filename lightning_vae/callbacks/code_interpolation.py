"""Interpolations between codes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack, override

from lightning_vae.arguments import one_of, whole
from lightning_vae.callbacks.decoded import Codes, Decoded, DecodedOptions, spaces_of
from lightning_vae.module import VAEModule
from lightning_vae.pictures import Examples, paths
from lightning_vae.pictures.interpolation import Path

__all__ = ["CodeInterpolation"]


class CodeInterpolation(Decoded):
    """Rows of what the decoder makes along paths between codes: two draws of the prior, or yours.

    Args:
        start: Where the paths begin, [N, *factors] or [*factors]; by default at draws.
        stop: Where they end, of the same shape.
        rows: How many paths, by default; ``row_size`` is how many steps each has.
        path: ``"lerp"``, straight, or ``"slerp"``, along the sphere, which keeps the length that
            draws of a normal prior have.
        space: The one latent space that moves, where there are several; the others stay at the
            start's, or at zero for codes of yours. None is all.
        options: What every :class:`Decoded` picture takes.

    Raises:
        ValueError: if an option is none of these; when first drawn, if codes of yours do not have
            the shape of the latents, or it is not said of which of several spaces they are.

    Source: White 2016, "Sampling Generative Networks".

    >>> CodeInterpolation(start=[0.0, 0.0], stop=[1.0, 2.0], path="slerp")
    CodeInterpolation(start=[0.0, 0.0], stop=[1.0, 2.0], path='slerp')
    """

    shows = "code_interpolation"

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

    @override
    def values(self, module: VAEModule, examples: Examples) -> Tensor:
        shapes = self.encoded(module, examples.take([0]))
        spaces = spaces_of(self.space, shapes)
        if self.start is None:
            starts, stops = (self._drawn(module, examples) for _ in range(2))
        else:
            starts, stops = (self._given(c, shapes, spaces) for c in (self.start, self.stop))
        codes = paths(starts, stops, self.row_size, self.path, spaces)
        given = examples.cycled(len(codes[0])).repeated(self.row_size)
        return self.decoded(module, [z.flatten(0, 1) for z in codes], given)

    def _drawn(self, module: VAEModule, examples: Examples) -> Codes:
        drawn = module.draw(self.rows, **examples.cycled(self.rows).context)
        return drawn if isinstance(drawn, tuple) else (drawn,)

    def _given(self, codes: Any, shapes: Codes, spaces: Sequence[int]) -> Codes:
        if len(spaces) > 1:
            raise ValueError(
                f"start and stop are of one space, but encode returns {len(shapes)}; write space=0."
            )
        like = shapes[spaces[0]]
        given = torch.as_tensor(codes).to(like)
        given = given if given.dim() == like.dim() else given.unsqueeze(0)
        if given.shape[1:] != like.shape[1:]:
            raise ValueError(
                f"start and stop must be codes of shape {tuple(like.shape[1:])}, got "
                f"{tuple(torch.as_tensor(codes).shape)}."
            )
        others = [z.new_zeros(len(given), *z.shape[1:]) for z in shapes]
        others[spaces[0]] = given
        return tuple(others)
