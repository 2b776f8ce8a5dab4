"""What is wrong in other codes: each formula, written anew here, misses a truth that ours meets.

The weights and divergences of PyTorch-VAE and the constants of disentanglement_lib's total
correlation are in tests/objectives.
"""

import math

import pytest
import torch
from torch.distributions import Normal

from lightning_vae import DiagonalGaussian
from lightning_vae.metrics import ActiveUnits, MutualInformation, active_units, passes
from lightning_vae.metrics.marginal_likelihood import log_marginal_likelihood
from lightning_vae.metrics.posterior_mig import posterior_information
from tests.metrics.linear import data, optimum
from tests.metrics.test_collapse import output_of


def of_a_batch(q, z):
    """vae-lagging-encoder's: q(z) is the mixture of the minibatch alone."""
    log_q = q.log_prob(z.unsqueeze(1)).sum(2)
    return (log_q.diagonal() - log_q.logsumexp(1) + math.log(len(z))).mean().item()


def test_the_information_of_batches_is_capped_at_the_log_of_their_size():
    """Eight latents of half a log 8 each: 8.32 nats, of which a batch of 32 shows log 32 = 3.47."""
    truth, metric, theirs = 4 * math.log(8), MutualInformation(), []
    torch.manual_seed(0)
    for _ in range(250):
        loc = math.sqrt(7 / 8) * torch.randn(32, 8)
        output = output_of(DiagonalGaussian(loc, torch.full_like(loc, -math.log(8))))
        metric.update(output)
        theirs.append(of_a_batch(output.latents[0].posterior, output.latents[0].z))
    found = metric.compute()
    assert max(theirs) <= math.log(32) + 1e-5
    assert sum(theirs) / len(theirs) < truth - 4.8
    assert found["mutual_information"] > truth - 0.8  # near its ceiling, log 8000 = 8.99
    assert found["ceiling"] > truth


def test_the_sum_of_rates_is_not_the_information():
    """Where the latents lie away from the prior; "KL" and "MI" are often logged as one."""
    q = DiagonalGaussian(torch.full((500, 2), 2.0), torch.zeros(500, 2))
    output = output_of(q)
    metric = MutualInformation(entropy="drawn")
    metric.update(output)
    assert output.rate.mean() == pytest.approx(4.0)
    assert metric.compute()["mutual_information"] == pytest.approx(0, abs=1e-5)


def test_a_view_is_no_transpose():
    """disvae's MIG reads the draws [N, D] as [D, N]: every latent is a mixture of all."""
    torch.manual_seed(0)
    classes = torch.arange(4).repeat(100)
    loc = torch.stack([classes.float(), torch.zeros(400)], 1)
    ours = posterior_information(Normal(loc, 0.01), classes.unsqueeze(1))
    assert ours.flatten().tolist() == pytest.approx([math.log(4), 0], abs=0.01)
    mixed = loc.reshape(2, 400).T
    theirs = posterior_information(Normal(mixed, 0.01), classes.unsqueeze(1))
    assert theirs.max() < 0.8 * math.log(4)
    assert theirs.min() > 0.1


def test_the_biased_variance_takes_a_unit_for_dead():
    """numpy's, and a threshold that it may equal; with few examples it decides."""
    means = torch.tensor([[0.0], [0.15]])  # unbiased 0.01125
    assert active_units(means)
    assert means.var(0, correction=0) < 0.01


def test_the_mean_of_the_active_units_of_batches_is_not_their_number():
    """Sorted data: within a batch nothing moves, over the data all does."""
    loc = torch.arange(10.0).repeat_interleave(20).unsqueeze(1).expand(-1, 3)
    metric, theirs = ActiveUnits(), []
    for part in loc.split(20):
        metric.update(output_of(DiagonalGaussian(part, torch.zeros_like(part))))
        theirs.append((part.var(0) > 0.01).sum().item())
    assert metric.compute() == 3
    assert sum(theirs) / len(theirs) == 0


def test_a_mean_of_bounds_does_not_approach_the_likelihood():
    """log w averaged over chunks of draws stays at a chunk's bound, however many there are."""
    vae, x = optimum(2.0), data(500)
    exact = -vae.nll(x).mean()
    torch.manual_seed(0)
    chunks = [log_marginal_likelihood([vae(x, samples=2)]) for _ in range(50)]
    theirs = torch.stack(chunks).mean()
    ours = log_marginal_likelihood(passes(vae, x, 100, at_once=2)).mean()
    assert ours.item() == pytest.approx(exact.item(), abs=0.01)
    assert theirs < exact - 0.1


def test_one_divergence_for_all_draws_is_no_importance_weight():
    """PyTorch-VAE's IWAE: log mean exp(-D_k - KL) is not a bound of log p(x)."""
    vae, x = optimum(1.0), data(500)  # the exact posterior: every weight is p(x)
    exact = -vae.nll(x)
    torch.manual_seed(0)
    output = vae(x, samples=500)
    theirs = (-output.distortion - output.rate).logsumexp(0) - math.log(500)
    torch.testing.assert_close(log_marginal_likelihood([output]), exact, atol=1e-3, rtol=0)
    assert (theirs - exact).abs().mean() > 0.3
