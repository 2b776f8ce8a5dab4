"""What test_lagging.py runs in two processes: ``python lagging_processes.py FOLDER``."""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer

from lightning_vae import VAEModule
from lightning_vae.callbacks import CyclicalAnnealing, LaggingInference, Reset
from lightning_vae.data import Arrays
from lightning_vae.networks import MLPDecoder, MLPEncoder


def fit(folder: Path) -> None:
    torch.manual_seed(0)
    vae = VAEModule(MLPEncoder((4,), 2, (8,)), MLPDecoder((4,), 2, (8,)))
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
    result = {"weights": [p.tolist() for p in vae.parameters()], **state}
    (folder / f"lagging-{trainer.global_rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    fit(Path(sys.argv[1]))
