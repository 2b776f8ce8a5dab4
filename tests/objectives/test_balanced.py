"""NVAE's balance of groups, on arrays."""

import re

import numpy as np
import pytest
import torch

from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.objectives import Balanced, balance
from lightning_vae.schedules import Piecewise
from tests.objectives.outputs import latent, leaves, output, refuse_unlike_one

ALPHA = (1.0, 1.0, 4.0, 4.0)


def nvae(rates, alpha):
    """Group by group, as the paper has it: with the total rate, which the mean takes out again."""
    KL = np.abs(rates).mean(0) + 0.01
    gamma = KL / np.asarray(alpha) * KL.sum()
    return gamma / gamma.mean()


def of(rates, D=3.0):
    """A hierarchy of groups of one latent, of given rates [B, G]."""
    groups = [Latent(None, None, r, r) for r in rates.unsqueeze(2).unbind(1)]
    return VAEOutput(rates, None, tuple(groups), torch.full((len(rates),), D).to(rates))


RATES = torch.tensor([[0.5, 2.0, 0.0, 8.0], [1.5, -1.0, 0.02, 4.0], [1.0, 3.0, 0.0, 6.0]]).double()


@pytest.mark.parametrize("alpha", [None, ALPHA])
def test_the_weights_are_the_paper_s(alpha):
    truth = nvae(RATES.numpy(), alpha or np.ones(4))
    np.testing.assert_allclose(balance(RATES, alpha), truth, atol=1e-6, rtol=0)
    assert balance(RATES, alpha).mean() == pytest.approx(1.0)


def test_larger_rates_weigh_more_and_none_weighs_nothing():
    weights = balance(RATES)
    assert weights.argsort().tolist() == RATES.abs().mean(0).argsort().tolist()
    assert (balance(torch.zeros(2, 3)) == 1).all()


def test_the_loss_weighs_the_groups_while_beta_is_below_one():
    rates = RATES.clone().requires_grad_()
    gamma = nvae(RATES.numpy(), ALPHA)
    objective = Balanced(beta=0.3, distortion_weight=2.0, alpha=ALPHA)
    parts = objective(of(rates))
    penalty = (gamma * RATES.numpy().mean(0)).sum()
    assert parts["penalty"].item() == pytest.approx(penalty)
    assert parts["loss"].item() == pytest.approx(2 * 3 + 0.3 * penalty)
    # The weights carry no gradient.
    gradient = torch.autograd.grad(parts["loss"], rates)[0]
    np.testing.assert_allclose(gradient, np.tile(0.3 * gamma / 3, (3, 1)), rtol=1e-6)


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_at_full_weight_and_in_evaluation_it_is_the_plain_sum(beta):
    plain = RATES.mean(0).sum()
    torch.testing.assert_close(Balanced(beta)(of(RATES))["loss"], 3 + beta * plain)
    torch.testing.assert_close(Balanced(0.3).eval()(of(RATES))["loss"], 3 + 0.3 * plain)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"alpha=\(1.0, 2.0\) has 2 values for 4 groups"):
        Balanced(0.5, alpha=(1, 2))(of(RATES))
    for alpha in ((), (1.0, 0.0), (-1.0,), (float("inf"),)):
        message = re.escape(f"alpha must be positive numbers, one a group, got {alpha}")
        with pytest.raises(ValueError, match=message):
            Balanced(alpha=alpha)


def test_draws_count_as_further_examples():
    loc, s, _ = (tensor.detach() for tensor in leaves())
    group = latent(loc, s, torch.randn(5, 8, 3).double())
    terms = output(group, group, D=torch.zeros(5, 8).double())
    torch.testing.assert_close(Balanced(0.5)(terms)["loss"], 0.5 * terms.rate.mean())


@pytest.mark.parametrize("t", [0, 1, 9, 13, 14, 1500, 3000, 3009, 3010, 3011, 9999])
def test_the_paper_s_warm_up_is_a_schedule(t):
    T = 10_000
    theirs = max(min((t - 1e-4 * T) / (0.3 * T), 1), 1e-4)
    ours = Piecewise([(0, 1e-4), (1.3e-4, 1e-4), (0.3001, 1)])  # unit="run"
    assert ours(t / T) == pytest.approx(theirs, rel=1e-9)


def test_two_ranks_are_one(tmp_path):
    refuse_unlike_one(["Balanced(beta=0.5)", "Balanced(beta=0.5, distortion_weight=3.0)"], tmp_path)
