"""What test_two_processes.py runs: ``python two_processes.py FOLDER RANKS``."""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from torch import nn

from lightning_vae import ELBO, DiagonalGaussian, StandardNormal, VAEModule
from lightning_vae.callbacks import CollapseMonitor, EvaluationReport, LowerBeta
from lightning_vae.data import Arrays
from lightning_vae.likelihoods import Gaussian


class Certain(VAEModule):
    """A posterior whose draw is its mean, so that draws are the same on every rank."""

    def __init__(self) -> None:
        super().__init__(prior=StandardNormal(4), objective=ELBO(beta=4.0))
        self.scale = nn.Parameter(torch.tensor(0.9))

    def encode(self, x):
        return Mean(self.scale * x, torch.full_like(x, -1.0))

    def decode(self, z):
        return Gaussian()(0 * z)  # and a decoder that does not use them


class Mean(DiagonalGaussian):
    def rsample(self, sample_shape=()):
        return self.loc.expand(*sample_shape, *self.loc.shape)


def main(folder: Path, ranks: int) -> None:
    x = torch.randn(45, 4, generator=torch.Generator().manual_seed(0))
    monitor = CollapseMonitor(patience=1, action=LowerBeta(0.5))
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[monitor, EvaluationReport(str(folder / f"report-{ranks}"))],
    )
    vae, arrays = Certain(), Arrays(train=x, val=x, batch_size=45)
    # Its own gradient would move it by the batches of a rank.
    vae.configure_optimizers = lambda: torch.optim.SGD(vae.parameters(), lr=0.0)
    trainer.fit(vae, arrays)
    logged = {k: v.item() for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
    result = {"beta": vae.objective.beta, "logged": logged, **monitor.report()}
    trainer.validate(vae, arrays, verbose=False)
    (folder / f"{ranks}-{trainer.global_rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
