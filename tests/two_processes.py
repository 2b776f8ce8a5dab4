"""What test_ddp.py runs in two processes: ``python two_processes.py fit|objective FOLDER``."""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import distributed
from torch.distributions import Normal
from torch.utils.data import DataLoader

from lightning_vae import BetaAnnealing, Cosine, CyclicalAnnealing, DiagonalGaussian, VAEModule
from lightning_vae.data import Arrays
from lightning_vae.networks import MLPDecoder, MLPEncoder
from tests.test_ddp import objectives, output_of

SCHEDULE = Cosine(0, 1, over=9)


class Stop(Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 3:
            cycles = next(c for c in trainer.callbacks if isinstance(c, CyclicalAnnealing))
            cycles.stop_cycling()


class Seen(VAEModule):
    def __init__(self) -> None:
        super().__init__(MLPEncoder((4,), 2), MLPDecoder((4,), 2))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(self.objective.beta)
        return super().training_step(batch, batch_idx)


def fit(folder: Path, callbacks: list[Callback], name: str) -> None:
    vae = Seen()
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=TensorBoardLogger(folder, name=name),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=callbacks,
    )
    data = torch.rand(32, 4, generator=torch.Generator().manual_seed(0))
    trainer.fit(vae, DataLoader(data, 4), DataLoader(data, 4))
    result = {
        "seen": vae.seen,
        "train/elbo": trainer.callback_metrics["train/elbo"].item(),
        "elbo": trainer.callback_metrics["val/elbo"].item(),
        "weights": [p.sum().item() for p in vae.parameters()],
    }
    (folder / f"{name}-{trainer.global_rank}.json").write_text(json.dumps(result))


class Certain(VAEModule):
    """A posterior without spread, so that draws are the same on every rank."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def encode(self, x):
        return DiagonalGaussian(self.scale * x, torch.full_like(x, -200.0))

    def decode(self, z):
        return Normal(0.5 * z, 1.0)


def validate(folder: Path, devices: int = 2) -> None:
    """Fifteen examples: an uneven share."""
    x = torch.rand(15, 4, generator=torch.Generator().manual_seed(0))
    options = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = Trainer(
        accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", **options
    )
    metrics = trainer.validate(Certain(), Arrays(train=x, val=x, batch_size=4), verbose=False)[0]
    (folder / f"validate-{trainer.global_rank}.json").write_text(json.dumps(metrics))


def objective(folder: Path) -> None:
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    results = {}
    for name, make in objectives().items():
        output = output_of(slice(8 * rank, 8 * rank + 8))
        loss = make()(output)["loss"]
        loss.backward()
        grad = output.latents[0].posterior.loc.grad / 2  # DDP averages over the ranks
        results[name] = {"loss": loss.item(), "grad": grad.tolist()}
    (folder / f"objective-{rank}.json").write_text(json.dumps(results))
    distributed.destroy_process_group()


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "objective":
        objective(folder)
    elif what == "validate":
        validate(folder)
    else:
        cycles = CyclicalAnnealing(cycles=3, ratio=1.0, unit="step", period=4)
        fit(folder, [BetaAnnealing(SCHEDULE, unit="step")], "annealed")
        fit(folder, [cycles, Stop()], "cycled")
