"""Where examples lie in the latent space."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor
from typing_extensions import Unpack, override

from lightning_vae.arguments import one_of, whole
from lightning_vae.callbacks.picture import Picture, PictureOptions
from lightning_vae.module import VAEModule
from lightning_vae.pictures import Drawn, Examples, principal
from lightning_vae.pictures.figure import rendered
from lightning_vae.pictures.scatter import scatter

__all__ = ["LatentScatter"]


class LatentScatter(Picture):
    """The posterior means of examples as dots in the plane, in the colours of their labels.

    Args:
        points: Up to how many examples.
        projection: ``"latents"``, two of them as they are, or ``"pca"``, the two directions of the
            greatest variance.
        latents: Which two: places among the space's flattened factors.
        space: Which latent space.
        labels: Where a batch has its labels: a place in a tuple, a key of a dict. A batch without
            is drawn in one colour.
        column: Of labels with several columns, such as Sprites' factors, which.
        options: What every :class:`Picture` takes.

    Raises:
        ValueError: if an option is none of these; when first drawn, if there is no such latent,
            space or column.

    >>> LatentScatter(projection="latents", latents=(0, 3))
    LatentScatter(projection='latents', latents=(0, 3))
    """

    shows = "scatter"

    def __init__(
        self,
        points: int = 1024,
        projection: Literal["latents", "pca"] = "pca",
        latents: tuple[int, int] = (0, 1),
        space: int = 0,
        labels: int | str = 1,
        column: int = 0,
        **options: Unpack[PictureOptions],
    ) -> None:
        super().__init__(**options)
        self.points = self.needs = whole("points", points)
        self.projection = one_of("projection", projection, ("latents", "pca"))
        self.latents = (latents[0], latents[1])
        self.space, self.labels, self.column = space, labels, column

    @override
    def examples(self, module: VAEModule, batch: Any) -> Examples:
        return replace(super().examples(module, batch), labels=self._labels(batch))

    @override
    def draw(self, module: VAEModule, examples: Examples) -> Drawn:
        means = module.embed(examples.x, **examples.context)
        spaces = means if isinstance(means, tuple) else (means,)
        if not 0 <= self.space < len(spaces):
            raise ValueError(f"space={self.space} does not exist: encode returns {len(spaces)}.")
        codes = spaces[self.space].flatten(1)
        if self.projection == "pca":
            return rendered(scatter(principal(codes), examples.labels, ("first", "second")))
        if not all(0 <= latent < codes.shape[1] for latent in self.latents):
            raise ValueError(f"latents={self.latents} do not exist: there are {codes.shape[1]}.")
        names = (f"z{self.latents[0]}", f"z{self.latents[1]}")
        return rendered(scatter(codes[:, self.latents], examples.labels, names))

    def _labels(self, batch: Any) -> Tensor | None:
        labels = _part(batch, self.labels)
        if not isinstance(labels, Tensor):
            return None
        columns = labels.unsqueeze(1) if labels.dim() == 1 else labels
        if columns.dim() != 2 or not 0 <= self.column < columns.shape[1]:
            raise ValueError(
                f"labels have shape {tuple(labels.shape)}, and column={self.column} is none of "
                f"theirs; write column=0 for the first."
            )
        return columns[:, self.column]


def _part(batch: Any, place: int | str) -> Any:
    if isinstance(batch, Mapping):
        return batch.get(place)
    if isinstance(batch, list | tuple) and isinstance(place, int) and place < len(batch):
        return batch[place]
    return None
