"""What test_pictures.py runs in two processes: ``python two_ranks_draw.py FOLDER``."""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer

from lightning_vae.callbacks import (
    LatentTraversal,
    PriorSamples,
    RateSpectrumFigure,
    ScheduleOverlay,
)
from tests.callbacks.test_pictures import loader, small


def fit(folder: Path, callbacks: list) -> list[float]:
    vae = small()
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=callbacks,
    )
    trainer.fit(vae, loader(), loader())
    return [*vae.losses, *(float(p.double().sum()) for p in vae.state_dict().values())]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    without = fit(folder, [])
    pictures = [
        LatentTraversal(),
        PriorSamples(on="train"),
        RateSpectrumFigure(),
        ScheduleOverlay(),
    ]
    drawn = fit(folder, pictures)
    rank = torch.distributed.get_rank()
    (folder / f"{rank}.json").write_text(json.dumps([without, drawn]))
    assert all(bool(p.latest is None) == (rank > 0) for p in pictures[:3])
