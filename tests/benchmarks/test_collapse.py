"""N² densities in blocks, against the same sums written directly: ratios within one run.

Run with ``pytest -s tests/benchmarks/test_collapse.py``; it prints what it asserts. "direct" is
``log_prob`` broadcast over all pairs, in blocks as well, or it would not fit into memory.
"""

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from lightning_vae import DiagonalGaussian, VAEModule
from lightning_vae.metrics import (
    elbo_decomposition,
    log_marginal_likelihood,
    mutual_information,
    passes,
)
from lightning_vae.networks import MLPDecoder, MLPEncoder

N, D, ROUNDS = 4000, 20, 3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ratio(name: str, slow: Callable[[], object], quick: Callable[[], object]) -> float:
    rounds = [(seconds(slow), seconds(quick)) for _ in range(ROUNDS)]
    found = median(s / q for s, q in rounds)
    print(f"\n{name}: {median(q for _, q in rounds):.3f} s, 1 / {found:.1f} of the direct sums")
    return found


def codes(n: int, d: int) -> tuple[DiagonalGaussian, Tensor]:
    q = DiagonalGaussian(0.95 * torch.randn(n, d), torch.rand(n, d) - 3)
    return q, q.rsample()


def direct(q: Normal, z: Tensor, per_latent: bool) -> Tensor:
    q = Normal(q.loc, q.scale)
    parts = []
    for rows in z.split(100):
        pairs = q.log_prob(rows.unsqueeze(1))
        parts.append((pairs if per_latent else pairs.sum(2)).logsumexp(1) - math.log(len(z)))
    return torch.cat(parts)


def test_mutual_information_is_a_matrix_product():
    q, z = codes(N, D)
    found = ratio(
        f"mutual information, {N} x {D}",
        lambda: direct(q, z, per_latent=False),
        lambda: mutual_information([q], [z]),
    )
    assert found >= 8


def test_the_decomposition_is_that_and_a_grid():
    q, z = codes(N, D)
    found = ratio(
        f"decomposition, {N} x {D}",
        lambda: (direct(q, z, per_latent=False), direct(q, z, per_latent=True)),
        lambda: elbo_decomposition([q], [z], torch.zeros(N)),
    )
    assert found >= 8


def test_the_likelihood_takes_its_samples_together():
    vae = VAEModule(MLPEncoder((64,), 8, (64,)), MLPDecoder((64,), 8, (64,)))
    x = torch.rand(16, 64)
    with torch.no_grad():
        found = ratio(
            "likelihood of 500 draws",
            lambda: log_marginal_likelihood(passes(vae, x, 500, at_once=1)),
            lambda: log_marginal_likelihood(passes(vae, x, 500)),
        )
    assert found >= 5


MEMORY = """
import torch
from lightning_vae import DiagonalGaussian
from lightning_vae.metrics import elbo_decomposition

def megabytes(field):
    line = next(line for line in open("/proc/self/status") if line.startswith(field))
    return int(line.split()[1]) / 1024

torch.set_num_threads(1)
q = DiagonalGaussian(0.95 * torch.randn({n}, 10), torch.rand({n}, 10) - {narrow})
z = q.rsample()
open("/proc/self/clear_refs", "w").write("5")  # the peak from here on
before = megabytes("VmRSS")
elbo_decomposition([q], [z], torch.zeros({n}))
print(megabytes("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("narrow", [3, 12], ids=["on a grid", "directly"])
def test_memory_is_bounded(narrow):
    """All pairs of 20,000 are 1.6 GB, and 16 GB with their ten latents."""
    n = 20_000 if narrow == 3 else 10_000
    done = subprocess.run(
        [sys.executable, "-c", MEMORY.format(n=n, narrow=narrow)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    grown = float(done.stdout)
    print(f"\n{n} x 10: {grown:.0f} MB more")
    assert 5 < grown < 200
