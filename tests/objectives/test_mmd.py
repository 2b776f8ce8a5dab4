"""The discrepancy against its closed form for Gaussians."""

import re

import pytest
import torch
from torch.distributions import Normal

from lightning_vae.distributions import StandardGaussian
from lightning_vae.latents import Latent
from lightning_vae.objectives import MMD, mmd
from lightning_vae.priors import DiagonalNormal
from tests.objectives.outputs import latent, leaves, output, refuse_unlike_one


def closed_form(shift, d, scales, variance=1.0):
    """Of N(shift·1, variance·I) from N(0, I) under the RBF kernel: Gaussian integrals."""

    def expected(distance, spread, C):
        return (1 + 2 * spread / C) ** (-d / 2) * torch.exp(
            torch.tensor(-distance / (C + 2 * spread))
        )

    return sum(
        expected(0, 2 * variance, C)
        + expected(0, 2, C)
        - 2 * expected(d * shift**2, 1 + variance, C)
        for C in (2 * d * s for s in scales)
    ).item()


@pytest.mark.parametrize("scales", [(1.0,), (0.2, 5.0)])
@pytest.mark.parametrize(("shift", "variance"), [(0.0, 1.0), (0.5, 1.0), (2.0, 1.0), (0.0, 0.25)])
@pytest.mark.parametrize("d", [1, 4])
def test_shifted_gaussians_have_the_discrepancy_of_the_closed_form(d, shift, variance, scales):
    x = shift + variance**0.5 * torch.randn(3000, d).double()
    truth = closed_form(shift, d, scales, variance)
    found = mmd(x, torch.randn(3000, d).double(), "rbf", scales).item()
    assert found == pytest.approx(truth, rel=0.08, abs=0.01)


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_it_is_free_of_bias_however_small_the_samples(kernel):
    found = [mmd(torch.randn(4, 2), torch.randn(4, 2), kernel).item() for _ in range(3000)]
    mean, deviation = torch.tensor(found).mean(), torch.tensor(found).std()
    assert abs(mean) < 4 * deviation / 3000**0.5
    assert min(found) < 0


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_equal_samples_are_near_zero_and_far_ones_are_not(kernel):
    x = torch.randn(500, 8)
    assert mmd(x, x, kernel).abs() < 0.02
    # Of kernels that no longer meet, what is left is the two means within.
    assert mmd(x, x + 1e6, kernel) > 2


def test_the_kernels_are_their_formulas():
    x, y = torch.randn(3, 2).double(), torch.randn(4, 2).double()
    for kernel, k in (
        ("imq", lambda r2, C: C / (C + r2)),
        ("rbf", lambda r2, C: (-r2 / C).exp()),
    ):
        total = 0.0
        for s in (0.1, 3.0):
            at = lambda a, b, C=4 * s, k=k: k((a - b).square().sum(), C)
            total += sum(at(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / 6
            total += sum(at(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / 12
            total -= 2 * sum(at(a, b) for a in x for b in y) / 12
        torch.testing.assert_close(mmd(x, y, kernel, (0.1, 3.0)), total)


def test_the_scale_in_the_wild_is_another():
    """PyTorch-VAE divides a mean by B(B - 1) once more, and its kernel's distance by d twice."""
    x, y, d = torch.randn(200, 4) + 1, torch.randn(200, 4), 4

    def theirs(a, b):
        return (-(a[:, None] - b[None]).square().mean(-1) / (2 * d * 2)).exp().mean()

    wrong = (theirs(x, x) + theirs(y, y) - 2 * theirs(x, y)) / (200 * 199)
    truth = closed_form(1.0, d, (1.0,))
    assert mmd(x, y, "rbf", (1.0,)).item() == pytest.approx(truth, rel=0.2)
    assert wrong < 1e-4 * truth


def test_gradients_are_finite_where_draws_coincide():
    x = torch.zeros(6, 3).requires_grad_()
    for kernel in ("imq", "rbf"):
        gradient = torch.autograd.grad(mmd(x, torch.randn(6, 3), kernel), x)[0]
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_the_gradient_moves_draws_towards_the_prior():
    x = (torch.randn(200, 2) / 2 + 1.5).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.03)
    for _ in range(200):
        optimizer.zero_grad()
        mmd(x, torch.randn(200, 2)).backward()
        optimizer.step()
    assert x.mean(0).abs().max() < 0.3
    assert x.std(0).sub(1).abs().max() < 0.3


@pytest.mark.parametrize(("n", "m", "d"), [(1, 5, 2), (5, 1, 2), (5, 5, 3)])
def test_what_does_not_fit_is_refused(n, m, d):
    message = re.escape(f"two draws or more of one shape, got ({n}, 2) and ({m}, {d})")
    with pytest.raises(ValueError, match=message):
        mmd(torch.zeros(n, 2), torch.zeros(m, d))


# --- the objective


def test_the_loss_weighs_its_part():
    loc, s, _ = leaves()
    terms = output(latent(loc, s), D=torch.rand(8).double())
    parts = MMD(lambda_mmd=7.0, beta=0.5)(terms)
    truth = terms.distortion.mean() + 0.5 * terms.rate.mean() + 7 * parts["mmd"]
    torch.testing.assert_close(parts["loss"], truth)
    wasserstein = MMD()(terms)
    torch.testing.assert_close(
        wasserstein["loss"], terms.distortion.mean() + 10 * wasserstein["mmd"]
    )


@pytest.mark.parametrize("factors", [(2,), (2, 3)])
def test_the_prior_is_drawn_from_once_an_example(factors):
    loc, s, _ = leaves(examples=400, factors=factors)
    for prior in (
        StandardGaussian(factors, like=loc),
        Normal(torch.zeros_like(loc), torch.ones_like(loc)),
    ):
        group = latent(loc, s, prior=prior, z=torch.randn_like(loc) + 1)
        found = MMD(kernel="rbf", scales=(1.0,))(output(group))["mmd"].item()
        d = loc[0].numel()
        assert found == pytest.approx(closed_form(1.0, d, (1.0,)), abs=0.05)


def test_tuples_apply_to_one_group_each():
    one = latent(torch.zeros(100, 2), torch.zeros(100, 2), z=torch.full((100, 2), 1e6))
    other = latent(torch.zeros(100, 3), torch.zeros(100, 3))
    far = MMD()(output(one))["mmd"]
    loss = MMD(lambda_mmd=(0.0, 1.0))(output(one, other))["loss"]
    assert loss.abs() < 0.2 < far


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": "linear"}, "kernel must be 'imq' or 'rbf', got 'linear'"),
        ({"scales": ()}, "scales must be positive numbers, got (); write (1.0,)"),
        ({"scales": (1.0, -1.0)}, "scales must be positive numbers"),
        ({"lambda_mmd": -1}, "lambda_mmd must be a finite number >= 0"),
    ],
)
def test_what_makes_no_sense_is_refused_at_construction(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MMD(**arguments)


def test_one_example_and_several_draws_are_refused():
    with pytest.raises(ValueError, match="two draws or more of one shape"):
        MMD()(output(latent(torch.zeros(1, 2), torch.zeros(1, 2))))
    group = latent(torch.zeros(4, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="holds 3 draws of z an example"):
        MMD()(output(group, D=torch.zeros(3, 4)))


def test_two_ranks_are_one(tmp_path):
    # Drawn by the rows' own noise, so that two processes draw what one does.
    refuse_unlike_one(["MMD(beta=0.5)", "MMD(kernel='rbf')"], tmp_path)


def test_a_prior_that_learns_gets_a_gradient():
    prior = DiagonalNormal(2)
    q, z = Normal(torch.zeros(8, 2), 1.0), torch.randn(8, 2) + 3
    MMD()(output(Latent(q, prior(), z, torch.zeros(8, 2))))["loss"].backward()
    assert (prior.loc.grad < 0).all()  # towards the draws
