"""Which cures keep a text VAE from collapsing, on toy text or the Penn Treebank: a table and a plot.

    python -m tests.benchmarks.text_cures toy --out FOLDER [--seeds 3] [--arms constant cyclical ...]
    python -m tests.benchmarks.text_cures ptb --root PTB --out FOLDER --seeds 1 --steps 2000

Every arm and seed is one fit of so many optimizer steps, in sixteen parts; what is done already in
FOLDER is kept. Reported of test sentences: distortion, rate, mutual information with its ceiling
log N, active units (variance of the means above 0.01), the negative log-likelihood by 100 importance
samples, and its perplexity a word. None of them says alone whether z is used.
"""

import argparse
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer, seed_everything
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from lightning_vae import ELBO, BetaAnnealing, Constant, CyclicalAnnealing, Linear, VAEModule
from lightning_vae.callbacks import (
    LaggingInference,
    MinimumRate,
    RateController,
    Reset,
    ResetAt,
)
from lightning_vae.data import Text, ToyText
from lightning_vae.metrics import ActiveUnits, MarginalLikelihood, MutualInformation, passes
from lightning_vae.networks import LSTMDecoder, LSTMEncoder
from lightning_vae.posteriors import BatchNormGaussian, DeltaGaussian, Posterior

PARTS = 16  # of a fit: what its epochs are


@dataclass(frozen=True)
class Setting:
    """Sentences, the size of a VAE of them, and what its cures aim at."""

    data: LightningDataModule
    words: int
    latent: int
    width: int
    dropout: float
    lr: float
    rate: float  # nats that controllers hold
    floor: float  # nats of free bits, in all
    gamma: float  # of batch norm
    steps: int
    likelihoods: int  # every so-manieth batch of the test set has its likelihood measured
    precision: Any = "32-true"


@dataclass(frozen=True)
class Cure:
    """What an arm adds to a constant beta of 1."""

    callbacks: list[Any] = field(default_factory=list)
    objective: ELBO = field(default_factory=ELBO)
    posterior: Posterior | None = None
    restarts: bool = False  # of the learning rate, four times


def toy(root: str) -> Setting:
    data = ToyText(words=50, length=6, train_size=2000, batch_size=32)
    return Setting(
        data, data.vocabulary_size, 2, 32, 0.0, 2e-3, 1.0, 1.0, gamma=0.7, steps=1280, likelihoods=1
    )


def ptb(root: str) -> Setting:
    data = Text(root, batch_size=32)
    wide = {"steps": 2000, "likelihoods": 8, "precision": "bf16-mixed"}
    return Setting(
        data, len(data.vocabulary.words), 32, 256, 0.5, 1e-3, 3.0, 5.0, gamma=0.6, **wide
    )


SETTINGS: dict[str, Callable[[str], Setting]] = {"toy": toy, "ptb": ptb}


def monotone() -> BetaAnnealing:
    return BetaAnnealing(Linear(0, 1, over=0.5), unit="run")


def pretrained(setting: Setting) -> Cure:
    """An autoencoder for a quarter, then another decoder and free bits (Li et al. 2019)."""
    quarter = PARTS // 4
    rise = Constant(0, over=quarter) >> Linear(0, 1, over=quarter)
    anew = ResetAt(quarter, Reset(optimizer=True, modules=("decoder",)))
    return Cure([BetaAnnealing(rise), anew], ELBO(free_bits=setting.floor, per="total"))


ARMS: dict[str, Callable[[Setting], Cure]] = {
    "constant": lambda s: Cure(),
    "monotone": lambda s: Cure([monotone()]),
    "monotone, LR restarts": lambda s: Cure([monotone()], restarts=True),
    "cyclical": lambda s: Cure([CyclicalAnnealing(cycles=4)]),
    "cyclical, LR restarts": lambda s: Cure([CyclicalAnnealing(cycles=4)], restarts=True),
    "rate controller": lambda s: Cure([RateController(s.rate)]),
    "minimum rate": lambda s: Cure([MinimumRate(s.rate)]),
    "free bits": lambda s: Cure(objective=ELBO(free_bits=s.floor, per="total")),
    "pretrained": pretrained,
    "batch norm": lambda s: Cure(posterior=BatchNormGaussian(s.latent, gamma=s.gamma)),
    "delta": lambda s: Cure(posterior=DeltaGaussian(s.floor / s.latent / 2)),
    "lagging": lambda s: Cure([LaggingInference(patience=3)]),
}


def fitted(arm: str, seed: int, setting: Setting) -> VAEModule:
    seed_everything(seed, verbose=False)
    cure = ARMS[arm](setting)
    sizes = (setting.words, setting.latent, setting.width, setting.width)
    restarts = partial(CosineAnnealingWarmRestarts, T_0=PARTS // 4) if cure.restarts else None
    vae = VAEModule(
        LSTMEncoder(*sizes, dropout=setting.dropout, posterior=cure.posterior),
        LSTMDecoder(*sizes, length=85, dropout=setting.dropout),
        objective=cure.objective,
        optimizer=partial(torch.optim.Adam, lr=setting.lr),
        lr_scheduler=restarts,
    )
    trainer = Trainer(
        max_steps=setting.steps,
        max_epochs=-1,
        limit_train_batches=-(-setting.steps // PARTS),
        limit_val_batches=20,
        accelerator="cpu",
        precision=setting.precision,
        gradient_clip_val=5.0,
        callbacks=cure.callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(vae, setting.data)
    return vae.eval()


@torch.no_grad()
def measured(vae: VAEModule, setting: Setting) -> dict[str, float]:
    torch.manual_seed(0)
    setting.data.setup("test")
    active, information, means = ActiveUnits(), MutualInformation(), Means()
    for x in setting.data.test_dataloader():
        output = vae(x)
        for each in (active, information, means):
            each.update(output)
    return {
        **means.compute(),
        **{name: value.item() for name, value in information.compute().items()},
        "active": int(active.compute()),
        **likelihood(vae, islice(setting.data.test_dataloader(), 0, None, setting.likelihoods)),
    }


class Means:
    """The distortion and rate of an example, and how many there were."""

    def __init__(self) -> None:
        self.terms: list[Tensor] = []

    def update(self, output: Any) -> None:
        self.terms.append(torch.stack([output.distortion, output.rate], 1))

    def compute(self) -> dict[str, float]:
        terms = torch.cat(self.terms)
        distortion, rate = terms.mean(0).tolist()
        return {"distortion": distortion, "rate": rate, "sentences": len(terms)}


def likelihood(vae: VAEModule, batches: Iterator[Tensor]) -> dict[str, float]:
    metric = MarginalLikelihood(samples=100)
    for x in batches:
        metric.update(passes(vae, x, metric.samples))
    found = {name: value.item() for name, value in metric.compute().items()}
    return {"nll": found["nll"], "nll_error": found["standard_error"], "ppl": found["perplexity"]}


COLUMNS = {
    "distortion": "distortion",
    "rate": "rate",
    "mutual_information": "information",
    "active": "active",
    "nll": "NLL",
    "ppl": "perplexity",
    "minutes": "minutes",
}


def table(rows: list[dict]) -> str:
    lines = [f"| arm | seeds | {' | '.join(COLUMNS.values())} |", "|---|--:" + "|--:" * 7 + "|"]
    for arm, own in by_arm(rows).items():
        cells = [_cell([row[column] for row in own]) for column in COLUMNS]
        lines.append(f"| {arm} | {len(own)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def by_arm(rows: list[dict]) -> dict[str, list[dict]]:
    found = {arm: [row for row in rows if row["arm"] == arm] for arm in ARMS}
    return {arm: own for arm, own in found.items() if own}


def _cell(values: list[float]) -> str:
    if len(set(values)) == 1:
        return f"{values[0]:.4g}"
    return f"{mean(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def plot(rows: list[dict], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    colours = plt.get_cmap("tab20").colors
    for i, (arm, own) in enumerate(by_arm(rows).items()):
        for ax, column in zip(axes, ("mutual_information", "nll"), strict=True):
            x, y = [row["rate"] for row in own], [row[column] for row in own]
            ax.plot(x, y, "o", color=colours[i], label=arm, alpha=0.8)
    axes[0].axline((0, 0), slope=1, color="0.7", lw=1, zorder=0)
    for ax, label in zip(axes, ("mutual information", "NLL, 100 samples"), strict=True):
        ax.set(xlabel="rate (nats)", ylabel=f"{label} (nats)")
        ax.grid(alpha=0.3)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside right", fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", choices=list(SETTINGS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--root", default="data/ptb", help="folder of the Penn Treebank")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="optimizer steps of a fit")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for seed in range(args.seeds):
        for arm in args.arms:
            run(arm, seed, args)
    rows = [json.loads(path.read_text()) for path in sorted(args.out.glob("*.json"))]
    (args.out / "table.md").write_text(table(rows) + "\n")
    plot(rows, args.out / f"{args.corpus}_text.png")
    print(table(rows))


def run(arm: str, seed: int, args: argparse.Namespace) -> None:
    path = args.out / f"{arm.replace(', ', '_').replace(' ', '_')}-{seed}.json"
    if path.exists():
        return
    setting = SETTINGS[args.corpus](args.root)
    if args.steps is not None:
        setting = replace(setting, steps=args.steps)
    print(f"{arm}, seed {seed}", flush=True)
    start = time.perf_counter()
    vae = fitted(arm, seed, setting)
    minutes = (time.perf_counter() - start) / 60
    row = {"arm": arm, "seed": seed, "steps": setting.steps, "minutes": minutes}
    path.write_text(json.dumps({**row, **measured(vae, setting)}))


if __name__ == "__main__":
    main()
