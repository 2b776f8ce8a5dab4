"""Two real processes find what one would, from shares of unequal size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.distributions import Normal

from lightning_vae import DiagonalGaussian, Latent, VAEOutput
from lightning_vae.distributions import StandardGaussian
from lightning_vae.divergences import kl
from lightning_vae.metrics import (
    ActiveUnits,
    ELBODecomposition,
    MarginalLikelihood,
    MutualInformation,
    RateSpectrum,
    ShuffledGap,
    VarianceSaturation,
)

ROOT = Path(__file__).parent.parent.parent
SIZE = 64


def output_of(rows: slice, samples: int = 3) -> VAEOutput:
    generator = torch.Generator().manual_seed(0)
    loc, noise = torch.randn(2, SIZE, 4, generator=generator)[:, rows]
    noise = torch.stack([noise, -noise, noise * 0.5])[:samples]
    loc = loc * torch.tensor([1.0, 0.09, 0.12, 0.0])
    q = DiagonalGaussian(loc, torch.full_like(loc, -1.0))
    z = loc + noise * q.scale
    prior = StandardGaussian((4,))
    x = torch.zeros(len(loc), 4)
    latent = Latent(q, prior, z, kl(q, prior, z))
    distortion = -Normal(z, 1.0).log_prob(x).sum(2)
    return VAEOutput(x, Normal(z.flatten(0, 1), 1.0), (latent,), distortion)


def measured(output: VAEOutput) -> dict[str, list[float]]:
    metrics = {
        "active units": ActiveUnits(),
        "active by rate": ActiveUnits(of="rates"),
        "spectrum": RateSpectrum(),
        "information": MutualInformation(),
        "decomposition": ELBODecomposition(),
        "saturation": VarianceSaturation(prior=0.3),
        "likelihood": MarginalLikelihood(samples=3),
        "gap": ShuffledGap(),
    }
    found = {}
    for name, metric in metrics.items():
        # The other z of each is a constant here, so that it does not depend on the shares.
        decode = (lambda z: Normal(torch.ones_like(z), 1.0),) if name == "gap" else ()
        metric.update(output, *decode)
        value = metric.compute()
        value = torch.stack(list(value.values())) if isinstance(value, dict) else value
        found[name] = value.double().reshape(-1).tolist()
    return found


@pytest.mark.slow
def test_two_ranks_find_what_one_process_does(tmp_path):
    script = Path(__file__).parent / "two_processes.py"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=300,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert one == two
    whole, half = measured(output_of(slice(None))), measured(output_of(slice(0, 25)))
    for name, value in whole.items():
        assert one[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    assert one["information"] != pytest.approx(half["information"], rel=1e-2), "shares differ"
