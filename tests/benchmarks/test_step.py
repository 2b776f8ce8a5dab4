"""What a training step costs beside a hand-written loop: ratios within one run.

Run with ``pytest -s tests/benchmarks/test_step.py``; it prints the table it asserts. "bare" is the
hand-written network in a LightningModule of two methods: what Lightning costs by itself, on this
machine and at this time, before this package adds anything.
"""

import statistics
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lightning_vae import BetaAnnealing, Linear, VAEModule
from lightning_vae.networks import MLPDecoder, MLPEncoder

STEPS, ROUNDS, BATCH = 100, 11, 128


class Clocked:
    """The same batches in the same order, noting the time at which each is asked for."""

    def __init__(self, batches: list[Tensor]) -> None:
        self.batches, self.times = batches, []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Tensor]:
        for batch in self.batches:
            self.times.append(time.perf_counter())
            yield batch

    def p10(self) -> float:
        steps = sorted(b - a for a, b in zip(self.times[10:], self.times[11:], strict=False))
        return steps[len(steps) // 10]


class RawVAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.heads = nn.Linear(784, 400), nn.Linear(400, 40)
        self.up, self.out = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, x: Tensor) -> Tensor:
        mu, log_variance = self.heads(self.hidden(x.flatten(1)).relu()).chunk(2, 1)
        z = mu + torch.randn_like(mu) * (0.5 * log_variance).exp()
        logits = self.out(self.up(z).relu())
        bce = binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="sum")
        kl = -0.5 * (1 + log_variance - mu.square() - log_variance.exp()).sum()
        return (bce + kl) / len(x)


def raw(batches: list[Tensor], fused: bool) -> float:
    model, clocked = RawVAE(), Clocked(batches)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    for x in clocked:
        optimizer.zero_grad()
        model(x).backward()
        optimizer.step()
    return clocked.p10()


class Bare(LightningModule):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.model, self.fused = RawVAE(), fused

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.model(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3, fused=self.fused)


def fit(module: LightningModule, batches: list[Tensor], **kwargs) -> float:
    trainer = Trainer(
        max_epochs=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **kwargs,
    )
    clocked = Clocked(batches)
    trainer.fit(module, clocked)
    return clocked.p10()


def ours(batches: list[Tensor], root: str, fused: bool) -> float:
    vae = VAEModule(
        MLPEncoder((1, 28, 28), latent=20),
        MLPDecoder((1, 28, 28), latent=20),
        optimizer=lambda p: torch.optim.Adam(p, lr=1e-3, fused=fused),
    )
    annealing = BetaAnnealing(Linear(0, 1, over=STEPS), unit="step")
    return fit(vae, batches, logger=TensorBoardLogger(root), callbacks=[annealing])


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_step_costs_little_more_than_a_hand_written_loop(tmp_path):
    batches = list(torch.rand(STEPS, BATCH, 1, 28, 28))
    contenders: dict[str, Callable[[], float]] = {
        "raw, Adam": lambda: raw(batches, fused=False),
        "ours, Adam": lambda: ours(batches, str(tmp_path), fused=False),
        "raw, fused Adam": lambda: raw(batches, fused=True),
        "bare, fused Adam": lambda: fit(Bare(fused=True), batches, logger=False),
        "ours, fused Adam": lambda: ours(batches, str(tmp_path), fused=True),
    }
    rounds = [{name: run() for name, run in contenders.items()} for _ in range(ROUNDS + 1)][1:]
    ratios = {
        name: statistics.median(times[name] / times["raw, Adam"] for times in rounds)
        for name in contenders
    }
    milliseconds = 1e3 * statistics.median(times["raw, Adam"] for times in rounds)
    print(f"\nraw, Adam: p10 {milliseconds:.2f} ms a step")
    for name, ratio in ratios.items():
        print(f"{name:18} {ratio:.3f}")
    assert ratios["ours, Adam"] <= 1.20
    # 0.97, where Lightning by itself leaves room for it.
    assert ratios["ours, fused Adam"] <= max(0.97, ratios["bare, fused Adam"] + 0.08)
