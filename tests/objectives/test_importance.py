"""Importance-weighted bounds on the linear-Gaussian model, whose evidence is known."""

import math
import re

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from torch.distributions import Independent, MultivariateNormal, Normal

from lightning_vae.distributions import (
    DiagonalGaussian,
    RelaxedCategorical,
    StableGaussian,
    StandardGaussian,
    Uniform,
)
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.objectives import ImportanceWeighted, importance_bound
from lightning_vae.objectives.parameters import rebuilt

# p(z) = N(0, 1), p(x|z) = N(w z, s²), element by element: the posterior is known.
W, NOISE = torch.tensor([1.5, 0.7]).double(), torch.tensor([0.5, 0.8]).double()


def exact_posterior(x):
    precision = 1 + W.square() / NOISE
    return x * W / NOISE / precision, (-precision.log()).expand(x.shape)


def evidence(x):
    return Normal(0.0, (W.square() + NOISE).sqrt()).log_prob(x).sum(-1)


def taken(x, loc, log_variance, K, w=W, like=DiagonalGaussian):
    """A pass of K draws through the linear-Gaussian model."""
    q = like(loc, log_variance)
    p = StandardGaussian(loc.shape[1:], like=loc)
    z = q.rsample((K,))
    D = -Normal(w * z, NOISE.sqrt()).log_prob(x).sum(-1)
    return VAEOutput(x, None, (Latent(q, p, z, torch.zeros_like(z)),), D)


X = torch.tensor([[0.3, -1.2], [2.0, 0.1], [-0.5, 3.0]]).double()


# --- the bound


@pytest.mark.parametrize("K", [1, 2, 5, 50])
@pytest.mark.parametrize("dreg", [False, True])
def test_with_the_exact_posterior_every_k_gives_the_evidence_with_equal_weights(K, dreg):
    terms = taken(X, *exact_posterior(X), K)
    parts = ImportanceWeighted(K, dreg=dreg)(terms)
    torch.testing.assert_close(parts["bound"], evidence(X).mean())
    torch.testing.assert_close(parts["loss"], -evidence(X).mean())
    torch.testing.assert_close(parts["effective_samples"], torch.tensor(float(K)).double())
    log_weights = -terms.distortion + Normal(0.0, 1.0).log_prob(terms.latents[0].z).sum(-1)
    log_weights = log_weights - terms.latents[0].posterior.log_prob(terms.latents[0].z).sum(-1)
    assert log_weights.std(0, unbiased=False).max() < 1e-12


def test_the_bound_is_its_formula_and_stable():
    log_w = np.random.default_rng(0).standard_normal((6, 3)) * 5
    ours = importance_bound(torch.from_numpy(log_w))
    np.testing.assert_allclose(ours, logsumexp(log_w, axis=0) - math.log(6))
    for shift in (-1e5, 1e5):
        shifted = importance_bound(torch.from_numpy(log_w + shift))
        np.testing.assert_allclose(shifted - shift, ours, atol=1e-9)
    assert importance_bound(torch.tensor([[-1e30], [-90.0]])) == -90 - math.log(2)


def test_more_draws_are_tighter_and_the_evidence_is_above():
    x = X[:1].expand(20_000, 2)
    loc, s = torch.zeros_like(x), torch.zeros_like(x)
    bounds = [ImportanceWeighted(K)(taken(x, loc, s, K))["bound"].item() for K in (1, 2, 8, 64)]
    assert bounds == sorted(bounds)
    assert bounds[-1] <= evidence(X[0]).item() + 0.01
    assert evidence(X[0]).item() - bounds[-1] < 0.05


def test_several_bounds_are_averaged():
    log_w = torch.randn(6, 4).double()
    truth = (importance_bound(log_w[:3]) + importance_bound(log_w[3:])) / 2
    torch.testing.assert_close(importance_bound(log_w, bounds=2), truth)
    torch.testing.assert_close(importance_bound(log_w, bounds=6), log_w.mean(0))
    with pytest.raises(ValueError, match="6 draws cannot be dealt out evenly to 4 bounds"):
        importance_bound(log_w, bounds=4)


def test_the_convex_mixture_runs_from_the_bound_to_the_elbo():
    terms = taken(X, torch.zeros_like(X), torch.zeros_like(X), 5)
    z = terms.latents[0].z
    q, p = terms.latents[0].posterior, terms.latents[0].prior
    elbo = (-terms.distortion - (q.log_prob(z) - p.log_prob(z)).sum(-1)).mean()
    loss = {c: ImportanceWeighted(5, elbo_share=c)(terms)["loss"] for c in (0.0, 0.3, 1.0)}
    torch.testing.assert_close(loss[1.0], -elbo)
    torch.testing.assert_close(loss[0.3], 0.7 * loss[0.0] + 0.3 * loss[1.0])
    assert loss[0.0] < loss[1.0]


def test_the_weights_in_the_wild_favour_the_worst_draw():
    """PyTorch-VAE takes the softmax of the loss, not of its negative, and one KL for all draws."""
    log_w = torch.tensor([[-100.0], [-50.0], [-80.0]]).double()
    theirs = ((-log_w).softmax(0) * -log_w).sum(0)
    ours = -importance_bound(log_w)
    assert theirs == pytest.approx(100.0)
    assert ours == pytest.approx(50 + math.log(3))


def test_a_divergence_in_closed_form_does_not_enter_the_weights():
    """The rate is that of all draws alike, and would leave no evidence to be found."""
    terms = taken(X, *exact_posterior(X), 5)
    with_rate = VAEOutput(X, None, (Latent(*vars(terms.latents[0]).values()),), terms.distortion)
    q, p = terms.latents[0].posterior, terms.latents[0].prior
    closed = torch.distributions.kl_divergence(q, p).sum(-1)
    wrong = importance_bound(-terms.distortion - closed)
    assert (wrong - evidence(X)).abs().min() > 1e-3
    found = ImportanceWeighted(5)(with_rate)["bound"]
    torch.testing.assert_close(found, evidence(X).mean())


def test_beta_weighs_the_rate_in_every_weight():
    terms = taken(X, torch.zeros_like(X), torch.ones_like(X), 4)
    group = terms.latents[0]
    ratio = (group.posterior.log_prob(group.z) - group.prior.log_prob(group.z)).sum(-1)
    log_w = (-terms.distortion - 0.3 * ratio).numpy()
    truth = (logsumexp(log_w, axis=0) - math.log(4)).mean()
    assert ImportanceWeighted(4, beta=0.3)(terms)["bound"].item() == pytest.approx(truth)
    effective = (1 / (softmax(log_w, axis=0) ** 2).sum(0)).mean()
    found = ImportanceWeighted(4, beta=0.3)(terms)["effective_samples"].item()
    assert found == pytest.approx(effective)


def test_groups_add_up():
    one = taken(X, torch.zeros_like(X), torch.zeros_like(X), 4)
    both = VAEOutput(X, None, (one.latents[0], one.latents[0]), one.distortion)
    group = one.latents[0]
    ratio = (group.posterior.log_prob(group.z) - group.prior.log_prob(group.z)).sum(-1)
    truth = importance_bound(-one.distortion - 2 * ratio).mean()
    torch.testing.assert_close(ImportanceWeighted(4)(both)["bound"], truth)


def test_posteriors_that_do_not_split_work():
    covariance = torch.tensor([[1.0, 0.3], [0.3, 0.5]]).double()
    q = MultivariateNormal(torch.zeros(3, 2).double(), covariance)
    p = StandardGaussian((2,), like=X)
    z = q.rsample((4,))
    D = -Normal(W * z, NOISE.sqrt()).log_prob(X).sum(-1)
    terms = VAEOutput(X, None, (Latent(q, p, z, torch.zeros(4, 3, 1)),), D)
    truth = importance_bound(-D - q.log_prob(z) + p.log_prob(z).sum(-1)).mean()
    torch.testing.assert_close(ImportanceWeighted(4)(terms)["bound"], truth)


# --- doubly reparameterised gradients

CASES = {
    "IWAE": {},
    "K = 1": {"samples": 1},
    "MIWAE": {"bounds": 3},
    "CIWAE": {"elbo_share": 0.4},
    "ELBO": {"elbo_share": 1.0},
    "warm-up": {"beta": 0.5},
    "all": {"bounds": 2, "elbo_share": 0.3, "beta": 0.7},
}


def gradients(dreg, copies=60_000, like=DiagonalGaussian, **arguments):
    """One gradient for every copy of an example: of the posterior's parameters, and of W."""
    x = X[:1].expand(copies, 2)
    leaves = [
        torch.full((copies, 2), 0.3).double().requires_grad_(),
        torch.full((copies, 2), -0.4).double().requires_grad_(),
        W.expand(copies, 2).clone().requires_grad_(),
    ]
    objective = ImportanceWeighted(**{"samples": 4, **arguments}, dreg=dreg)
    loss = objective(taken(x, leaves[0], leaves[1], objective.samples, leaves[2], like))["loss"]
    return [copies * g for g in torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("arguments", CASES.values(), ids=CASES)
def test_the_gradients_are_equal_in_expectation_and_of_less_variance(arguments):
    plain, doubly = gradients(False, **arguments), gradients(True, **arguments)
    for one, other in zip(plain, doubly, strict=True):
        error = ((one.var(0) + other.var(0)) / len(one)).sqrt()
        assert ((one.mean(0) - other.mean(0)).abs() < 4.5 * error).all()
    encoder = [sum(g.var(0).sum() for g in both[:2]).item() for both in (plain, doubly)]
    assert encoder[1] < 0.9 * encoder[0]


def test_the_decoder_gets_the_same_gradients_draw_by_draw():
    torch.manual_seed(3)
    plain = gradients(False, copies=10)[2]
    torch.manual_seed(3)
    torch.testing.assert_close(gradients(True, copies=10)[2], plain)


def test_at_the_exact_posterior_the_encoder_gets_no_gradient_at_all():
    leaves = [parameter.clone().requires_grad_() for parameter in exact_posterior(X)]
    loss = ImportanceWeighted(5, dreg=True)(taken(X, *leaves, 5))["loss"]
    for gradient in torch.autograd.grad(loss, leaves):
        assert gradient.abs().max() < 1e-12
    loss = ImportanceWeighted(5)(taken(X, *leaves, 5))["loss"]
    assert torch.autograd.grad(loss, leaves)[0].abs().max() > 0.01


def test_dreg_is_the_same_loss_of_any_posterior_made_of_parameters():
    def like(loc, s):
        return Independent(Normal(loc, (0.5 * s).exp()), 1)

    torch.manual_seed(0)
    ours = gradients(True, copies=10, like=like)
    torch.manual_seed(0)
    for one, other in zip(ours, gradients(True, copies=10), strict=True):
        torch.testing.assert_close(one, other)


def test_dreg_refuses_what_it_cannot_do():
    class Opaque(Normal):
        def __init__(self, loc, s):
            super().__init__(loc, (0.5 * s).exp())

    with pytest.raises(TypeError, match="posterior Opaque cannot be made anew from its parameters"):
        ImportanceWeighted(4, dreg=True)(taken(X, X, X, 4, like=Opaque))
    ImportanceWeighted(4)(taken(X, X, X, 4, like=Opaque))
    terms = taken(X, X, X, 4)
    z = terms.latents[0].z
    deeper = Latent(DiagonalGaussian(z, torch.zeros_like(z)), terms.latents[0].prior, z, z)
    hierarchy = VAEOutput(X, None, (terms.latents[0], deeper), terms.distortion)
    with pytest.raises(ValueError, match=r"posteriors that depend on x alone.*write dreg=False"):
        ImportanceWeighted(4, dreg=True)(hierarchy)
    assert ImportanceWeighted(4)(hierarchy)["loss"].isfinite()


# --- refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, "samples must be a whole number of at least 1, got 0"),
        ({"samples": 2.0}, "samples must be a whole number of at least 1, got 2.0"),
        ({"bounds": True}, "bounds must be a whole number of at least 1, got True"),
        ({"elbo_share": 1.5}, "elbo_share is a share, at most 1; got 1.5"),
        ({"beta": (1.0, 2.0)}, "beta must be a finite number >= 0; got (1.0, 2.0)"),
    ],
)
def test_what_makes_no_sense_is_refused_at_construction(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ImportanceWeighted(**arguments)


def test_a_share_that_a_callback_sets_too_high_is_refused():
    objective = ImportanceWeighted(4)
    objective.elbo_share = 2.0
    with pytest.raises(ValueError, match="at most 1"):
        objective(taken(X, X, X, 4))


@pytest.mark.parametrize(("draws", "found"), [(3, 3), (None, None)])
def test_other_numbers_of_draws_are_refused(draws, found):
    terms = taken(X, X, X, draws or 1)
    if draws is None:
        terms = VAEOutput(X, None, terms.latents, terms.distortion[0])
    with pytest.raises(ValueError, match=rf"holds {found} draws of z an example for samples x bou"):
        ImportanceWeighted(2, bounds=2)(terms)


@pytest.mark.parametrize(
    "posterior",
    [
        StableGaussian(torch.zeros(2, 3), torch.full((2, 3), -100.0), floor=0.1),
        RelaxedCategorical(torch.randn(2, 3), 0.3),
        Independent(StableGaussian(torch.zeros(2, 3), torch.full((2, 3), -9.0), floor=0.5), 1),
        Uniform(torch.zeros(2, 3), torch.ones(2, 3)),
        MultivariateNormal(torch.zeros(2, 3), 2 * torch.eye(3)),
    ],
    ids=lambda posterior: type(posterior).__name__,
)
def test_a_posterior_made_anew_is_the_same_with_its_settings(posterior):
    z = posterior.rsample()
    anew = rebuilt(posterior, lambda parameter: parameter)
    torch.testing.assert_close(anew.log_prob(z), posterior.log_prob(z))
    assert anew.rsample().shape == z.shape
    torch.testing.assert_close(anew.mean, posterior.mean)
