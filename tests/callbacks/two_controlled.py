"""What test_control_ddp.py runs in two processes: ``python two_controlled.py FOLDER``."""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_vae import Linear
from lightning_vae.callbacks import GECO, REWO, MinimumRate, RateController, SoftFreeBits

EPOCHS, BATCHES, SIZE = 4, 5, 8
X = torch.randn(EPOCHS, BATCHES, SIZE, 4, generator=torch.Generator().manual_seed(0)) * 1.5


def controllers() -> dict[str, RateController | GECO | REWO | MinimumRate | SoftFreeBits]:
    own = {"target": "kl_weight"}
    return {
        "rate": RateController(Linear(3, 1.5, over=8), **own),
        "GECO": GECO(4.0, nu=0.05, limit=1.0, alpha=0.8, **own),
        "REWO": REWO(12.0, nu=0.05, limit=1.0, alpha=0.8, start=0.5, **own),
        "minimum rate": MinimumRate(2.0, lr=0.02, **own),
        "soft free bits": SoftFreeBits(2.0, step=0.05, **own),
    }


class Expected(LightningModule):
    """A linear-Gaussian VAE without noise: its loss is the mean over examples of an expectation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(4, 2), nn.Linear(2, 4)
        self.log_variance = nn.Parameter(torch.zeros(2))
        self.kl_weight = 1.0
        self.seen: list[tuple[float, float]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        ranks, rank = self.trainer.world_size, self.trainer.global_rank
        x = X[self.current_epoch, batch_idx].chunk(ranks)[rank]
        mean, variance = self.encoder(x), self.log_variance.exp()
        rate = 0.5 * (mean.square() + variance - 1 - self.log_variance).sum(1).mean()
        noise = (self.decoder.weight.square() * variance).sum()
        distortion = (x - self.decoder(mean)).square().sum(1).mean() + noise
        loss = distortion + self.kl_weight * rate
        self.seen.append(self.kl_weight)
        return {"loss": loss, "rate": rate.detach(), "distortion": distortion.detach()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.05)


def fit(folder: Path, devices: int) -> None:
    results = {}
    for name, controller in controllers().items():
        module = Expected()
        trainer = Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            devices=devices,
            strategy="ddp" if devices > 1 else "auto",
            accumulate_grad_batches=2,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            callbacks=[controller],
        )
        trainer.fit(module, DataLoader(torch.zeros(BATCHES * devices), 1))
        key = controller.observed_key
        results[name] = {
            "seen": module.seen,
            "observed": trainer.callback_metrics[key].item(),
            "state": controller.state_dict(),
        }
    (folder / f"{devices}-{trainer.global_rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    fit(Path(sys.argv[1]), devices=2)
