"""The rate spectrum of the validation set."""

import torch
from typing_extensions import Unpack, override

from lightning_vae.callbacks.picture import Picture, PictureOptions
from lightning_vae.module import VAEModule
from lightning_vae.pictures import Drawn, Examples
from lightning_vae.pictures.figure import rendered
from lightning_vae.pictures.spectrum import spectrum

__all__ = ["RateSpectrumFigure"]


class RateSpectrumFigure(Picture):
    """The rate of every latent in nats, from the most to the least: which are used, which are not.

    It is the mean over rank zero's share of what was validated on; over the epoch with
    ``on="train"``; of one batch where there was neither.

    Args:
        options: What every :class:`Picture` takes.

    >>> RateSpectrumFigure(every_n_epochs=10)
    RateSpectrumFigure(every_n_epochs=10)
    """

    shows = "rate_spectrum"
    needs = 64

    def __init__(self, **options: Unpack[PictureOptions]) -> None:
        super().__init__(**options)

    @override
    def draw(self, module: VAEModule, examples: Examples) -> Drawn:
        running = module.train_rate if self.on == "train" else module.val_rate
        rates = running.mean()
        if not rates:
            inferred = module.infer(examples.x, **examples.context)
            rates = tuple(latent.rate.float().mean(0) for latent in inferred)
        return rendered(spectrum([torch.as_tensor(rate) for rate in rates]))
