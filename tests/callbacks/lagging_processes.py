"""What test_lagging.py runs in two processes: ``python lagging_processes.py FOLDER``."""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer

from lightning_vae import ELBO, VAEModule, VAEOutput
from lightning_vae.callbacks import CyclicalAnnealing, LaggingInference, Reset
from lightning_vae.data import Arrays
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.posteriors import BatchNormGaussian


def fit(folder: Path) -> None:
    torch.manual_seed(0)
    head, rates = BatchNormGaussian(2, gamma=0.6), []
    vae = VAEModule(MLPEncoder((4,), 2, (8,), posterior=head), MLPDecoder((4,), 2, (8,)))

    def note(objective: ELBO, outputs: tuple[VAEOutput]) -> None:
        if vae.training:
            rates.append(outputs[0].rate.mean().item())

    vae.objective.register_forward_pre_hook(note)
    reset = Reset(optimizer=True, modules=("decoder",))
    lagging = LaggingInference(most=5, window=2, patience=2)
    cycles = CyclicalAnnealing(cycles=2, unit="epoch", period=2, reset=reset)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = Trainer(
        max_epochs=4,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        callbacks=[lagging, cycles],
        **quiet,
    )
    x = torch.rand(30, 4, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(trainer.global_rank)  # each rank has noise of its own
    trainer.fit(vae, Arrays(train=x, val=x, batch_size=4))
    state = {"best": lagging.best, "aggressive": lagging.aggressive, "waited": lagging.waited}
    assert min(rates) >= head.floor - 1e-4, "on every rank, and so in the mean of all"
    averages = [head.mean.tolist(), head.variance.tolist()]
    result = {"weights": [p.tolist() for p in vae.parameters()], "averages": averages, **state}
    (folder / f"lagging-{trainer.global_rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    fit(Path(sys.argv[1]))
