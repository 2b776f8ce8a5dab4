"""Which cures keep a text VAE from collapsing, on toy text: a table and a plot.

    python -m tests.benchmarks.toy_text --out FOLDER [--seeds 3] [--epochs 20] [--arms uncured ...]

Every arm and seed is one fit; what is done already in FOLDER is kept. Reported of 1,000 test
sentences: distortion, rate, mutual information (its ceiling is log 1000 = 6.9 nats), active units
(variance of the means of at least 0.01), the negative log-likelihood by 100 importance samples, and
its perplexity a word. None of them says alone whether z is used.
"""

import argparse
import json
import logging
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import torch
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor

from lightning_vae import ELBO, BetaAnnealing, Constant, CyclicalAnnealing, Linear, VAEModule
from lightning_vae.callbacks import LaggingInference, Reset, ResetAt
from lightning_vae.callbacks.lagging import batch_information
from lightning_vae.data import ToyText
from lightning_vae.distributions.sentences import PADDING
from lightning_vae.networks import LSTMDecoder, LSTMEncoder
from lightning_vae.objectives import importance_bound
from lightning_vae.objectives.densities import log_density
from lightning_vae.posteriors import BatchNormGaussian, DeltaGaussian

LATENT, WIDTH = 2, 32

# Every arm as (callbacks of a fit of so many epochs, objective, posterior).
ARMS: dict[str, Callable[[int], tuple]] = {
    "uncured": lambda epochs: ([], ELBO(), None),
    "monotone": lambda epochs: (
        [BetaAnnealing(Linear(0, 1, over=0.5), unit="run")],
        ELBO(),
        None,
    ),
    "cyclical": lambda epochs: ([CyclicalAnnealing(cycles=4)], ELBO(), None),
    "lagging": lambda epochs: ([LaggingInference(patience=3)], ELBO(), None),
    "free bits": lambda epochs: ([], ELBO(free_bits=0.5), None),
    "pretrained": lambda epochs: (
        [
            BetaAnnealing(Constant(0, over=epochs // 4) >> Linear(0, 1, over=epochs // 4)),
            ResetAt(epochs // 4, Reset(optimizer=True, modules=("decoder",))),
        ],
        ELBO(free_bits=0.5),
        None,
    ),
    "batch norm": lambda epochs: ([], ELBO(), BatchNormGaussian(LATENT, gamma=0.7)),
    "delta": lambda epochs: ([], ELBO(), DeltaGaussian(0.25)),
}


def toy() -> ToyText:
    return ToyText(words=50, length=6, train_size=2000, batch_size=32)


def fitted(arm: str, seed: int, epochs: int) -> VAEModule:
    seed_everything(seed, verbose=False)
    callbacks, objective, posterior = ARMS[arm](epochs)
    data = toy()
    vae = VAEModule(
        LSTMEncoder(data.vocabulary_size, LATENT, WIDTH, WIDTH, posterior=posterior),
        LSTMDecoder(data.vocabulary_size, LATENT, WIDTH, WIDTH, length=7),
        objective=objective,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=2e-3),
    )
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=callbacks,
        enable_model_summary=False,
        **quiet,
    )
    trainer.fit(vae, data)
    return vae.eval()


@torch.no_grad()
def importance_nll(vae: VAEModule, x: Tensor, samples: int = 100) -> Tensor:
    """The negative log-likelihood of every sentence, [B] nats."""
    bounds = []
    for part in x.split(50):
        output = vae(part, samples=samples)
        (latent,) = output.latents
        ratio = log_density(latent.posterior, latent.z, 2) - log_density(latent.prior, latent.z, 2)
        bounds.append(importance_bound(-output.distortion - ratio))
    return -torch.cat(bounds)


@torch.no_grad()
def measured(vae: VAEModule) -> dict[str, float]:
    torch.manual_seed(0)
    x = torch.cat(list(toy().test_dataloader()))  # all are of one length
    output, nll = vae(x), importance_nll(vae, x).mean().item()
    return {
        "distortion": output.distortion.mean().item(),
        "rate": output.rate.mean().item(),
        "information": batch_information(output.latents).mean().item(),
        "active": int((vae.embed(x).var(0) >= 0.01).sum()),
        "nll": nll,
        "perplexity": math.exp(nll / (x != PADDING).sum(1).float().mean().item()),
    }


def table(rows: list[dict]) -> str:
    columns = ["distortion", "rate", "information", "active", "nll", "perplexity", "seconds"]
    lines = [f"| arm | seeds | {' | '.join(columns)} |", "|---|--:" + "|--:" * len(columns) + "|"]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        cells = [_cell([row[column] for row in own]) for column in columns]
        lines.append(f"| {arm} | {len(own)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    return f"{mean(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def plot(rows: list[dict], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        for ax, column in zip(axes, ("information", "nll"), strict=True):
            ax.plot([r["rate"] for r in own], [r[column] for r in own], "o", label=arm, alpha=0.7)
    for ax, label in zip(axes, ("mutual information", "NLL, 100 samples"), strict=True):
        ax.set(xlabel="rate (nats)", ylabel=f"{label} (nats)")
        ax.grid(alpha=0.3)
    axes[1].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for seed in range(args.seeds):
        for arm in args.arms:
            path = args.out / f"{arm.replace(' ', '_')}-{seed}.json"
            if not path.exists():
                start = time.perf_counter()
                found = measured(fitted(arm, seed, args.epochs))
                seconds = time.perf_counter() - start
                path.write_text(json.dumps({"arm": arm, "seed": seed, "seconds": seconds, **found}))
    rows = [json.loads(path.read_text()) for path in sorted(args.out.glob("*.json"))]
    rows.sort(key=lambda row: list(ARMS).index(row["arm"]))
    (args.out / "table.md").write_text(table(rows) + "\n")
    plot(rows, args.out / "toy_text.png")
    print(table(rows))


if __name__ == "__main__":
    main()
