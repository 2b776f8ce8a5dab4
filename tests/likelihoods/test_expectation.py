"""What ``sample`` and ``reconstruct`` give of every likelihood: its mean, or its likeliest token."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from lightning_vae import StandardNormal, VAEModule
from lightning_vae.distributions import Tokens, Weighted
from lightning_vae.likelihoods import expectation
from lightning_vae.networks import MLPDecoder
from tests.likelihoods.test_heads import HEADS, IMAGE

# Between what they lie; None is all numbers.
RANGES = {
    "Bernoulli": (0, 1),
    "Categorical": (0, 4),
    "ContinuousBernoulli": (0, 1),
    "DiscretisedLogisticMixture": (0, 1),
    "Gaussian": None,
    "HeteroscedasticGaussian": None,
    "Laplace": None,
    "LearnedGaussian": None,
    "NegativeBinomial": (0, math.inf),
    "OptimalGaussian": None,
    "Poisson": (0, math.inf),
    "Weighted": None,
    "ZeroInflatedNegativeBinomial": (0, math.inf),
}


class Same(nn.Module):
    """Any x, whole numbers too, to a posterior."""

    def forward(self, x):
        return Normal(x.float().flatten(1)[:, :4], 1.0)


@pytest.mark.parametrize("name", HEADS)
def test_samples_and_reconstructions_are_values_that_the_likelihood_may_have(name):
    head, data = HEADS[name]
    vae = VAEModule(Same(), MLPDecoder(IMAGE, 4, (), likelihood=head()), StandardNormal(4))
    low, high = RANGES[name] or (-math.inf, math.inf)
    for shown in (vae.sample(6), vae.reconstruct(data(3, *IMAGE))):
        assert shown.shape[1:] == IMAGE
        assert shown.isfinite().all()
        assert ((shown >= low) & (shown <= high)).all()
        assert shown.dtype == (torch.long if name == "Categorical" else torch.float32)


LOGITS = torch.tensor([[[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]]])
NAMES = {
    "Tokens": Tokens(LOGITS),
    "Categorical": Categorical(logits=LOGITS),
    "Independent": Independent(Categorical(logits=LOGITS), 1),
    "Weighted": Weighted(Categorical(logits=LOGITS), torch.ones(1, 1)),
}


@pytest.mark.parametrize("likelihood", NAMES.values(), ids=NAMES)
def test_of_names_it_is_the_likeliest_one_and_never_the_nan_that_torch_calls_their_mean(likelihood):
    assert expectation(likelihood).tolist() == [[1, 0]]


class OnlyDensity:
    def log_prob(self, x):
        return -x.square()


class NoMean(OnlyDensity, Distribution):
    def __init__(self):
        Distribution.__init__(self, torch.Size([3, 4]), validate_args=False)


@pytest.mark.parametrize("likelihood", [OnlyDensity(), NoMean()])
def test_a_likelihood_without_a_mean_trains_but_says_that_it_has_none_to_show(likelihood):
    class Decoder(nn.Module):
        def forward(self, z):
            return likelihood

    vae = VAEModule(Same(), Decoder(), StandardNormal(4))
    x = torch.randn(3, 4)
    assert vae(x).elbo.shape == (3,)
    for call in (lambda: vae.sample(2), lambda: vae.reconstruct(x)):
        with pytest.raises(TypeError, match=r"likelihood (OnlyDensity|NoMean) has no mean to show"):
            call()
