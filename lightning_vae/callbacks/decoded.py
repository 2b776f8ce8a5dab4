"""Decoded: a picture of what the decoder makes of codes, images or sentences."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from typing_extensions import Unpack, override

from lightning_vae.arguments import whole
from lightning_vae.callbacks.picture import Picture, PictureOptions
from lightning_vae.module import VAEModule
from lightning_vae.pictures import Drawn, Examples, as_images, grid, pixels, sentences
from lightning_vae.pictures.pixels import refuse_outside
from lightning_vae.pictures.sentences import Detokenise

__all__ = ["Codes", "Decoded", "DecodedOptions"]

Codes = tuple[Tensor, ...]  # z, one tensor a latent space


class DecodedOptions(PictureOptions, total=False):
    """What every picture of decoded codes takes; see :class:`Decoded`."""

    row_size: int
    value_range: tuple[float, float]
    shape: Sequence[int] | None
    detokenise: Detokenise | None


class Decoded(Picture, ABC):
    """A grid of images, or a table of sentences, that a decoder makes.

    One of your own overrides ``values``.
    A likelihood whose mean is no image is refused, with the shape it has. What is in a row of
    images is in a column of sentences.

    Args:
        row_size: How many are in a row.
        value_range: What is black and what is white; an x outside is refused.
        shape: The (C, H, W) of one image, where x is flat.
        detokenise: For tokens: a function from their list to a sentence, or the vocabulary's words.
        options: What every :class:`Picture` takes.

    >>> class Halves(Decoded):
    ...     shows = "halves"
    ...
    ...     def values(self, module, examples):
    ...         codes = self.encoded(module, examples)
    ...         return self.decoded(module, [z / 2 for z in codes], examples)
    >>> Halves(row_size=4)
    Halves(row_size=4)
    """

    def __init__(
        self,
        row_size: int = 8,
        value_range: tuple[float, float] = (0.0, 1.0),
        shape: Sequence[int] | None = None,
        detokenise: Detokenise | None = None,
        **options: Unpack[PictureOptions],
    ) -> None:
        super().__init__(**options)
        self.row_size = whole("row_size", row_size)
        low, high = self.value_range = (float(value_range[0]), float(value_range[1]))
        if not low < high:
            raise ValueError(f"value_range must be (black, white), got {value_range}.")
        self.shape = None if shape is None else tuple(shape)
        self.detokenise = detokenise

    @abstractmethod
    def values(self, module: VAEModule, examples: Examples) -> Tensor:
        """What is shown, row after row: [N, ...] in x's shape."""

    @override
    def draw(self, module: VAEModule, examples: Examples) -> Drawn:
        return self.laid_out(self.values(module, examples), self.row_size)

    def laid_out(self, values: Tensor, row_size: int) -> Drawn:
        """Images in a grid, or sentences in a table."""
        if self.detokenise is not None:
            return sentences(values, self.detokenise, row_size)
        return grid(pixels(as_images(values, self.shape), self.value_range), row_size)

    def encoded(self, module: VAEModule, examples: Examples) -> Codes:
        """The posterior means of examples."""
        if self.detokenise is None:
            refuse_outside(examples.x, self.value_range)
        means = module.embed(examples.x, **examples.context)
        return means if isinstance(means, tuple) else (means,)

    def decoded(self, module: VAEModule, codes: Sequence[Tensor], given: Examples) -> Tensor:
        """The means of p(x|z), with the context of as many examples."""
        context: Mapping[str, Any] = given.take(range(len(codes[0]))).context
        z = codes[0] if len(codes) == 1 else tuple(codes)
        likelihood = module.decode(z, **context)
        try:
            mean = likelihood.mean
        except NotImplementedError:
            raise TypeError(
                f"{type(self).__name__} shows the mean of the likelihood, and "
                f"{type(likelihood).__name__} has none; give it a mean property."
            ) from None
        if self.detokenise is None:
            self._refuse(likelihood, mean)
        return mean

    def _refuse(self, likelihood: object, mean: Tensor) -> None:
        try:
            as_images(mean[:1], self.shape)
        except ValueError as reason:
            raise ValueError(
                f"{type(self).__name__} draws images, but decode returned a "
                f"{type(likelihood).__name__}: {reason}"
            ) from None


def spaces_of(space: int | None, codes: Codes) -> list[int]:
    """The latent spaces that are meant: all, or one.

    Raises:
        ValueError: if there is no such space.
    """
    if space is None:
        return list(range(len(codes)))
    if not 0 <= space < len(codes):
        raise ValueError(
            f"space={space} does not exist: encode returns {len(codes)}, from 0 to "
            f"{len(codes) - 1}."
        )
    return [space]
