"""What test_two_processes.py runs: two ranks, of which the second has nothing to validate on.

The module logs nothing: what is logged over ranks Lightning itself waits for, before any callback.
"""

from collections.abc import Iterator

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, distributed
from torch.utils.data import DataLoader, IterableDataset

from lightning_vae import VAEOutput
from lightning_vae.callbacks import CollapseMonitor
from tests.callbacks.two_processes import Certain


class Silent(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.vae = Certain()

    def validation_step(self, batch: Tensor, batch_idx: int) -> VAEOutput:
        return self.vae(batch)


class OnlyTheFirst(IterableDataset):
    def __iter__(self) -> Iterator[Tensor]:
        if distributed.get_rank() == 0:
            yield torch.randn(8, 4)


if __name__ == "__main__":
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=False,
        enable_progress_bar=False,
        callbacks=[CollapseMonitor()],
    )
    trainer.validate(Silent(), DataLoader(OnlyTheFirst(), batch_size=None), verbose=False)
