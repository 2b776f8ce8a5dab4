"""Minibatch regularisers against the recorded numbers of VAE-project."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch.distributions import Distribution, MultivariateNormal, Normal
from torch.utils.data import DataLoader

from lightning_vae import Anneal, Linear, VAEModule
from lightning_vae.distributions import StandardGaussian, Tokens, Weighted
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.likelihoods import Gaussian, distortion
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.objectives import MultiRate, Regularised, similarity
from lightning_vae.objectives.regularised import between, within
from tests.objectives.outputs import latent
from tests.references import recorded


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def taken(codes, x=None, prediction=None, context=None):
    loc, s, eps = (double(codes[key]) for key in ("z_mean", "z_log_var", "eps"))
    group = latent(loc, s, loc + eps * (0.5 * s).exp())
    x = torch.zeros(len(loc), 2).double() if x is None else double(x)
    # Their squared error has no factor ½: a variance of ½, but for a constant.
    likelihood = Gaussian(0.5**0.5)(x if prediction is None else double(prediction))
    D = distortion(x, likelihood) - 0.5 * math.log(math.pi) * x[0].numel()
    return VAEOutput(x, likelihood, (group,), D, context or {})


def every(weight=1.0, **kwargs):
    """All five regularisers."""
    return Regularised(1.0, *[weight] * 5, **kwargs)


ROWS = recorded("vae_project_losses")
LOSSES = {key: row for key, row in ROWS.items() if key.startswith("vaeloss-")}


@pytest.mark.parametrize("repeats", [2, 3])
@pytest.mark.parametrize("which", ["Between", "Within"])
def test_recorded_total_correlation_of_repeated_examples(which, repeats):
    row = ROWS[f"TotalCorrelation{which}-{repeats}"]
    _, terms = every(repeats=repeats).penalties(taken(row["inputs"]))
    truth = np.ravel(row["outputs"]["tc"])
    ours = terms[f"total_correlation_{which.lower()}"]
    np.testing.assert_allclose(ours, truth, rtol=2e-5, atol=2e-6)


def given(row):
    codes, images = row["inputs"]["kl-fbNone-thNone"], row["inputs"]["squared-error"]
    return codes, images["y_true"], images["y_pred"]


@pytest.mark.parametrize("key", [key for key in LOSSES if "-scalar-" in key])
def test_recorded_losses_where_beta_multiplies_every_regulariser(key):
    row = LOSSES[key]
    p = row["params"]
    objective = Regularised(
        p["beta"], p["gamma"], delta=p["delta"], free_bits=p["free_bits"], repeats=2
    )
    terms = taken(*given(row))
    penalty, _ = objective.penalties(terms)
    truth = np.ravel(row["outputs"]["loss"])
    np.testing.assert_allclose(terms.distortion + p["beta"] * penalty, truth, rtol=2e-5)
    np.testing.assert_allclose(objective(terms)["loss"], truth.mean(), rtol=2e-5)


@pytest.mark.parametrize("key", [key for key in LOSSES if "-per-sample-" in key])
def test_recorded_losses_with_a_beta_per_example(key):
    row = LOSSES[key]
    p = row["params"]
    regulariser = Regularised(
        gamma=p["gamma"], delta=p["delta"], free_bits=p["free_bits"], repeats=2
    )
    terms = taken(*given(row), context={"beta": double(p["beta"]).flatten()})
    loss = MultiRate(regulariser=regulariser)(terms)["loss"]
    np.testing.assert_allclose(loss, np.mean(row["outputs"]["loss"]), rtol=2e-5)


def test_a_beta_per_example_is_not_broadcast_against_the_batch():
    """Theirs gives [B, B, 1] where β is no tf.Tensor, and so mixes the βs of examples."""
    row = LOSSES["vaeloss-beta-not-a-tf-tensor"]
    terms = taken(*given(row), context={"beta": double(row["inputs"]["beta"]).flatten()})
    found = MultiRate()(terms)["loss"].item()
    assert found == pytest.approx(row["correct"]["mean"], rel=2e-5)
    assert found != pytest.approx(row["outputs"]["mean"], rel=1e-4)


def test_each_weight_weighs_its_own_term():
    """In theirs the similarity between repetitions is weighed by the other's δ, and vanishes."""
    row = LOSSES["vaeloss-scalar-g0.0-d0.0-db0.0"]
    terms = taken(*given(row))
    (plain, none), (_, parts) = (o.penalties(terms) for o in (Regularised(), every(repeats=2)))
    assert (len(none), len(parts)) == (0, 5)
    weights = ("gamma", "gamma_between", "gamma_within", "delta", "delta_between")
    for weight, (name, part) in zip(weights, parts.items(), strict=True):
        penalty, alone = Regularised(repeats=2, **{weight: 3.0}).penalties(terms)
        torch.testing.assert_close(alone, {name: part})
        torch.testing.assert_close(penalty, plain + 3 * part, msg=name)
        assert part.abs().max() > 1e-3


# --- similarity


def test_similarity_is_the_cross_entropy_of_cosines():
    x, tau = torch.randn(5, 2, 3).double(), 0.3
    rows = x.flatten(1).numpy()
    cosines = rows @ rows.T / np.outer(*[np.linalg.norm(rows, axis=1)] * 2) / tau
    truth = -np.log(np.exp(np.diag(cosines)) / np.exp(cosines).sum(1))
    np.testing.assert_allclose(similarity(x, temperature=tau), truth)


def test_similarity_counts_those_alike():
    assert similarity(torch.ones(1, 3)) == 0
    np.testing.assert_allclose(similarity(torch.ones(6, 3), between(6, 3)), np.log(3), rtol=1e-6)
    np.testing.assert_allclose(similarity(torch.ones(6, 3), within(6, 3)), np.log(2), rtol=1e-6)
    apart = similarity(torch.eye(3), temperature=0.01)
    assert apart.abs().max() < 1e-6
    assert similarity(torch.zeros(3, 2)).isfinite().all()


# --- extremes


def test_without_repetition_between_is_nothing_and_within_is_all():
    row = LOSSES["vaeloss-scalar-g0.0-d0.0-db0.0"]
    _, parts = every().penalties(taken(*given(row)))
    assert parts["total_correlation_between"].abs().max() < 1e-12
    assert parts["similarity_between"].abs().max() < 1e-12
    torch.testing.assert_close(parts["total_correlation_within"], parts["total_correlation"])


def test_gradients_stay_finite_where_examples_are_left_out():
    loc, s = torch.randn(6, 3).requires_grad_(), torch.zeros(6, 3).requires_grad_()
    prediction = torch.randn(6, 2).requires_grad_()
    terms = VAEOutput(torch.zeros(6, 2), Gaussian()(prediction), (latent(loc, s),), torch.zeros(6))
    objective = Regularised(1, 1, 1, 1, 1, 1, repeats=2)
    for gradient in torch.autograd.grad(objective(terms)["loss"], [loc, s, prediction]):
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"repeats": 0}, "repeats must be a whole number of at least 1, got 0"),
        ({"repeats": 1.5}, "repeats must be a whole number of at least 1, got 1.5"),
        ({"temperature": 0}, "temperature must be a positive finite number, got 0"),
        ({"delta": -1}, "delta must be a finite number >= 0"),
    ],
)
def test_what_makes_no_sense_is_refused_at_construction(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Regularised(**arguments)


def test_what_does_not_fit_is_refused():
    row = LOSSES["vaeloss-scalar-g0.0-d0.0-db0.0"]
    with pytest.raises(ValueError, match="a batch of 6 does not divide into repeats=4"):
        Regularised(repeats=4)(taken(*given(row)))
    q = MultivariateNormal(torch.zeros(4, 3), torch.eye(3))
    group = Latent(q, StandardGaussian((3,)), q.rsample(), torch.zeros(4, 1))
    terms = VAEOutput(torch.zeros(4, 1), Gaussian()(torch.zeros(4, 1)), (group,), torch.zeros(4))
    with pytest.raises(ValueError, match="MultivariateNormal gives no log-density for every"):
        Regularised(gamma_within=1.0)(terms)
    terms = VAEOutput(terms.x, terms.likelihood, terms.latents, torch.zeros(3, 4))
    with pytest.raises(ValueError, match="holds 3 draws of z an example"):
        Regularised()(terms)


class Meanless(Distribution):
    """A likelihood that gives a density and nothing else."""

    arg_constraints = {}  # noqa: RUF012

    def log_prob(self, value):
        return torch.zeros_like(value)


def seen(likelihood):
    return replace(taken(*given(LOSSES["vaeloss-scalar-g0.0-d0.0-db0.0"])), likelihood=likelihood)


def test_what_weighs_nothing_is_not_computed_and_asks_for_no_mean():
    meanless = seen(Meanless((6, 2), validate_args=False))
    assert Regularised(0.5)(meanless).keys() == {"loss", "penalty"}
    assert Regularised(gamma=1.0)(meanless).keys() == {"loss", "penalty", "total_correlation"}
    for weight in ("delta", "delta_between"):
        with pytest.raises(TypeError, match="likelihood Meanless has no mean"):
            Regularised(**{weight: 1.0})(meanless)
    # Weighed and masked, a mean is the base's; names have none that points anywhere.
    masked = Weighted(Normal(torch.randn(6, 2), 1.0), torch.ones(6, 1))
    assert Regularised(delta=1.0)(seen(masked))["similarity"] > 0
    with pytest.raises(ValueError, match=r"x are names .*Tokens.*write delta=0"):
        Regularised(delta=1.0)(seen(Tokens(torch.zeros(6, 2, 3))))


class FirstLogged(Callback):
    """The regularisers that are logged in the first epoch."""

    keys: set[str]

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == 0:
            found = trainer.callback_metrics
            self.keys = {key for key in found if "corr" in key or "similar" in key}


def test_a_regulariser_that_is_to_be_raised_is_logged_from_the_start(fit_with):
    def logged(*callbacks, **weights):
        vae = VAEModule(
            MLPEncoder((4,), 2, ()),
            MLPDecoder((4,), 2, ()),
            objective=Regularised(**weights),
        )
        first = FirstLogged()
        trainer = fit_with(max_epochs=2, callbacks=[*callbacks, first])
        trainer.fit(vae, DataLoader(torch.rand(8, 4), 4), DataLoader(torch.rand(8, 4), 4))
        return first.keys

    assert logged() == set()
    raised = Anneal("objective.gamma", Linear(0.0, 1.0, over=9))  # 0 in the first epoch
    lowered = Anneal("objective.delta", Linear(1.0, 0.0, over=1))
    both = {"total_correlation", "similarity"}
    assert logged(raised, lowered) >= {f"val/{name}" for name in both}


def test_a_floor_under_latents_needs_a_rate_for_each():
    codes = {key: np.zeros((4, 3)) for key in ("z_mean", "z_log_var", "eps")}
    whole = taken(codes)
    group = whole.latents[0]
    one_rate = Latent(group.posterior, group.prior, group.z, group.rate.sum(1, keepdim=True))
    with pytest.raises(ValueError, match="free_bits per latent needs a rate for every latent"):
        Regularised(free_bits=0.5)(replace(whole, latents=(one_rate,)))
