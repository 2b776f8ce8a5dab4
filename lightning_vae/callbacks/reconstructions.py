"""Reconstructions beside what they are of."""

import torch
from torch import Tensor
from typing_extensions import Unpack, override

from lightning_vae.callbacks.decoded import Decoded, DecodedOptions
from lightning_vae.module import VAEModule
from lightning_vae.pictures import Examples

__all__ = ["Reconstructions"]


class Reconstructions(Decoded):
    """Examples, and below each its reconstruction: the mean of p(x|z) at the mean of q(z|x).

    Args:
        options: What every :class:`Decoded` picture takes; ``row_size`` is how many examples.

    >>> Reconstructions(row_size=4, every_n_epochs=5)
    Reconstructions(row_size=4, every_n_epochs=5)
    """

    shows = "reconstructions"

    def __init__(self, **options: Unpack[DecodedOptions]) -> None:
        super().__init__(**options)
        self.needs = self.row_size

    @override
    def values(self, module: VAEModule, examples: Examples) -> Tensor:
        shown = examples.cycled(self.row_size)
        reconstructions = self.decoded(module, self.encoded(module, shown), shown)
        return torch.cat([shown.x.to(reconstructions), reconstructions])
