"""The linear-Gaussian VAE at its optimum, where every metric's value is known."""

import pytest
import torch

from lightning_vae.data import MNIST
from lightning_vae.metrics import (
    ActiveUnits,
    ELBODecomposition,
    MarginalLikelihood,
    MutualInformation,
    RateSpectrum,
    ShuffledGap,
    VarianceSaturation,
    passes,
)
from tests.metrics.linear import ACTIVE, EIGENVALUES, NOISE, data, mnist, optimum, rate


@torch.no_grad()
def measured(metric, vae, x, *args):
    for batch in x.split(1000):
        metric.update(vae(batch), *args)
    return metric.compute()


@pytest.mark.parametrize("beta", ACTIVE)
def test_active_units_are_exact_by_either_definition(beta):
    for of in ("means", "rates"):
        assert measured(ActiveUnits(of=of), optimum(beta), data()) == ACTIVE[beta]


@pytest.mark.parametrize("beta", ACTIVE)
@pytest.mark.parametrize("entropy", ["exact", "drawn"])
def test_mutual_information_is_the_rate(beta, entropy):
    found = measured(MutualInformation(entropy=entropy), optimum(beta), data())
    assert abs(found["mutual_information"] - rate(beta)) < 0.05
    assert found["standard_error"] < 0.02
    assert found["ceiling"] == pytest.approx(9.2103, abs=1e-4)


@pytest.mark.parametrize("beta", ACTIVE)
def test_all_of_the_rate_is_mutual_information(beta):
    found = measured(ELBODecomposition(), optimum(beta), data())
    assert abs(found["mutual_information"] - rate(beta)) < 0.05
    assert abs(found["total_correlation"]) < 0.05
    assert abs(found["dimension_wise_kl"]) < 0.05


def test_the_spectrum_is_that_of_water_filling():
    spectrum = measured(RateSpectrum(), optimum(1.0), data())
    expected = [max(0.0, 0.5 * torch.log(torch.tensor(v / NOISE)).item()) for v in EIGENVALUES]
    assert spectrum.tolist() == pytest.approx(expected, abs=1e-3)


def test_the_variance_of_what_is_not_active_is_at_the_priors():
    for beta, active in ACTIVE.items():
        found = measured(VarianceSaturation(), optimum(beta), data())
        assert found["at_prior"] == pytest.approx(1 - active / 5)
        assert found["at_zero"] == 0


def test_the_shuffled_gap_is_what_another_examples_mean_costs():
    """(x - Wz')² - (x - Wz)² has the mean 2 Cov(x, Wz) = 2 Σ (λ - θ), over 2 s²."""
    for beta in (0.7, 1.5, 3.0, 9.0):
        vae = optimum(beta)
        gap = measured(ShuffledGap(), vae, data(), vae.decode)
        exact = sum(max(0.0, value - beta * NOISE) for value in EIGENVALUES) / NOISE
        assert gap.item() == pytest.approx(exact, rel=0.03, abs=1e-6)


def test_the_importance_weighted_nll_falls_to_the_exact_one_with_the_samples():
    vae, x = optimum(2.0), data(2000)
    exact = vae.nll(x).mean().item()
    means = []
    for samples in (1, 4, 16, 64):
        seeds = []
        for seed in range(5):
            torch.manual_seed(seed)
            metric = MarginalLikelihood(samples)
            metric.update(passes(vae, x, samples, at_once=10))
            seeds.append(metric.compute()["nll"])
        values = torch.stack(seeds)
        # Over examples the two are paired: what is left is the noise of the draws.
        assert values.mean() >= exact - 3 * values.std() / len(values) ** 0.5
        means.append(values.mean().item())
    assert means == sorted(means, reverse=True)
    assert means[0] > exact + 0.2
    assert means[-1] == pytest.approx(exact, abs=0.005)


def test_with_the_exact_posterior_every_draw_gives_the_exact_nll():
    vae, x = optimum(1.0), data(100)
    metric = MarginalLikelihood(samples=3)
    metric.update(vae(x, samples=3))
    assert metric.compute()["nll"].item() == pytest.approx(vae.nll(x).mean().item(), abs=1e-4)


def test_a_linear_vae_has_twelve_active_units_on_mnist_and_none_at_too_much_beta(real_data):
    module = MNIST(real_data)
    module.setup("test")
    images = torch.cat([x for x, _ in module.test_dataloader()])
    assert len(images) == 10_000
    for beta, active in ((1.0, 12), (5.5, 0)):
        vae, x = mnist(images, beta=beta)
        assert measured(ActiveUnits(), vae, x) == active
        information = measured(MutualInformation(entropy="drawn"), vae, x)
        # The data is no normal distribution: less than the rate, and none where it is none.
        assert information["mutual_information"] <= vae.true_rate + 0.05
        assert (information["mutual_information"] > 3) == bool(active)
