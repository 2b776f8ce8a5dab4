"""Arguments: what is taken, and that what is not is named, shown and mended."""

import math
import re

import numpy as np
import pytest
import torch

from lightning_vae import likelihoods, metrics, networks, posteriors, priors
from lightning_vae.arguments import one_of, positive, share, whole, wholes
from lightning_vae.conversions import bits_per_dimension
from lightning_vae.distributions.conditioner import Conditioner


@pytest.mark.parametrize(
    ("taken", "given"),
    [
        (whole("n", np.int64(3)), 3),
        (wholes("n", [np.int32(3), 4]), (3, 4)),
        (wholes("n", ()), ()),
        (positive("x", np.float32(0.5)), 0.5),
        (positive("x", 2), 2.0),
        (share("x", 1), 1.0),
        (one_of("x", "a", ("a", "b")), "a"),
        (likelihoods.Gaussian(np.float32(0.5)).scale, 0.5),
        (likelihoods.Laplace(np.float64(0.5)).scale, 0.5),
        (posteriors.RelaxedCategorical(2, np.float32(0.5)).temperature, 0.5),
    ],
)
def test_numbers_of_any_kind_become_plain_ones(taken, given):
    assert taken == given
    assert type(taken) is type(given)


POSITIVE = "must be a positive finite number, got"
WHOLE = "must be a whole number of at least"
HIDDEN = "hidden must be positive whole numbers, got"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: positive("x", True), f"x {POSITIVE} True; write x=1.0."),
        (lambda: positive("x", math.nan), f"x {POSITIVE} nan; write x=1.0."),
        (lambda: positive("x", "1"), f"x {POSITIVE} '1'; write x=1.0."),
        (lambda: whole("n", 2.0), f"n {WHOLE} 1, got 2.0; write n=1."),
        (lambda: wholes("n", 4), "n must be a sequence, got 4; write n=(4,)."),
        (lambda: wholes("n", [True]), "n must be positive whole numbers, got (True,); write"),
        (lambda: share("x", 1.5), "x must be a share from 0 to 1, got 1.5; write x=0.5."),
        (
            lambda: likelihoods.Gaussian(torch.tensor(2.0)),
            f"scale {POSITIVE} tensor(2.); write scale=1.0.",
        ),
        (lambda: likelihoods.Gaussian(np.float32(-1)), f"scale {POSITIVE} np.float32(-1.0); write"),
        (
            lambda: posteriors.RelaxedCategorical(2, torch.tensor(-1)),
            f"temperature {POSITIVE} tensor(-1); write temperature=1.0.",
        ),
        (
            lambda: posteriors.VonMisesFisher(-1.0),
            f"concentration {POSITIVE} -1.0; write concentration=50.0, or None to let the encoder",
        ),
        (lambda: posteriors.BatchNormGaussian(0), f"latent {WHOLE} 1, got 0"),
        (lambda: posteriors.BatchNormGaussian(2, 0.6, 2.0), "momentum must be a share"),
        (lambda: priors.Weibull(2, scale=torch.ones(2)), f"scale {POSITIVE} tensor([1., 1.])"),
        (lambda: bits_per_dimension(1.0, 2.5), f"dimensions {WHOLE} 1, got 2.5"),
        (lambda: likelihoods.Categorical(2.5), f"classes {WHOLE} 2, got 2.5"),
        (
            lambda: likelihoods.Categorical(5, padding=0.5),
            "padding must be a token from 0 to 4, got 0.5",
        ),
        (lambda: likelihoods.Categorical(5, padding=5), "padding must be a token from 0 to 4"),
        (lambda: likelihoods.DiscretisedLogisticMixture(2.5), f"mixtures {WHOLE} 1, got 2.5"),
        (lambda: likelihoods.DiscretisedLogisticMixture(levels=1), f"levels {WHOLE} 2, got 1"),
        (lambda: Conditioner(1, 1, hidden=(2.5,)), f"{HIDDEN} (2.5,)"),
        (lambda: Conditioner(1, 1, hidden=8), "hidden must be a sequence, got 8"),
        (lambda: networks.MLPEncoder((4,), 2, (0,)), f"{HIDDEN} (0,); write hidden=(400,)"),
        (lambda: networks.MLPEncoder((4,), 2.5), f"latent {WHOLE} 1, got 2.5"),
        (lambda: networks.MLPDecoder((4,), 0), f"latent {WHOLE} 1, got 0"),
        (lambda: networks.MLPDecoder((-4,), 2), "shape must be positive whole numbers, got (-4,)"),
        (
            lambda: networks.ConvEncoder((1, 16, 16), 2, (0,)),
            "channels must be positive whole numbers, got (0,); write channels=(32, 64)",
        ),
        (lambda: networks.ConvDecoder((1, 16, 0), 2, (4,)), "got (1, 16, 0); write shape=(1, 28"),
        (lambda: networks.LSTMEncoder(9, 2, dropout=2.0), "dropout must be a share from 0 to 1"),
        (lambda: metrics.IRS(quantile=0.0), f"quantile {POSITIVE} 0.0; write quantile=0.99."),
        (lambda: metrics.IRS(quantile=1.5), "quantile must be a share from 0 to 1, got 1.5"),
        (lambda: metrics.FactorVAEScore(group=1), f"group {WHOLE} 2, got 1"),
        (lambda: metrics.MIG(bins=2.5), f"bins {WHOLE} 2, got 2.5; write bins=20"),
        (lambda: metrics.MarginalLikelihood(levels=0), f"levels {WHOLE} 1, got 0"),
    ],
)
def test_what_is_none_is_named_shown_and_mended(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
