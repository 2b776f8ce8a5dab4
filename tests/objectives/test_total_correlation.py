"""The decomposition of the rate: exact weights, closed forms, two processes as one."""

import math
import re

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from torch.distributions import Independent, Laplace, MultivariateNormal, Normal

from lightning_vae.data.linear_gaussian import whitened
from lightning_vae.distributions import DiagonalGaussian, StandardGaussian
from lightning_vae.latents import Latent
from lightning_vae.objectives import TotalCorrelation, decompose
from lightning_vae.objectives.total_correlation import stratified, weighted
from lightning_vae.schedules import Linear
from tests.objectives.outputs import latent, leaves, output, refuse_unlike_one


def as_found_in_the_wild(batch, size):
    """The matrix of rtqichen, disvae, pythae and PyTorch-VAE: filled by a stride of M + 1 = B."""
    M = batch - 1
    W = torch.full((batch, batch), 1 / M)
    W.view(-1)[:: M + 1] = 1 / size
    W.view(-1)[1 :: M + 1] = (size - M) / (size * M)
    W[M - 1, 0] = (size - M) / (size * M)
    return W


# --- the weights


@pytest.mark.parametrize(("batch", "size"), [(2, 2), (2, 100), (5, 100), (64, 64), (64, 50_000)])
def test_every_row_of_stratified_weights_sums_to_one(batch, size):
    W = stratified(batch, size).double().exp()
    torch.testing.assert_close(W.sum(1), torch.ones(batch).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(W.diagonal(), torch.full((batch,), 1 / size).double())
    M = batch - 1
    others = [(size - M) / (size * M)] + (batch - 2) * [1 / M]
    off = W[~torch.eye(batch, dtype=bool)].view(batch, M)
    torch.testing.assert_close(off.sort(1).values, torch.tensor([sorted(others)] * batch).double())


def test_the_widespread_matrix_is_another_whose_rows_do_not_sum_to_one():
    wrong = as_found_in_the_wild(4, 100)
    assert wrong.sum(1).max() == pytest.approx(1.313, abs=1e-3)
    assert as_found_in_the_wild(5, 100).sum(1).max() == pytest.approx(1.23, abs=5e-3)
    assert (wrong.diagonal()[1:] != 1 / 100).all()
    assert stratified(4, 100).exp().sum(1).max() == pytest.approx(1)


def test_stratified_sampling_is_free_of_bias():
    """E over all batches of Σ W q(z|x_j) is q(z), for the own example fixed."""
    density, N = np.random.default_rng(0).random((5, 5)), 5
    batches = [(i, j, k) for i in range(N) for j in range(N) for k in range(N)]
    batches = np.array([b for b in batches if len(set(b)) == 3])

    def expected(W):
        rows = density[batches[:, :1], batches]  # of the first example's draw
        return (W[0] * rows).sum(1).mean()

    assert expected(stratified(3, N).exp().double().numpy()) == pytest.approx(density.mean())
    # Over all rows: the wrong matrix is right in its first row alone.
    own = density[batches[:, 1:2], batches]
    right, wrong = stratified(3, N).exp().numpy(), as_found_in_the_wild(3, N).numpy()
    assert (right[1] * own).sum(1).mean() == pytest.approx(density.mean(), rel=1e-6)
    assert (wrong[1] * own).sum(1).mean() != pytest.approx(density.mean(), rel=0.05)


def test_weighted_sampling_is_a_constant():
    assert (weighted(3, 10) == -math.log(30)).all()


@pytest.mark.parametrize("weights", [stratified, weighted])
def test_a_batch_larger_than_the_data_is_refused(weights):
    with pytest.raises(ValueError, match="size=3 is less than one batch of 4 over all ranks"):
        weights(4, 3)


def test_one_example_is_refused_by_stratified_sampling_alone():
    single = output(latent(torch.zeros(1, 2), torch.zeros(1, 2)))
    with pytest.raises(ValueError, match="needs two examples in a batch, got 1; write"):
        TotalCorrelation(size=10)(single)
    assert TotalCorrelation(size=10, estimator="mws")(single)["loss"].isfinite()


# --- the decomposition


def reference(z, loc, scale, log_weights, density=stats.norm):
    """Term by term with scipy."""
    pairs = density.logpdf(z[:, None], loc[None], scale[None])
    own = density.logpdf(z, loc, scale).sum(1)
    log_q = logsumexp(log_weights + pairs.sum(2), axis=1)
    marginals = logsumexp(log_weights[..., None] + pairs, axis=1).sum(1)
    return own - log_q, log_q - marginals, marginals - stats.norm.logpdf(z).sum(1)


@pytest.mark.parametrize("weights", [stratified, weighted])
@pytest.mark.parametrize("family", [Normal, Laplace])
@pytest.mark.parametrize("independent", [False, True])
def test_the_three_terms_are_their_formulas(weights, family, independent):
    loc, s, _ = (tensor.detach() for tensor in leaves())
    q = family(loc, s.exp())
    z = q.rsample()
    group = Latent(Independent(q, 1) if independent else q, StandardGaussian((3,), loc), z, z)
    W = weights(8, 50).double()
    oracle = {Normal: stats.norm, Laplace: stats.laplace}[family]
    truth = reference(z.numpy(), loc.numpy(), s.exp().numpy(), W.numpy(), oracle)
    for ours, theirs in zip(decompose(group, W), truth, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


def test_log_weights_are_added_once_not_once_a_dimension():
    """disvae adds them to every dimension before it sums: d times in log q(z)."""
    loc, s, _ = (tensor.detach() for tensor in leaves())
    group, W = latent(loc, s), stratified(8, 50).double()
    pairs = Normal(loc, (0.5 * s).exp()).log_prob(group.z.unsqueeze(1))
    theirs = (W.unsqueeze(2) + pairs).sum(2).logsumexp(1) - (W.unsqueeze(2) + pairs).logsumexp(
        1
    ).sum(1)
    ours = decompose(group, W).total_correlation
    assert (ours - theirs > 3).all()


def test_the_three_sum_to_the_rate_at_the_draw_whatever_the_weights():
    loc, s, _ = (tensor.detach() for tensor in leaves())
    group = latent(loc, s)
    truth = (group.posterior.log_prob(group.z) - group.prior.log_prob(group.z)).sum(1)
    for W in (stratified(8, 50), weighted(8, 50), stratified(8, 9)):
        torch.testing.assert_close(sum(decompose(group, W.double())), truth)


@pytest.mark.parametrize("factors", [(3,), (1,), (2, 3, 2)])
def test_latents_of_any_shape_count_one_by_one(factors):
    loc, s, _ = (tensor.detach() for tensor in leaves(factors=factors))
    group = latent(loc, s)
    flat = latent(loc.flatten(1), s.flatten(1), group.z.flatten(1))
    W = stratified(8, 20).double()
    for image, vector in zip(decompose(group, W), decompose(flat, W), strict=True):
        torch.testing.assert_close(image, vector)
    if factors == (1,):
        assert (decompose(group, W).total_correlation.abs() < 1e-12).all()


# --- truth: the linear-Gaussian model at its optimum, and a correlated Gaussian

EIGENVALUES, NOISE, KL = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.2]), 0.5, 2.0794


def optimal_posterior(x):
    """q(z|x) by reverse water-filling: in direction i a variance of θ/λ, where λ > θ."""
    S = (NOISE / EIGENVALUES).clamp(max=1)
    return x * ((1 - S) / EIGENVALUES).sqrt(), S.log().expand(x.shape)


def test_at_the_optimum_the_rate_is_all_mutual_information():
    loc, s = optimal_posterior(whitened(EIGENVALUES.tolist(), 10_000))
    terms = []
    for rows in torch.arange(10_000).split(1000):
        objective = TotalCorrelation(size=10_000)
        terms.append(list(objective(output(latent(loc[rows], s[rows]))).values())[2:])
    mi, tc, dimension_wise = torch.tensor(terms).mean(0).tolist()
    assert mi == pytest.approx(KL, abs=0.05)
    assert tc == pytest.approx(0, abs=0.05)
    assert dimension_wise == pytest.approx(0, abs=0.05)


def test_values_without_the_constant_are_off_by_another():
    """disentanglement_lib leaves log(NB) out of each density: d - 1 times out of its TC."""
    loc, s = optimal_posterior(whitened(EIGENVALUES.tolist(), 1000))
    group = latent(loc, s)
    theirs = decompose(group, torch.zeros(1000, 1000)).total_correlation.mean()
    assert theirs + 4 * math.log(1000) == pytest.approx(0, abs=0.1)
    ours = decompose(group, stratified(1000, 1000)).total_correlation.mean()
    assert ours == pytest.approx(0, abs=0.1)


def test_weighted_sampling_is_off_by_the_constants_that_it_says():
    loc, s = optimal_posterior(whitened(EIGENVALUES.tolist(), 10_000)[::10])
    parts = TotalCorrelation(size=10_000, estimator="mws")(output(latent(loc, s)))
    constant = math.log(10_000)
    assert parts["mutual_information"] - constant == pytest.approx(KL, abs=0.1)
    assert parts["total_correlation"] - 4 * constant == pytest.approx(0, abs=0.1)
    assert parts["dimension_wise_kl"] + 5 * constant == pytest.approx(0, abs=0.1)


def test_the_total_correlation_of_a_correlated_gaussian_is_found_as_the_batch_grows():
    correlation = torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.0, -0.3], [0.0, -0.3, 1.0]])
    truth = -0.5 * torch.logdet(correlation).item()
    noise = 0.1 * torch.ones(3)
    means = MultivariateNormal(torch.zeros(3), correlation - noise.diag()).sample((8192,))

    def error(batch):
        found = [
            TotalCorrelation(size=8192)(output(latent(rows, noise.log().expand(rows.shape))))
            for rows in means[: max(batch, 2048)].split(batch)
        ]
        return abs(np.mean([f["total_correlation"].item() for f in found]) - truth)

    errors = [error(batch) for batch in (16, 128, 2048)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.05 * truth


# --- the objective


def test_the_loss_weighs_its_parts():
    loc, s, _ = leaves()
    terms = output(latent(loc, s), D=torch.rand(8).double())
    parts = TotalCorrelation(size=50, alpha=2.0, beta=6.0, gamma=0.5)(terms)
    three = (parts["mutual_information"], parts["total_correlation"], parts["dimension_wise_kl"])
    truth = terms.distortion.mean() + 2 * three[0] + 6 * three[1] + 0.5 * three[2]
    torch.testing.assert_close(parts["loss"], truth)
    assert [name for name, part in parts.items() if part.requires_grad] == ["loss"]


def test_with_ones_it_is_the_elbo_at_the_draw():
    terms = output(latent(*(tensor.detach() for tensor in leaves()[:2])), D=torch.ones(8).double())
    group = terms.latents[0]
    log_ratio = group.posterior.log_prob(group.z) - group.prior.log_prob(group.z)
    loss = TotalCorrelation(size=50, beta=1.0)(terms)["loss"]
    torch.testing.assert_close(loss, 1 + log_ratio.sum(1).mean())


def test_tuples_apply_to_one_group_each():
    groups = [latent(*(t.detach() for t in leaves(factors=f)[:2])) for f in ((3,), (2, 2))]
    alone = [TotalCorrelation(size=50)(output(group)) for group in groups]
    both = TotalCorrelation(size=50, alpha=(1, 2), beta=(3, 4), gamma=5)(output(*groups))
    truth = sum(
        alpha * parts["mutual_information"]
        + beta * parts["total_correlation"]
        + 5 * parts["dimension_wise_kl"]
        for alpha, beta, parts in zip((1, 2), (3, 4), alone, strict=True)
    )
    torch.testing.assert_close(both["loss"], truth)
    tc = sum(parts["total_correlation"] for parts in alone)
    torch.testing.assert_close(both["total_correlation"], tc)
    with pytest.raises(ValueError, match=r"beta=\(1.0, 2.0, 3.0\) has 3 values for 2 groups"):
        TotalCorrelation(size=50, beta=(1, 2, 3))(output(*groups))


@pytest.mark.parametrize("t", [0, 1, 3500, 6649, 6650, 7000, 9000])
def test_the_authors_annealing_is_two_schedules(t):
    """They anneal β, and weigh the dimension-wise KL by 1 - λ."""
    assert Linear(0, 6, over=7000)(t) == pytest.approx(6 * min(1, t / 7000))
    assert Linear(0.05, 1, over=6650)(t) == pytest.approx(1 - max(0, 0.95 - t / 7000))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size must be a whole number of at least 1, got 0"),
        ({"size": 2.5}, "got 2.5; write size=len(dataset)"),
        ({"size": True}, "got True"),
        ({"size": 9, "estimator": "exact"}, "estimator must be 'mss' or 'mws', got 'exact'"),
        ({"size": 9, "beta": -1}, "beta must be a finite number >= 0"),
    ],
)
def test_what_makes_no_sense_is_refused_at_construction(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        TotalCorrelation(**arguments)


def test_a_posterior_that_does_not_split_is_refused():
    q = MultivariateNormal(torch.zeros(4, 3), torch.eye(3))
    z = q.rsample()
    group = Latent(q, StandardGaussian((3,)), z, torch.zeros(4, 1))
    with pytest.raises(ValueError, match="posterior MultivariateNormal gives no log-density for"):
        TotalCorrelation(size=10)(output(group))


def test_several_draws_are_refused():
    several = output(latent(torch.zeros(4, 2), torch.zeros(4, 2)), D=torch.zeros(5, 4))
    with pytest.raises(ValueError, match="holds 5 draws of z an example, but this objective takes"):
        TotalCorrelation(size=10)(several)


def test_far_apart_posteriors_leave_everything_finite():
    loc = (torch.arange(8.0)[:, None] * 1e4).expand(8, 3).clone().requires_grad_()
    parts = TotalCorrelation(size=50)(output(latent(loc, torch.full((8, 3), -20.0))))
    assert all(part.isfinite() for part in parts.values())
    assert torch.autograd.grad(parts["loss"], loc)[0].isfinite().all()


def test_equal_posteriors_have_no_mutual_information():
    loc = torch.zeros(8, 3)
    parts = TotalCorrelation(size=50)(output(latent(loc, torch.ones(8, 3))))
    assert parts["mutual_information"].abs() < 1e-5
    assert parts["total_correlation"].abs() < 1e-5


def test_in_low_precision_the_terms_are_those_of_float32():
    loc, s, _ = (tensor.detach().bfloat16() for tensor in leaves())
    q = DiagonalGaussian(loc, s)
    low = Latent(q, StandardGaussian((3,), loc), q.rsample(), loc)
    full = latent(loc.float(), s.float(), low.z.float())
    for ours, truth in zip(
        decompose(low, stratified(8, 50)), decompose(full, stratified(8, 50)), strict=True
    ):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, truth, rtol=0.02, atol=0.05)


def test_two_ranks_are_one(tmp_path):
    made = [
        f"TotalCorrelation(size=50, alpha=2.0, estimator={estimator!r})"
        for estimator in ("mss", "mws")
    ]
    refuse_unlike_one(made, tmp_path)
