"""Disentanglement metrics beside loops over pairs and votes: ratios within one run.

Run with ``pytest -s tests/benchmarks/test_disentanglement.py``; it prints the table it asserts. 10,000 codes
of ten latents and five factors, the sizes of dSprites; one thread; what is compared is in turn, and
the median of the ratios of neighbours is judged.
"""

import time
from statistics import median

import numpy as np
import pytest
import torch

from lightning_vae.metrics import factor_vae_score, irs, mig, sap
from lightning_vae.metrics.codes import split
from lightning_vae.metrics.posterior_mig import posterior_information
from tests.references import disentanglement as loops

N, SIZES, ROUNDS = 10_000, np.array([3, 6, 40, 32, 32]), 5
MIX = np.random.default_rng(0).normal(size=(5, 10)) ** 3


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def encode(factors):
    return (factors / SIZES) @ MIX


def pool():
    random = np.random.default_rng(1)
    factors = random.integers(SIZES, size=(N, 5))
    codes = encode(factors) + 0.1 * random.normal(size=(N, 10))
    return torch.from_numpy(codes).float(), torch.from_numpy(factors)


def seconds(call):
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def compare(name, ours, theirs, rounds=ROUNDS):
    """The median ratio of neighbours, and both values."""
    ours()
    pairs = [(seconds(theirs), seconds(ours)) for _ in range(rounds)]
    ratio = median(slow[0] / quick[0] for slow, quick in pairs)
    (slow, expected), (quick, found) = pairs[-1]
    print(f"{name:12} {1e3 * quick:8.1f} ms  loop {1e3 * slow:8.1f} ms  ratio {ratio:6.1f}")
    print(f"{'':12} {float(found):8.4f}     loop {float(expected):8.4f}")
    return ratio, float(found), float(expected)


def test_mig_counts_all_pairs_in_one_pass():
    codes, factors = pool()
    arrays = codes.double().numpy(), factors.numpy()
    ratio, found, expected = compare("MIG", lambda: mig(codes, factors), lambda: loops.mig(*arrays))
    assert found == pytest.approx(expected, abs=1e-6)
    assert ratio > 12


def test_sap_solves_all_machines_at_once():
    (codes, test_codes), (factors, test_factors) = split(pool())
    values = codes, factors, test_codes, test_factors
    arrays = [v.double().numpy() if v.is_floating_point() else v.numpy() for v in values]
    slow = (lambda: sap(*values)), (lambda: loops.sap(*arrays))
    ratio, found, expected = compare("SAP", *slow, rounds=3)
    assert found == pytest.approx(expected, abs=1e-3)
    assert ratio > 4


def test_irs_takes_all_latents_at_once():
    codes, factors = pool()
    arrays = codes.double().numpy(), factors.numpy()
    ratio, found, expected = compare("IRS", lambda: irs(codes, factors), lambda: loops.irs(*arrays))
    assert found == pytest.approx(expected, abs=1e-5)
    assert ratio > 1.5


def test_factor_vae_votes_are_drawn_from_one_pool():
    codes, factors = pool()
    votes = {"train": 10_000, "test": 5_000, "group": 64}

    def noisy(classes):
        return encode(classes) + 0.1 * np.random.default_rng(2).normal(size=(len(classes), 10))

    def fresh():
        return loops.factor_vae_score(noisy, SIZES, random=np.random.default_rng(3), **votes)

    ours = lambda: factor_vae_score(codes, factors, **votes)
    ratio, found, expected = compare("FactorVAE", ours, fresh, rounds=3)
    assert found == pytest.approx(expected, abs=0.05)
    # Of codes alone: a loop over votes also draws and encodes 960,000 images, the pool 10,000.
    assert ratio > 3


def test_exact_mig_never_holds_all_densities():
    codes, factors = (value[:4000] for value in pool())
    posterior = torch.distributions.Normal(codes, 0.1)
    took, _ = seconds(lambda: posterior_information(posterior, factors))
    print(f"exact MIG, {len(codes)} posteriors: {took:.1f} s")
    # All at once would be 640 MB.
    assert peak_megabytes(lambda: posterior_information(posterior, factors)) < 20


def peak_megabytes(call):
    """The most that torch held at once, by its own account of allocations."""
    with torch.profiler.profile(profile_memory=True) as profile:
        call()
    held = most = 0
    events = sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    for event in events:
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    print(f"at most {most / 2**20:.1f} MB at once")
    return most / 2**20
