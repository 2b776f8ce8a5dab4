"""Two real processes: every rank sees one schedule, and two ranks minimise what one would."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from lightning_vae import ELBO, Cosine, DiagonalGaussian, Latent, VAEOutput
from lightning_vae.distributions import Bernoulli, StandardGaussian
from tests.callbacks.test_annealing import events

ROOT = Path(__file__).parent.parent
SCRIPT = Path(__file__).parent / "two_processes.py"


def objectives() -> dict[str, Callable[[], ELBO]]:
    """Those whose loss is not linear in the rate, so that a rank's own mean will not do."""
    return {
        "free bits per latent": lambda: ELBO(free_bits=0.6),
        "free bits on the total": lambda: ELBO(free_bits=2.0, per="total"),
        "capacity": lambda: ELBO(beta=10.0, capacity=1.9),
        "free bits per example": lambda: ELBO(free_bits=0.6, batch_mean=False),
        "plain": lambda: ELBO(beta=0.5),
    }


def output_of(rows: slice) -> VAEOutput:
    generator = torch.Generator().manual_seed(0)
    loc = torch.randn(16, 3, generator=generator, dtype=torch.float64)[rows].requires_grad_()
    posterior = DiagonalGaussian(loc, torch.zeros_like(loc))
    prior = StandardGaussian((3,), like=loc)
    rate = torch.distributions.kl_divergence(posterior, prior)
    x = torch.zeros(len(loc), 4, dtype=torch.float64)
    latent = Latent(posterior, prior, loc, rate)
    return VAEOutput(x, Bernoulli(x), (latent,), -Bernoulli(x).log_prob(x).sum(1))


def run(what: str, folder: Path, *launcher: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, str(SCRIPT), what, str(folder)],
        env=environment,
        cwd=folder,
        timeout=300,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_ranks_see_equal_values_and_agree_on_everything(tmp_path):
    run("fit", tmp_path)
    for name in ("annealed", "cycled"):
        one, two = (json.loads((tmp_path / f"{name}-{r}.json").read_text()) for r in (0, 1))
        assert one == two
        assert len(one["seen"]) == 12
        curve = events(next((tmp_path / name).iterdir()))["schedule/beta"]
        assert curve == [(x, pytest.approx(beta)) for x, beta in enumerate(one["seen"])]
        if name == "annealed":
            assert one["seen"] == [Cosine(0, 1, over=9)(t) for t in range(12)]
        else:
            assert one["seen"] == [0, 0.25, 0.5, 0.75, *[1.0] * 8]


@pytest.mark.slow
def test_validation_is_exact_over_uneven_shares(tmp_path):
    run("validate", tmp_path)
    ranks = [json.loads((tmp_path / f"validate-{r}.json").read_text()) for r in (0, 1)]
    x = torch.rand(15, 4, generator=torch.Generator().manual_seed(0))
    distortion = -Normal(0.5 * x, 1.0).log_prob(x).sum(1).mean().item()
    exact = kl_divergence(Normal(x.double(), math.exp(-100)), Normal(0.0, 1.0).expand((4,)))
    rate = exact.sum(1).mean().item()
    for metrics in ranks:
        assert metrics["val/distortion"] == pytest.approx(distortion, rel=1e-6)
        assert metrics["val/elbo"] == pytest.approx(-distortion - rate, rel=1e-6)


@pytest.mark.slow
def test_two_ranks_minimise_what_one_process_would(tmp_path):
    run("objective", tmp_path, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    ranks = [json.loads((tmp_path / f"objective-{r}.json").read_text()) for r in (0, 1)]
    for name, make in objectives().items():
        whole = output_of(slice(None))
        loss = make()(whole)["loss"]
        loss.backward()
        grad = torch.tensor([row for rank in ranks for row in rank[name]["grad"]])
        expected = whole.latents[0].posterior.loc.grad
        torch.testing.assert_close(grad.double(), expected, atol=1e-7, rtol=1e-6, msg=name)
        losses = [rank[name]["loss"] for rank in ranks]
        if name not in ("plain", "free bits per example"):
            assert losses[0] == pytest.approx(losses[1]) == pytest.approx(loss.item()), name
