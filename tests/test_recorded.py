"""The recorded numbers of other systems: those that no other file sweeps, and that none is left."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from lightning_vae import ELBO, DiagonalGaussian, Linear, Objective, StandardNormal, VAEModule
from lightning_vae.distributions import Exponential, StandardGaussian, Uniform, Weibull, Weighted
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.likelihoods import distortion
from tests.references import recorded


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def swept(system, *prefixes):
    """The cases to reproduce: those held to be right, and those with a right number beside."""
    cases = {k: c for prefix in prefixes for k, c in recorded(system, prefix).items()}
    chosen = {k: c for k, c in cases.items() if c["verdict"] == "reference" or numbers(c)}
    return [pytest.param(case, id=key) for key, case in chosen.items()]


def numbers(case):
    return {k: v for k, v in case.get("correct", {}).items() if k != "note"}


def passed(rates, D=None):
    """An output of these rates [B, ...], a group each."""
    zero = torch.zeros(len(rates[0])).double()
    q = DiagonalGaussian(zero, zero)
    latents = tuple(Latent(q, StandardGaussian(()), rate, rate) for rate in rates)
    return VAEOutput(zero[:, None], Normal(0.0, 1.0), latents, zero if D is None else D)


# --- draws


@pytest.mark.parametrize("case", swept("variational", "normal-rsample"))
def test_recorded_draws_of_a_normal(case, monkeypatch):
    given = {key: double(value) for key, value in case["inputs"].items() if key != "sample_shape"}
    monkeypatch.setattr(torch, "randn", lambda shape, **_: given["eps"].reshape(shape))
    draws = DiagonalGaussian(given["mu"], given["logvar"]).rsample(case["inputs"]["sample_shape"])
    np.testing.assert_allclose(draws, case["outputs"]["sample"], rtol=1e-9)


def test_distributions_are_made_where_torchbearer_s_cannot_be(monkeypatch):
    assert recorded("variational")["torch-default-validation"]["correct"]["note"] == "construct"
    # torch's default, which torch.compile switches off for the whole process
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)
    one = torch.ones(2)
    for d in (DiagonalGaussian(one, one), Exponential(one), Weibull(one, one), Uniform(-one, one)):
        assert d.rsample().shape == d.mean.shape == (2,)


# --- reductions and functions after them are an objective of three lines


class SumMean(Objective):
    def forward(self, output):
        return {"loss": output.distortion.mean() + output.rate.mean()}


class SumSum(Objective):
    def forward(self, output):
        return {"loss": output.distortion.mean() + output.rate.sum()}


class Max(Objective):
    def forward(self, output):
        return {"loss": output.distortion.mean() + output.latents[0].rate.max()}


class Shifted(Objective):
    def forward(self, output):
        return {"loss": output.distortion.mean() + 4 * (output.rate.mean() + 2)}


REDUCTIONS = {
    "base-default": SumMean,
    "base-sum_mean": SumMean,
    "base-sum_sum": SumSum,
    "base-custom_max": Max,
    "base-post2_beta4": Shifted,
}


@pytest.mark.parametrize("case", swept("variational", "base-"))
def test_recorded_reductions(case):
    terms = passed([double(case["inputs"]["divergence"])])
    assert REDUCTIONS[case["id"]]()(terms)["loss"].item() == case["outputs"]["loss"]


@pytest.mark.parametrize("objective", set(REDUCTIONS.values()))
def test_such_an_objective_trains(objective):
    encode = torch.nn.Linear(3, 4)

    class VAE(VAEModule):
        def encode(self, x):
            return DiagonalGaussian(*encode(x).chunk(2, 1))

        def decode(self, z):
            return Normal(z.sum(1, keepdim=True).expand(-1, 3), 1.0)

    vae = VAE(prior=StandardNormal(2), objective=objective())
    vae.training_step(torch.randn(5, 3), 0)["loss"].backward()
    assert encode.weight.grad.isfinite().all()


def test_a_rate_of_any_rank_is_summed_over_all_but_the_batch():
    case = recorded("variational")["base-3d-default"]
    rate = double(case["inputs"]["divergence"])
    assert ELBO()(passed([rate]))["loss"] == rate.flatten(1).sum(1).mean()


# --- the layers of CAREamics: a scale of each is its β, a weight of the distortion is a Weighted


def their_scale(shape, image, rescaling):
    cells = math.prod(shape[1:]) if rescaling == "latent_dim" else math.prod(image[-2:])
    return 1 / cells / (image[0] if len(image) == 3 else 1)


def layered(inputs, rescaling, aggregation, free_bits, image, weight=1.0):
    kl = double(inputs["kl"])
    share = len(inputs["z_shapes"]) if aggregation == "mean" else 1
    beta = [weight * their_scale(s, image, rescaling) / share for s in inputs["z_shapes"]]
    objective = ELBO(beta, free_bits, per="group", batch_mean=False)
    return objective, list(kl[:, :, None].unbind(1))


@pytest.mark.parametrize("case", swept("careamics", "kl_loss"))
def test_recorded_rates_of_layers(case):
    p = case["params"]
    objective, rates = layered(
        case["inputs"],
        p["rescaling"],
        p["aggregation"],
        p["free_bits_coeff"],
        case["inputs"]["img_shape"],
    )
    loss = objective(passed(rates))["loss"].item()
    assert loss == pytest.approx(case["outputs"]["loss"], rel=1e-6)


@pytest.mark.parametrize("case", swept("careamics", "hdn_loss-w", "musplit_loss-w"))
def test_recorded_losses_of_layers(case):
    p, truth = case["params"], {**case["outputs"], **numbers(case)}
    x, prediction = double(case["inputs"]["target"]), double(case["inputs"]["prediction"])
    pixelwise = p["likelihood"] == "pixelwise"
    loc, raw = prediction.chunk(2, 1) if pixelwise else (prediction, torch.zeros_like(prediction))
    share = torch.full((1, 1, 1, 1), p["reconstruction_weight"] / x[0].numel()).double()
    D = distortion(x, Weighted(DiagonalGaussian(loc, raw.clamp(min=-5)), share))
    D = D if pixelwise else D - p["reconstruction_weight"] * 0.5 * math.log(2 * math.pi)
    ramp = Linear(0, p["kl_weight"], over=p["annealtime"])(p["current_epoch"] - p["start"])
    weight = ramp if p["annealing"] else p["kl_weight"]
    hdn = case["id"].startswith("hdn")
    settings = ("image_dim", "sum", 1.0) if hdn else ("latent_dim", "mean", 0.0)
    objective, rates = layered(case["inputs"], *settings, x.shape[-2:], weight)
    terms = objective(passed(rates, D))
    assert D.mean().item() == pytest.approx(truth["reconstruction_loss"], rel=1e-5)
    assert (terms["loss"] - D.mean()).item() == pytest.approx(truth["kl_loss"], rel=1e-5)
    assert terms["loss"].item() == pytest.approx(truth["loss"], rel=1e-5)


def test_a_term_that_is_nan_is_named_and_never_dropped():
    assert recorded("careamics")["hdn_loss-nan-reconstruction"]["verdict"] == "bug"
    x = torch.zeros(2, 3)
    x[0, 1] = math.nan
    with pytest.raises(ValueError, match="x has entries that are NaN"):
        distortion(x, Normal(torch.zeros(2, 3), 1.0))


# --- none is left out

HERE = "test_recorded.py"
SWEPT = {
    "variational": {
        "torch-default-validation": f"{HERE}::test_distributions_are_made",
        "normal-log_prob": "test_distributions.py::test_recorded_simple_normal",
        "normal-numbers": "test_distributions.py::test_recorded_simple_normal",
        "normal-rsample": f"{HERE}::test_recorded_draws_of_a_normal",
        "uniform-log_prob": "distributions/test_positive.py::test_recorded_uniform_density",
        "uniform-rsample": "distributions/test_positive.py::test_recorded_draws",
        "exponential-log_prob": "distributions/test_positive.py::test_recorded_exponential_density",
        "exponential-log_prob-negative": "distributions/test_positive.py::"
        "test_recorded_exponential_outside",
        "exponential-rsample": "distributions/test_positive.py::test_recorded_draws",
        "weibull-log_prob": "distributions/test_positive.py::test_recorded_weibull_density",
        "kl-exponential": "distributions/test_positive.py::test_recorded_exponential_divergence",
        "kl-weibull": "distributions/test_positive.py::test_recorded_weibull_divergence",
        "base-": f"{HERE}::test_recorded_reductions",
        "base-3d-default": f"{HERE}::test_a_rate_of_any_rank",
        "capacity-kl": "test_objectives.py::test_recorded_capacity_schedules",
    },
    "careamics": {
        "free_bits_kl": "test_objectives.py::test_recorded_free_bits",
        "get_kl_weight": "test_schedules.py::test_recorded_careamics",
        "kl_loss": f"{HERE}::test_recorded_rates_of_layers",
        "hdn_loss-w": f"{HERE}::test_recorded_losses_of_layers",
        "musplit_loss-w": f"{HERE}::test_recorded_losses_of_layers",
        "hdn_loss-nan": f"{HERE}::test_a_term_that_is_nan",
        "stable-logvar": "distributions/test_stable_gaussian.py::test_recorded_stable_log_variance",
        "kl-metrics": "test_divergences.py::test_recorded_rates_by_sample",
    },
    "vae_project_losses": {
        "kl-fb": "test_objectives.py::test_recorded_free_bits_with_a_total_floor",
        "TotalCorrelation": "objectives/test_regularised.py::test_recorded_total_correlation",
        "squared-error": "test_likelihoods.py::test_recorded_squared_error",
        "vaeloss-scalar": "objectives/test_regularised.py::test_recorded_losses_where_beta",
        "vaeloss-per-sample": "objectives/test_regularised.py::test_recorded_losses_with_a_beta",
        "vaeloss-beta": "objectives/test_regularised.py::test_a_beta_per_example",
    },
}
# Of callbacks that walk the latents, of base classes, and of data.
OTHERS = {"variational": ("walk-", "auto-encoder-base", "dsprites-bases")}


@pytest.mark.parametrize("system", SWEPT)
def test_every_case_to_reproduce_is_swept(system):
    for key, case in recorded(system).items():
        if case["verdict"] == "reference" or "correct" in case:
            known = [*SWEPT[system], *OTHERS.get(system, ())]
            assert any(key.startswith(prefix) for prefix in known), key
    for prefix, test in SWEPT[system].items():
        assert recorded(system, prefix), prefix
        file, name = test.split("::")
        assert f"def {name}" in (Path(__file__).parent / file).read_text(), test
