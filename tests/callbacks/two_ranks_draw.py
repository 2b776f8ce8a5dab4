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
    rate_spectrum,
)
from tests.callbacks.test_pictures import loader, small

SPECTRA = []  # the rates that were drawn


def recorded(rates):
    SPECTRA.append([rate.clone() for rate in rates])
    return drawn_spectrum(rates)


drawn_spectrum = rate_spectrum.spectrum
rate_spectrum.spectrum = recorded


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
    (own,) = vae.val_rate.mean()
    shares = [torch.empty_like(own) for _ in range(2)]
    torch.distributed.all_gather(shares, own)
    if SPECTRA:  # on rank zero
        assert not torch.allclose(*shares)
        torch.testing.assert_close(SPECTRA[-1], [sum(shares) / 2])
    return [*vae.losses, *(float(p.double().sum()) for p in vae.state_dict().values())]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    without = fit(folder, [])
    assert not SPECTRA
    pictures = [
        LatentTraversal(),
        PriorSamples(on="train"),
        RateSpectrumFigure(),
        ScheduleOverlay(),
    ]
    drawn = fit(folder, pictures)
    rank = torch.distributed.get_rank()
    assert bool(SPECTRA) == (rank == 0)
    (folder / f"{rank}.json").write_text(json.dumps([without, drawn]))
    assert all(bool(p.latest is None) == (rank > 0) for p in pictures[:3])
