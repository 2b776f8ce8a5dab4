"""What test_ddp.py runs in two processes: ``python -m tests.objectives.two_processes FOLDER``."""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from tests.objectives.test_training import made
from tests.test_objectives import EXAMPLES


def trained(name: str) -> tuple[Trainer, dict[str, list[float]]]:
    """Two epochs of two batches a rank."""
    vae = made(EXAMPLES[name])
    x = torch.rand(32, 4, generator=torch.Generator().manual_seed(0))
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=2,
        # Of FactorVAE neither loss reaches all parameters.
        strategy="ddp_find_unused_parameters_true" if name == "FactorVAE" else "ddp",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(vae, DataLoader(x, 8), DataLoader(x, 8))
    return trainer, {key: value.tolist() for key, value in vae.state_dict().items()}


if __name__ == "__main__":
    found = {}
    for name in EXAMPLES:
        trainer, found[name] = trained(name)
    path = Path(sys.argv[1]) / f"{trainer.global_rank}.json"
    path.write_text(json.dumps(found))
