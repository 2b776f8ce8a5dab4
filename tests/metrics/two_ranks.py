"""What two processes run: python -m tests.metrics.two_ranks FOLDER DEVICES."""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.distributions import Normal
from torchmetrics import MeanSquaredError, Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_vae.callbacks import DisentanglementEvaluation, SampleQuality
from lightning_vae.metrics import (
    DCI,
    IRS,
    MIG,
    SAP,
    UDR,
    BetaVAEScore,
    Explicitness,
    FactorVAEScore,
    FrechetDistance,
    GaussianTotalCorrelation,
    Modularity,
    PosteriorMIG,
    PrecisionRecall,
    ReconstructionQuality,
    binned_boosted_trees,
)
from tests.callbacks.test_disentanglement import Factors, Perfect
from tests.metrics.codes import middling

SIZE = 501
FIRST = 180  # of them are the first process's; scores split examples by their order


def of_codes() -> dict[str, Metric]:
    return {
        "mig": MIG(),
        "sap": SAP(),
        "dci": DCI(fit=binned_boosted_trees),
        "factor": FactorVAEScore(train=300, test=300),
        "beta": BetaVAEScore(train=300, test=300),
        "modularity": Modularity(),
        "explicitness": Explicitness(),
        "irs": IRS(),
        "correlation": GaussianTotalCorrelation(),
    }


def values(metric: Metric) -> list[float]:
    found = metric.compute()
    parts = found.values() if isinstance(found, dict) else [found]
    return torch.cat([torch.as_tensor(part).reshape(-1) for part in parts]).tolist()


def measured(share: slice) -> dict[str, list[float]]:
    """What each metric makes of a share; in several processes, of all shares."""
    everything, classes = middling(SIZE)
    codes, factors = everything[share], classes[share]
    found = {}
    for name, metric in of_codes().items():
        metric.update(codes, factors)
        found[name] = values(metric)
    exact = PosteriorMIG(samples=200)
    exact.update(Normal(codes, 0.2), factors)
    ranked = UDR()
    models = torch.stack([codes, codes.flip(1), codes @ torch.ones(6, 6).tril()], 1)
    ranked.update(models, models.abs())
    images = everything.sigmoid().repeat(1, 24).view(-1, 1, 12, 12)[share]
    alike = ReconstructionQuality()
    alike.update((images + 0.1 * images.flip(2)).clamp(0, 1), images)
    distance, cover = FrechetDistance(nn.Flatten(), features=6), PrecisionRecall(nn.Flatten())
    for metric in (distance, cover):
        metric.update(codes, real=True)
        metric.update(codes**2, real=False)
    others = {
        "posterior mig": exact,
        "udr": ranked,
        "quality": alike,
        "frechet": distance,
        "cover": cover,
    }
    return {**found, **{name: values(metric) for name, metric in others.items()}}


class Synchronised(Callback):
    """Each process has an uneven share of one set; all compute the score of the whole."""

    def __init__(self) -> None:
        self.found: dict[str, list[float]] = {}

    def on_validation_end(self, trainer, pl_module) -> None:
        whole = trainer.world_size == 1
        share = slice(0, FIRST) if trainer.is_global_zero else slice(FIRST, None)
        self.found = measured(slice(None) if whole else share)


class Drawn(Metric):
    """How many samples there are, and how many different ones."""

    full_state_update = False
    samples: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("samples", [], dist_reduce_fx="cat")

    def update(self, x: Tensor, real: bool) -> None:
        if not real:
            self.samples.append(x)

    def compute(self) -> dict[str, float]:
        samples = dim_zero_cat(self.samples)
        return {"images": len(samples), "distinct": len(samples.unique(dim=0))}


def main(folder: Path, devices: int) -> None:
    watched = Synchronised()
    evaluated = DisentanglementEvaluation([MIG(), GaussianTotalCorrelation()], points=200)
    quality = SampleQuality([MeanSquaredError(), Drawn()])
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        callbacks=[evaluated, quality, watched],
    )
    torch.manual_seed(0)
    logged = trainer.validate(Perfect(), Factors(), verbose=False)[0]
    result = {
        "metrics": watched.found,
        "val/mig": logged["val/mig"],
        "val/mean_squared_error": logged["val/mean_squared_error"],
        "scores": evaluated.scores,
        "quality": quality.report(),
    }
    (folder / f"{devices}-{trainer.global_rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
