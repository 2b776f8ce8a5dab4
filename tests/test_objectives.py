"""Objectives against formulas, independent oracles and the recorded numbers of real systems."""

import copy
import inspect
import json
import math
import pickle
import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.distributions import MultivariateNormal, Normal, StudentT

from lightning_vae import objectives
from lightning_vae.distributions import DiagonalGaussian, StandardGaussian
from lightning_vae.divergences import kl
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.likelihoods import Bernoulli, Gaussian, Laplace, distortion
from lightning_vae.objectives import ELBO, Coefficient, Objective, elbo, free_bits
from lightning_vae.posteriors import draw
from lightning_vae.priors import StandardNormal
from lightning_vae.schedules import Linear
from tests.references import probability as oracles
from tests.references import recorded

# Every objective with its defaults.
EXAMPLES = {
    "Balanced": objectives.Balanced(beta=0.5),
    "DIP": objectives.DIP(),
    "ELBO": ELBO(),
    "FactorVAE": objectives.FactorVAE(latents=3, hidden=(8,)),
    "ImportanceWeighted": objectives.ImportanceWeighted(samples=3),
    "MMD": objectives.MMD(),
    "MultiRate": objectives.MultiRate(),
    "Regularised": objectives.Regularised(1.0, *[0.1] * 5, repeats=2),
    "TotalCorrelation": objectives.TotalCorrelation(size=100),
}


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def latent(rate):
    """A group whose rate is given."""
    q = DiagonalGaussian(torch.zeros_like(rate), torch.zeros_like(rate))
    return Latent(q, StandardGaussian(rate.shape[1:]), rate.detach(), rate)


def output(*rates, D=0.0):
    """What a pass yields whose rates, one a group, are given, at a distortion of D."""
    D = torch.as_tensor(D, dtype=rates[0].dtype)
    D = D.expand(len(rates[0])) if D.dim() == 0 else D
    return VAEOutput(torch.zeros(len(rates[0]), 1), Normal(0.0, 1.0), tuple(map(latent, rates)), D)


def passed(x, likelihood, q):
    """What a real pass yields."""
    p, z = StandardGaussian(q.loc.shape[1:], like=q.loc), q.rsample()
    return VAEOutput(x, likelihood, (Latent(q, p, z, kl(q, p, z)),), distortion(x, likelihood))


def close(ours, truth, rtol=1e-6, atol=1e-9):
    np.testing.assert_allclose(torch.as_tensor(ours).detach().numpy(), truth, rtol, atol)


def cases(system, prefix, least, leave_out=()):
    """Recorded cases by id, no fewer than there are known to be."""
    chosen = {k: c for k, c in recorded(system, prefix).items() if k not in leave_out}
    assert len(chosen) >= least
    return [pytest.param(case, id=key) for key, case in chosen.items()]


# --- free bits: the recorded numbers of CAREamics

# The same rates [B, layers] in every layout that free_bits can be told of them.
LAYOUTS = {
    "latent": lambda kl, **k: free_bits(kl, per="latent", **k),
    "channel": lambda kl, **k: free_bits(
        torch.stack([kl / 2, kl / 4, kl / 4], 2), per="channel", **k
    ),
    "channel of an image": lambda kl, **k: free_bits(
        kl[..., None, None].expand(*kl.shape, 2, 2) / 4, per="channel", **k
    ),
    "group": lambda kl, **k: torch.stack(
        [free_bits(layer[:, None], per="group", **k) for layer in kl.unbind(1)], -1
    ),
    "total": lambda kl, **k: torch.stack(
        [
            free_bits(layer.view(-1, 1, 1).expand(-1, 2, 2) / 4, per="total", **k)
            for layer in kl.unbind(1)
        ],
        -1,
    ),
}
# Of theirs, 9.9e-07-ba0 tests that a floor below eps is off, and negative floors are off too.
FREE_BITS = cases(
    "careamics",
    "free_bits_kl",
    least=11,
    leave_out=(
        "free_bits_kl-9.9e-07-ba0",
        "free_bits_kl--1.0-ba0",
        "free_bits_kl--1.0-ba1",
        "free_bits_kl-shape-(2, 3, 4)",
    ),
)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", FREE_BITS)
def test_recorded_free_bits(case, layout):
    rate = double(case["inputs"]["kl"]).requires_grad_()
    batch_mean = case["params"]["batch_average"]
    ours = LAYOUTS[layout](rate, floor=case["params"]["free_bits"], batch_mean=batch_mean)
    ours = ours if batch_mean else ours.mean(0)
    close(ours, case["outputs"]["value"])
    close(torch.autograd.grad(ours.sum(), rate)[0], case["outputs"]["grad"])


@pytest.mark.parametrize("floor", [-1.0, -1e-9, math.inf, math.nan])
def test_a_floor_below_zero_or_without_end_is_refused(floor):
    with pytest.raises(ValueError, match=r"floor must be a finite number of nats >= 0, got"):
        free_bits(torch.ones(2, 3), floor)


def test_free_bits_of_an_unknown_unit_are_refused():
    with pytest.raises(ValueError, match=r"'latent', 'channel', 'group' or 'total', got 'pixel'"):
        free_bits(torch.ones(2, 3), 1.0, per="pixel")


UNITS = {"latent": (3, 4, 5), "channel": (3,), "group": (), "total": ()}


@pytest.mark.parametrize("batch_mean", [True, False])
@pytest.mark.parametrize("per", UNITS)
def test_free_bits_of_an_image_of_rates(per, batch_mean):
    rate = torch.rand(2, 3, 4, 5).double().requires_grad_()
    sums = {"latent": (), "channel": (2, 3), "group": (1, 2, 3), "total": (1, 2, 3)}[per]
    units = rate.detach().numpy().sum(sums) if sums else rate.detach().numpy()
    units = units.mean(0) if batch_mean else units
    floor = float(np.median(units)) + 1e-3
    ours = free_bits(rate, floor, per, batch_mean)
    assert ours.shape == (UNITS[per] if batch_mean else (2, *UNITS[per]))
    close(ours, np.maximum(units, floor))
    gradient = torch.autograd.grad(ours.sum(), rate)[0].numpy()
    counts = (units > floor) * (0.5 if batch_mean else 1.0)
    counts = counts.reshape(counts.shape + (1,) * len(sums))
    close(gradient, np.broadcast_to(counts, rate.shape))


@pytest.mark.parametrize("batch_mean", [True, False])
@pytest.mark.parametrize("per", UNITS)
def test_the_gradient_is_full_at_the_floor_and_none_below(per, batch_mean):
    units = 12 if per in ("group", "total") else 4 if per == "channel" else 1
    for rate, slope in ((0.25, 1.0), (0.25 - 1e-15, 0.0), (0.25 + 1e-15, 1.0)):
        rates = double(np.full((2, 3, 4), rate)).requires_grad_()
        floored = free_bits(rates, 0.25 * units, per, batch_mean)
        gradient = torch.autograd.grad(floored.sum(), rates)[0]
        assert (gradient == slope * (0.5 if batch_mean else 1.0)).all()


@pytest.mark.parametrize("per", UNITS)
def test_no_floor_leaves_a_negative_monte_carlo_rate(per):
    rate = double([[-1.0, -2.0], [-3.0, 1.0]])
    assert free_bits(rate, 0.0, per).sum() == rate.mean(0).sum()
    assert free_bits(rate, 0.0, per, batch_mean=False).sum() == rate.sum()


# --- free bits and a floor on the total: the recorded numbers of VAE-project


@pytest.mark.parametrize("case", cases("vae_project_losses", "kl-fb", least=16))
def test_recorded_free_bits_with_a_total_floor(case):
    mean, s = (double(case["inputs"][key]).requires_grad_() for key in ("z_mean", "z_log_var"))
    q = DiagonalGaussian(mean, s)
    objective = ELBO(
        free_bits=case["params"]["free_bits"] or 0,
        total_floor=case["params"]["kl_threshold"] or 0,
        per="latent",
        batch_mean=False,
    )
    rate = kl(q, StandardGaussian((4,), like=mean), q.rsample())
    examples = torch.stack([objective(output(row[None]))["loss"] for row in rate])
    truth = np.ravel(case["outputs"]["kl"])
    close(examples, truth, rtol=2e-5)
    batch = objective(output(rate))["loss"]
    close(batch, truth.mean(), rtol=2e-5)
    gradients = torch.autograd.grad(len(rate) * batch, [mean, s])
    for gradient, key in zip(gradients, ("z_mean", "z_log_var"), strict=True):
        close(gradient, case["outputs"][f"grad_of_sum_{key}"], rtol=2e-5, atol=1e-6)


# --- the terms: the recorded numbers of nidl and vae-annealing

# Each of their reconstruction losses is a negative log-likelihood less a constant an element.
THEIR_LIKELIHOODS = {
    "normal": (Gaussian(scale=0.5**0.5), 0.5 * math.log(math.pi)),
    "laplace": (Laplace(scale=1.0), math.log(2)),
    "bernoulli": (Bernoulli(), 0.0),
}
NIDL = [
    row
    for shape, least in {"flat": 12, "image": 9, "batch1": 10, "convlatent": 6}.items()
    for row in cases("nidl_beta_vae_loss", f"{shape}-", least)
]


@pytest.mark.parametrize("case", NIDL)
def test_recorded_beta_vae_loss(case):
    head, constant = THEIR_LIKELIHOODS[case["params"]["default_dist"]]
    p, loc, scale = leaves = [
        double(case["inputs"][key]).requires_grad_() for key in ("p", "q_loc", "q_scale")
    ]
    x = double(case["inputs"]["x"])
    features = p.logit() if isinstance(head, Bernoulli) else p
    terms = passed(x, head(features), DiagonalGaussian(loc, 2 * scale.log()))
    constant = constant * x[0].numel()
    beta, truth = case["params"]["beta"], case["outputs"]
    loss = ELBO(beta)(terms)["loss"] - constant
    close(terms.distortion.mean() - constant, truth["rec_loss"])
    close(terms.rate.mean(), truth["kl_loss"])
    close(loss, truth["loss"])
    if "grad_p" in truth:
        gradients = torch.autograd.grad(loss, leaves)
        for gradient, key in zip(gradients, ("grad_p", "grad_q_loc", "grad_q_scale"), strict=True):
            close(gradient, truth[key])


@pytest.mark.parametrize(
    "case", cases("nidl_beta_vae_loss", "p-", 6, ["p-type-independent-normal"])
)
def test_the_scale_that_nidl_ignores_counts(case):
    head = {"normal": Gaussian, "laplace": Laplace}[case["inputs"]["dist"]]
    x, features = double(case["inputs"]["x"]), double(case["inputs"]["p_loc"])
    ours = distortion(x, head(scale=case["inputs"]["p_scale"])(features)).mean()
    close(ours, case["correct"]["nll_sum_over_dims_mean_batch"])


def test_the_cross_entropy_that_vae_annealing_swaps():
    case = recorded("vae_annealing")["vaeloss-binary-data"]
    x, prediction = (double(case["inputs"][key]) for key in ("x0_original", "x_reconstructed"))
    ours = distortion(x, Bernoulli()(prediction.logit())).sum() / x.numel()
    close(ours, case["correct"]["bce_mean"])


def test_the_rate_that_vae_annealing_does_not_sum():
    case = recorded("vae_annealing")["vaeloss-kld-3d"]
    q = DiagonalGaussian(double(case["inputs"]["mu"]), double(case["inputs"]["logvar"]))
    x = torch.zeros(2, 1).double()
    ours = passed(x, Normal(x, 1.0), q)
    close(ours.rate.mean(), case["correct"]["kld_sum_all_but_batch"])


# --- capacity


@pytest.mark.parametrize("R", [3.0, 5.0, 7.5])
@pytest.mark.parametrize("gamma", [0.0, 1.0, 1000.0])
@pytest.mark.parametrize("C", [0.0, 5.0, 25.0])
def test_the_capacity_loss_is_its_formula(R, gamma, C):
    rate = double([[R / 2, R / 4, 0.0], [R, R / 4, 0.0]]).requires_grad_()
    terms = ELBO(gamma, capacity=C)(output(rate, D=11.0))
    close(terms["loss"], 11.0 + gamma * abs(R - C))
    close(terms["penalty"], abs(R - C))
    gradient = torch.autograd.grad(terms["loss"], rate)[0]
    close(gradient, np.full((2, 3), gamma * np.sign(R - C) / 2))


def test_the_absolute_value_is_of_the_batch_mean():
    rates = double([[2.0], [8.0]])
    assert ELBO(beta=1000, capacity=5)(output(rates, D=7.0))["loss"] == 7.0
    assert ELBO(beta=1000, capacity=5, batch_mean=False)(output(rates, D=7.0))["loss"] == 7.0


@pytest.mark.parametrize("case", cases("variational", "capacity-kl", least=5))
def test_recorded_capacity_schedules(case):
    p = {"min_c": 0, "max_c": 25, "steps": 100_000, "gamma": 1000, **case["params"]}
    capacity = Linear(p["min_c"], p["max_c"], over=p["steps"])
    rate = torch.full((2, 1), float(case["inputs"]["kl"])).double()
    objective = ELBO(beta=p["gamma"])
    truth = case["correct"]["loss"]
    for step, loss in enumerate(truth):
        objective.capacity = capacity(step)
        close(objective(output(rate))["loss"], loss)
    assert len(truth) == case["inputs"]["training_steps"]


# --- β


@pytest.mark.parametrize("beta", [0.0, 1e-3, 1.0, 4.0, 1000.0])
def test_doubling_beta_adds_beta_times_the_rate(beta):
    terms = output(torch.rand(5, 3).double(), D=torch.randn(5).double() * 100)
    once, twice = (ELBO(b)(terms)["loss"].item() for b in (beta, 2 * beta))
    assert abs(twice - once - beta * terms.rate.mean().item()) <= 2 * np.spacing(abs(twice))


def test_beta_zero_leaves_the_distortion_and_no_gradient_of_the_rate():
    rate = torch.rand(5, 3).requires_grad_()
    loss = ELBO(beta=0.0)(output(rate, D=2.0))["loss"]
    assert loss == 2.0
    assert (torch.autograd.grad(loss, rate)[0] == 0).all()


def test_parts_are_detached_and_unweighted():
    rate = torch.full((2, 3), 0.5).requires_grad_()
    D = torch.full((2,), 7.0).requires_grad_()
    terms = ELBO(beta=4.0, free_bits=1.0)(output(rate, D=D))
    assert {key: value.item() for key, value in terms.items()} == {
        "loss": 19.0,
        "distortion": 7.0,
        "penalty": 3.0,
    }
    assert [key for key, value in terms.items() if value.requires_grad] == ["loss"]


# --- groups and draws


def reference(rates, D, beta, floor, capacity, batch_mean=True):
    """The loss of several groups with a floor per latent, one coefficient a group."""
    total = np.mean(D)
    for rate, b, f, c in zip(rates, beta, floor, capacity, strict=True):
        units = rate.mean(0, keepdims=True) if batch_mean else rate
        R = np.maximum(units, f).reshape(len(units), -1).sum(1).mean()
        total += b * (R if c is None else abs(R - c))
    return total


TWO = [torch.rand(4, 3).double(), 2 * torch.rand(4, 2, 5).double()]
NONE = (None, None)


@pytest.mark.parametrize("batch_mean", [True, False])
@pytest.mark.parametrize(
    ("coefficients", "beta", "floor", "capacity"),
    [
        ({"beta": (0.5, 4.0)}, (0.5, 4.0), (0, 0), NONE),
        ({"free_bits": (0.6, 0.1)}, (1, 1), (0.6, 0.1), NONE),
        ({"beta": (0.5, 4), "free_bits": (0.6, 0)}, (0.5, 4), (0.6, 0), NONE),
        ({"beta": (0.5, 4), "free_bits": 0.4}, (0.5, 4), (0.4, 0.4), NONE),
        ({"beta": 3.0, "capacity": (1.0, 30.0)}, (3, 3), (0, 0), (1, 30)),
        ({"beta": (2, 3), "free_bits": (0.6, 1), "capacity": (9, 1)}, (2, 3), (0.6, 1), (9, 1)),
    ],
)
def test_tuples_apply_to_one_group_each(coefficients, beta, floor, capacity, batch_mean):
    ours = ELBO(**coefficients, batch_mean=batch_mean)(output(*TWO, D=1.5))["loss"]
    close(ours, reference([r.numpy() for r in TWO], 1.5, beta, floor, capacity, batch_mean))


def test_scalars_apply_to_the_sum_over_groups():
    R = sum(rate.sum().item() / 4 for rate in TWO)
    close(ELBO(beta=3)(output(*TWO, D=1.5))["loss"], 1.5 + 3 * R)
    close(ELBO(beta=3, capacity=2)(output(*TWO, D=1.5))["loss"], 1.5 + 3 * abs(R - 2))
    # A rate below C in one group makes up for one above it in another.
    far = [torch.full((4, 1), r).double() for r in (2.0, 8.0)]
    assert ELBO(beta=3, capacity=10)(output(*far))["loss"] == 0
    assert ELBO(beta=3, capacity=(5, 5))(output(*far))["loss"] == 18


@pytest.mark.parametrize(
    ("floors", "loss"),
    [
        ({"per": "group", "free_bits": 3.0}, 3.0 + 8.0),
        ({"per": "total", "free_bits": 9.0}, 10.0),
        ({"per": "total", "free_bits": 11.0}, 11.0),
        ({"per": "total", "free_bits": 9.0, "total_floor": 12.0}, 12.0),
        ({"total_floor": 10.5}, 10.5),
        ({"per": "latent", "free_bits": 1.5, "total_floor": 10.0}, 3.0 + 8.0),
        ({"per": "latent", "free_bits": 1.5, "total_floor": 11.5}, 11.5),
        ({"per": "channel", "free_bits": 2.5}, 5.0 + 10.0),
    ],
)
def test_floors_over_two_groups(floors, loss):
    # Two latents of one nat each; four latents of two nats, in four channels.
    rates = torch.ones(3, 2).double(), torch.full((3, 4), 2.0).double()
    assert ELBO(**floors)(output(*rates))["loss"] == loss


def test_the_total_floor_is_of_the_sum_over_groups_of_each_example():
    rates = double([[1.0], [5.0]]), double([[1.0], [1.0]])
    assert ELBO(total_floor=4, batch_mean=False)(output(*rates))["loss"] == (4 + 6) / 2
    assert ELBO(total_floor=4, batch_mean=True)(output(*rates))["loss"] == 4


@pytest.mark.parametrize(
    ("coefficients", "remedy"),
    [
        ({"beta": (1, 2), "capacity": 5}, "write a capacity for every group, or one beta"),
        ({"beta": (1, 2), "total_floor": 5}, "write one beta and one capacity"),
        ({"capacity": (1, 2), "total_floor": 5}, "write one beta and one capacity"),
        ({"beta": (1, 2), "per": "total"}, "write one beta and one capacity"),
        ({"free_bits": (1, 2), "per": "total"}, "write per='group' instead of 'total'"),
        ({"per": "pixel"}, "per must be 'latent', 'channel', 'group' or 'total', got 'pixel'"),
    ],
)
def test_conflicts_are_refused_at_construction(coefficients, remedy):
    with pytest.raises(ValueError, match=re.escape(remedy)):
        ELBO(**coefficients)


def test_a_conflict_that_arises_later_is_refused_at_the_next_loss():
    objective = ELBO(beta=(1, 2))
    objective.total_floor = 3
    with pytest.raises(ValueError, match="write one beta and one capacity"):
        objective(output(*TWO))


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        ({"beta": (1, 2, 3)}, r"beta=\(1.0, 2.0, 3.0\) has 3 values for 2 groups"),
        ({"free_bits": (1,)}, r"free_bits=\(1.0,\) has 1 values for 2 groups"),
        ({"capacity": (1, 2, 3)}, r"capacity=\(1.0, 2.0, 3.0\) has 3 values for 2 groups"),
    ],
)
def test_tuples_that_do_not_fit_the_groups_are_refused(coefficients, message):
    with pytest.raises(ValueError, match=message):
        ELBO(**coefficients)(output(*TWO))


@pytest.mark.parametrize("per", ["latent", "channel"])
def test_a_floor_per_latent_is_refused_where_the_divergence_does_not_split(per):
    q = MultivariateNormal(torch.zeros(4, 3), torch.eye(3))
    z = q.rsample()
    group = Latent(q, p := MultivariateNormal(torch.ones(3), torch.eye(3)), z, kl(q, p, z))
    terms = VAEOutput(torch.zeros(4, 1), Normal(0.0, 1.0), (group,), torch.zeros(4))
    reason = "MultivariateNormal from MultivariateNormal does not split.*write per='group'"
    with pytest.raises(ValueError, match=reason):
        ELBO(free_bits=0.1, per=per)(terms)
    assert ELBO(free_bits=9.0, per="group")(terms)["loss"] == 9.0
    assert ELBO(per=per)(terms)["loss"] == 1.5
    coming = ELBO(per=per)
    coming.planned["free_bits"] = 0.1
    with pytest.raises(ValueError, match=reason):
        coming(terms)


def draws(K=5, B=4):
    rates = torch.rand(K, B, 3).double(), torch.rand(K, B, 2, 2).double()
    x, q = torch.zeros(B, 1), Normal(0.0, 1.0)
    return VAEOutput(x, q, tuple(map(latent, rates)), torch.randn(K, B).double()), rates


def test_draws_lead_in_the_terms():
    terms, rates = draws()
    truth = sum(rate.numpy().reshape(5, 4, -1).sum(2) for rate in rates)
    close(terms.rate, truth)
    close(terms.elbo, -terms.distortion.numpy() - truth)


@pytest.mark.parametrize("batch_mean", [True, False])
@pytest.mark.parametrize("per", ["latent", "channel", "group"])
def test_draws_count_as_further_examples(per, batch_mean):
    terms, rates = draws()
    flat = output(*(rate.flatten(0, 1) for rate in rates), D=terms.distortion.flatten())
    objective = ELBO(2.0, free_bits=0.4, capacity=3.0, per=per, batch_mean=batch_mean)
    close(objective(terms)["loss"], objective(flat)["loss"].item(), rtol=1e-12)


# --- the ELBO of every example


@pytest.mark.parametrize("image", [(4,), (1, 6, 5)])
def test_elbo_is_minus_distortion_minus_rate(image):
    x, loc = torch.rand(3, *image).double(), torch.randn(3, *image).double()
    mean, s = torch.randn(3, 2).double(), torch.randn(3, 2).double()
    log_likelihood = oracles.per_example(stats.norm.logpdf(x, loc, 0.3))
    rates = oracles.per_example(
        [
            [
                oracles.quadrature_kl(oracles.normal(m, v), stats.norm(0, 1))
                for m, v in zip(*pair, strict=True)
            ]
            for pair in zip(mean.tolist(), s.tolist(), strict=True)
        ]
    )
    prior = StandardNormal(2).double()()
    ours = elbo(x, Normal(loc, 0.3), DiagonalGaussian(mean, s), prior)
    close(ours, log_likelihood - rates)


def test_elbo_without_a_closed_form_is_at_the_given_draw():
    q, x = StudentT(5 * torch.ones(3, 2).double()), torch.rand(3, 4).double()
    z = q.rsample()
    ours = elbo(x, Laplace(0.5)(x + 1), q, StandardNormal(2).double()(), z)
    rate = oracles.per_example(stats.t(5).logpdf(z) - stats.norm.logpdf(z))
    close(ours, oracles.per_example(stats.laplace.logpdf(x, x + 1, 0.5)) - rate)
    assert elbo(x, Laplace(0.5)(x + 1), q, StandardNormal(2).double()()).shape == (3,)


X, Q, P = (
    torch.rand(4, 3),
    DiagonalGaussian(torch.zeros(4, 2), torch.zeros(4, 2)),
    StandardNormal(2)(),
)


@pytest.mark.parametrize(
    ("x", "likelihood", "q", "p", "message"),
    [
        (X, Normal(torch.zeros(3), 1.0), Q, P, "likelihood of shape"),
        (X, Normal(torch.zeros(4, 1), 1.0), Q, P, "likelihood of shape"),
        (X + 1, Bernoulli()(X), Q, P, "outside the support of Bernoulli"),
        (X * math.nan, Normal(X, 1.0), Q, P, "entries that are NaN"),
        (X, Normal(X, 1.0), Q, StandardNormal(1)(), "prior has shape"),
        (
            X,
            Normal(X, 1.0),
            DiagonalGaussian(torch.zeros(8, 2), 0.0),
            P,
            "posterior has a batch of 8",
        ),
        (
            X,
            Normal(X, 1.0),
            DiagonalGaussian(torch.zeros(1, 2), 0.0),
            P,
            "posterior has a batch of 1",
        ),
    ],
)
def test_elbo_refuses_what_does_not_fit(x, likelihood, q, p, message):
    with pytest.raises(ValueError, match=message):
        elbo(x, likelihood, q, p)


finite = st.floats(-5, 5)


@settings(deadline=None, max_examples=60)
@given(
    B=st.integers(1, 5),
    image=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    factors=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    seed=st.integers(0, 2**31),
    head=st.sampled_from([Bernoulli(), Gaussian(0.3), Laplace(2.0)]),
    shift=finite,
)
def test_the_default_loss_is_minus_the_mean_elbo(B, image, factors, seed, head, shift):
    generator = torch.Generator().manual_seed(seed)
    new = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    x, likelihood = new(B, *image).sigmoid(), head(new(B, *image) + shift)
    q = DiagonalGaussian(new(B, *factors) + shift, new(B, *factors) + shift)
    p = StandardGaussian(factors, like=q.loc)
    truth = -elbo(x, likelihood, q, p).mean().item()
    terms = passed(x, likelihood, q)
    assert ELBO()(terms)["loss"].item() == pytest.approx(truth, rel=1e-12, abs=1e-12)
    assert -terms.elbo.mean().item() == pytest.approx(truth, rel=1e-12, abs=1e-12)


# --- coefficients


class Focal(ELBO):
    """An objective with a coefficient of its own."""

    gamma = Coefficient(minimum=0.5, grouped=False)

    def __init__(self, gamma: float = 2.0, **kwargs):
        super().__init__(**kwargs)
        self.gamma = gamma


NAMES = ["beta", "free_bits", "capacity", "total_floor"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value", [3, np.float32(0.5), np.float64(3), np.int64(3), Fraction(1, 4), 0, 1e300, -0.0]
)
def test_any_number_becomes_a_plain_float(name, value):
    objective = ELBO()
    setattr(objective, name, value)
    assert type(getattr(objective, name)) is float
    assert getattr(objective, name) == float(value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value",
    [
        True,
        np.True_,
        math.nan,
        math.inf,
        -math.inf,
        -1,
        -1e-300,
        "1",
        1j,
        (),
        (1, math.nan),
        (1, True),
        [1, "2"],
        ((1,),),
        {1.0},
        torch.tensor(1.0),
        np.ones(2),
        nn.Parameter(torch.ones(())),
        nn.Linear(1, 1),
        Linear(0, 1, 5),
    ],
    ids=repr,
)
def test_anything_else_is_refused_by_name(name, value):
    message = rf"{name} must be a finite number >= 0.*; got"
    with pytest.raises(ValueError, match=message):
        ELBO(**{name: value})
    objective = ELBO()
    with pytest.raises(ValueError, match=message):
        setattr(objective, name, value)
    assert objective.coefficients == ELBO().coefficients
    assert not list(objective.parameters())


def test_none_is_for_capacity_alone():
    assert ELBO(capacity=None).capacity is None
    for name in ("beta", "free_bits", "total_floor"):
        with pytest.raises(ValueError, match=f"{name} must be"):
            ELBO(**{name: None})


@pytest.mark.parametrize("name", ["beta", "free_bits", "capacity"])
@pytest.mark.parametrize("value", [(1, 2), [1, 2], (np.float32(1), 2.0)])
def test_a_sequence_becomes_a_tuple_of_floats(name, value):
    stored = getattr(ELBO(**{name: value}), name)
    assert stored == (1.0, 2.0)
    assert {type(stored), *map(type, stored)} == {tuple, float}


def test_a_floor_on_the_total_has_no_groups():
    with pytest.raises(ValueError, match=r"total_floor must be a finite number >= 0; got \(1, 2\)"):
        ELBO(total_floor=(1, 2))


def test_a_minimum_is_kept_and_named():
    assert Focal(gamma=0.5).gamma == 0.5
    with pytest.raises(ValueError, match=r"gamma must be a finite number >= 0\.5; got 0\.4"):
        Focal(gamma=0.4)


def test_coefficients_are_named_in_order_of_their_classes():
    assert ELBO(beta=2).coefficients == {
        "beta": 2.0,
        "free_bits": 0.0,
        "capacity": None,
        "total_floor": 0.0,
    }
    assert list(Focal().coefficients) == ["beta", "free_bits", "capacity", "total_floor", "gamma"]
    assert isinstance(ELBO.beta, Coefficient)


def test_two_objectives_do_not_share_a_coefficient():
    one, other = ELBO(), ELBO()
    one.beta = 7
    assert (one.beta, other.beta) == (7.0, 1.0)


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (lambda: ELBO(), {}),
        (lambda: ELBO(4), {"beta": 4.0}),
        (lambda: ELBO(beta=1.0), {"beta": 1.0}),
        (lambda: ELBO(beta=[1, 2], capacity=None), {"beta": (1.0, 2.0), "capacity": None}),
        (lambda: Focal(), {}),
        (lambda: Focal(2.0, beta=1), {"gamma": 2.0, "beta": 1.0}),
        (lambda: HardWired(), {}),
        (lambda: HardWired(capacity=3), {"capacity": 3.0}),
        (lambda: copy.deepcopy(ELBO(beta=4)), {"beta": 4.0}),
        (lambda: pickle.loads(pickle.dumps(ELBO(beta=4))), {"beta": 4.0}),
    ],
)
def test_given_is_what_the_user_wrote_whatever_a_subclass_makes_of_it(make, given):
    objective = make()
    assert objective.given == given
    objective.beta = 9.0
    assert objective.given == given


class HardWired(ELBO):
    def __init__(self, capacity: float = 25.0):
        super().__init__(beta=100.0, capacity=capacity)


def test_a_coefficient_may_be_set_before_the_rest():
    class Eager(Objective):
        gamma = Coefficient(minimum=0.0)

        def __init__(self):
            self.gamma = 2
            super().__init__()

        def forward(self, output):
            return {"loss": output.distortion.mean()}

    assert Eager().coefficients == {"gamma": 2.0}


def test_one_group_may_go_without_a_capacity():
    rates = torch.full((4, 3), 2.0), torch.full((4, 2), 1.5)
    objective = ELBO(beta=2.0, capacity=(5.0, None))
    assert objective(output(*rates))["loss"] == 2 * abs(6 - 5) + 2 * 3
    objective.capacity = (None, 5.0)
    assert objective(output(*rates))["loss"] == 2 * 6 + 2 * abs(3 - 5)
    with pytest.raises(ValueError, match="beta must be"):
        ELBO(beta=(1.0, None))


# --- what holds of every objective


def every_objective():
    public = [getattr(objectives, name) for name in objectives.__all__]
    return {c.__name__ for c in public if inspect.isclass(c) and issubclass(c, Objective)} - {
        "Objective"
    }


def test_every_objective_has_a_row():
    assert set(EXAMPLES) == every_objective()


def taken(objective, dtype=torch.float32):
    """A pass with what an objective asks for: its context, its draws."""
    x, loc = torch.rand(4, 2, dtype=dtype), 0.3 * torch.randn(4, 3, dtype=dtype)
    loc.requires_grad_()
    q, p = DiagonalGaussian(loc, torch.zeros_like(loc)), StandardGaussian((3,), like=loc)
    z = draw(q, objective.samples)
    group = Latent(q, p, z, kl(q, p, z, 1 if objective.samples is None else 2))
    D = z.float().square().sum(-1) + 5.0
    return VAEOutput(x, Normal(x, 1.0), (group,), D, objective.context(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("objective", EXAMPLES.values(), ids=EXAMPLES)
def test_every_objective_names_its_parts_and_keeps_the_graph_in_its_losses(objective, dtype):
    objective = copy.deepcopy(objective).to(dtype)
    terms = objective(taken(objective, dtype))
    losses = ["loss"] + (["own_loss"] if objective.optimizer else [])
    assert all(term.shape == () and term.isfinite() for term in terms.values())
    assert [key for key, value in terms.items() if value.requires_grad] == losses
    assert all(isinstance(name, str) and len(terms) > len(losses) for name in terms)


@pytest.mark.parametrize("objective", EXAMPLES.values(), ids=EXAMPLES)
def test_every_coefficient_moves_the_loss(objective):
    """A coefficient that is accepted and ignored is a defect."""

    def found():
        torch.manual_seed(5)
        return objective(taken(objective))["loss"]

    objective = copy.deepcopy(objective)
    for name, value in objective.coefficients.items():
        before = found()
        setattr(objective, name, 0.7 * value if value else 0.6)
        assert found() != before, name
        setattr(objective, name, value)


@pytest.mark.parametrize("objective", EXAMPLES.values(), ids=EXAMPLES)
@pytest.mark.parametrize("remake", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_every_objective_copies_with_its_coefficients(objective, remake):
    changed = copy.deepcopy(objective)
    name = next(iter(changed.coefficients))
    setattr(changed, name, 0.123)
    assert remake(changed).coefficients == {**objective.coefficients, name: 0.123}


@pytest.mark.parametrize("objective", EXAMPLES.values(), ids=EXAMPLES)
def test_no_objective_keeps_a_coefficient_in_its_state(objective):
    objective = copy.deepcopy(objective)
    assert not set(objective.state_dict()) & set(objective.coefficients)
    assert objective.double().coefficients == objective.bfloat16().coefficients


# --- two processes against one

RANK = """
import importlib.util, json, sys, types, torch
from torch import distributed

# Lightning takes seconds to import, and an objective needs none of it.
package = types.ModuleType("lightning_vae")
package.__path__ = importlib.util.find_spec("lightning_vae").submodule_search_locations
sys.modules["lightning_vae"] = package
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.objectives import ELBO

rank, store, given = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
rates = torch.tensor(given["rates"], dtype=torch.float64).chunk(2)[rank].requires_grad_()
terms = VAEOutput(rates, None, (Latent(None, None, rates, rates),), torch.zeros(2))
found = []
for coefficients in given["objectives"]:
    loss = ELBO(**coefficients)(terms)["loss"]
    found.append([loss.item(), torch.autograd.grad(loss, rates)[0].tolist()])
print(json.dumps(found))
distributed.destroy_process_group()
"""


def test_two_ranks_are_one(tmp_path):
    rates = [[0.1, 2.0], [0.3, 1.0], [0.5, 7.0], [0.9, 4.0]]
    floors = [{}, {"free_bits": 0.46}, {"free_bits": 0.44}, {"total_floor": 4.0}]
    table = [
        {"beta": 3.0, "batch_mean": batch_mean, **floor, **capacity}
        for batch_mean in (True, False)
        for floor in floors
        for capacity in ({}, {"capacity": 4.2})
    ]
    given = json.dumps({"rates": rates, "objectives": table})
    command = [sys.executable, "-c", RANK]
    ranks = [
        subprocess.Popen([*command, str(r), str(tmp_path / "store"), given], stdout=subprocess.PIPE)
        for r in range(2)
    ]
    found = [json.loads(rank.communicate(timeout=120)[0]) for rank in ranks]
    for coefficients, mine, theirs in zip(table, *found, strict=True):
        alone = double(rates).requires_grad_()
        loss = ELBO(**coefficients)(output(alone))["loss"]
        close(np.mean([mine[0], theirs[0]]), loss.item())
        # DDP averages gradients over ranks.
        close(torch.autograd.grad(loss, alone)[0], np.concatenate([mine[1], theirs[1]]) / 2)
