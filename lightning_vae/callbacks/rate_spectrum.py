"""The rate spectrum of the validation set."""

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from typing_extensions import Unpack, override

from lightning_vae.callbacks.picture import On, Picture, PictureOptions
from lightning_vae.latents import RunningRate
from lightning_vae.module import VAEModule
from lightning_vae.objectives.ranks import of_all_ranks
from lightning_vae.pictures import Drawn, Examples
from lightning_vae.pictures.figure import rendered
from lightning_vae.pictures.spectrum import spectrum

__all__ = ["RateSpectrumFigure"]


class RateSpectrumFigure(Picture):
    """The rate of every latent in nats, from the most to the least: which are used, which are not.

    It is the mean over all that was validated on, by all ranks; over the epoch with
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
        self._whole: tuple[Tensor, ...] = ()

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._gather(trainer, pl_module, "train")
        super().on_train_epoch_end(trainer, pl_module)
        self._whole = ()

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._gather(trainer, pl_module, "val")
        super().on_validation_end(trainer, pl_module)
        self._whole = ()

    @override
    def draw(self, module: VAEModule, examples: Examples) -> Drawn:
        running = module.train_rate if self.on == "train" else module.val_rate
        rates = self._whole or running.mean()
        if not rates:
            inferred = module.infer(examples.x, **examples.context)
            rates = tuple(latent.rate.float().mean(0) for latent in inferred)
        return rendered(spectrum([torch.as_tensor(rate) for rate in rates]))

    # ---- private -----------------------------------------------------------------------------------

    def _gather(self, trainer: Trainer, module: LightningModule, stage: On) -> None:
        """The mean over all ranks, each of which must ask."""
        if self.on == stage and self._due(trainer):
            assert isinstance(module, VAEModule)
            running = module.train_rate if stage == "train" else module.val_rate
            self._whole = sum(of_all_ranks(running.cpu()), start=RunningRate()).mean()
