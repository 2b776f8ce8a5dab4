"""What two processes run: python -m tests.metrics.two_ranks FOLDER DEVICES."""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from lightning_vae.callbacks import DisentanglementEvaluation
from lightning_vae.metrics import IRS, MIG, FrechetDistance, GaussianTotalCorrelation, Modularity
from tests.callbacks.test_disentanglement import Factors, Perfect
from tests.metrics.codes import middling


class Synchronised(Callback):
    """Each process has an uneven share of one set; all compute the score of the whole."""

    def __init__(self):
        self.found = {}

    def on_validation_end(self, trainer, pl_module):
        codes, factors = middling(501)
        share = slice(trainer.global_rank, None, trainer.world_size)
        for metric in (MIG(), IRS(), Modularity()):
            metric.update(codes[share], factors[share])
            self.found[type(metric).__name__] = metric.compute().item()
        distance = FrechetDistance(nn.Flatten(), features=6)
        distance.update(codes[share], real=True)
        distance.update(codes[share] ** 2, real=False)
        self.found["frechet"] = distance.compute().item()


def main(folder, devices):
    watched, evaluated = (
        Synchronised(),
        DisentanglementEvaluation([MIG(), GaussianTotalCorrelation()], points=200),
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        callbacks=[evaluated, watched],
    )
    torch.manual_seed(0)
    logged = trainer.validate(Perfect(), Factors(), verbose=False)[0]
    result = {**watched.found, "val/mig": logged["val/mig"], "scores": evaluated.scores}
    (folder / f"{devices}-{trainer.global_rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
