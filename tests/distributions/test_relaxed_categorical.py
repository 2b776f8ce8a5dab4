"""The relaxed categorical: its exact rate, its draws, and its temperature."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.autograd import gradcheck
from torch.distributions import Independent, OneHotCategorical, kl_divergence

from lightning_vae import Anneal, Linear, VAEModule, priors
from lightning_vae.callbacks.targets import find
from lightning_vae.distributions import RelaxedCategorical
from lightning_vae.divergences import kl

LOGITS = torch.tensor([[0.3, -1.0, 2.0, 0.0], [5.0, 0.0, 0.0, -3.0]], dtype=torch.float64)
PROBS = LOGITS.softmax(-1).numpy()


def uniform(*shape):
    return OneHotCategorical(logits=torch.zeros(*shape, dtype=torch.float64))


def close(ours, truth, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(ours.detach(), truth, rtol, atol)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0, torch.tensor(0.5)])
def test_the_rate_is_exact_at_any_temperature(temperature):
    q = RelaxedCategorical(LOGITS, temperature)
    entropy = stats.multinomial(1, PROBS).entropy()
    rate = kl(q, uniform(4), q.rsample())
    close(rate, (math.log(4) - entropy)[:, None])
    close(q.entropy(), entropy)
    p = RelaxedCategorical(LOGITS.flip(0), 2.0)
    close(kl_divergence(q, p), (PROBS * np.log(PROBS / PROBS[::-1])).sum(1))
    assert kl_divergence(q, q).tolist() == [0, 0]


def test_several_categorical_latents_share_an_example():
    q = RelaxedCategorical(LOGITS.expand(3, 2, 4))
    z = q.rsample((5,))
    assert z.shape == (5, 3, 2, 4)
    truth = (math.log(4) - stats.multinomial(1, PROBS).entropy()).sum()
    for p in (uniform(2, 4), Independent(uniform(2, 4), 1)):
        close(kl(q, p, z), np.full((5, 3, 1), truth))


def test_moments_and_density_are_the_categoricals():
    q = RelaxedCategorical(LOGITS, 0.3)
    close(q.mean, PROBS)
    close(q.variance, PROBS * (1 - PROBS))
    for k in range(4):
        one_hot = torch.eye(4, dtype=torch.float64)[k].expand(2, 4)
        close(q.log_prob(one_hot), np.log(PROBS[:, k]))
    z = q.rsample()
    close(q.log_prob(z), (z.numpy() * np.log(PROBS)).sum(1))


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_relaxed_draws_pass_kolmogorov_smirnov(temperature):
    logits = LOGITS[0, :2]
    z = RelaxedCategorical(logits, temperature).rsample((4000,))
    close(z.sum(-1), np.ones(4000))
    # Of two classes, the log-odds are a logistic variable over the temperature.
    odds = (z[:, 0].log() - z[:, 1].log()).numpy() * temperature
    assert stats.kstest(odds, stats.logistic((logits[0] - logits[1]).item()).cdf).pvalue > 1e-3


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_the_greatest_of_a_draw_has_the_categoricals_probability(temperature):
    draws = RelaxedCategorical(LOGITS[0], temperature).rsample((4000,)).argmax(-1)
    counts = torch.bincount(draws, minlength=4).numpy()
    assert stats.chisquare(counts, 4000 * PROBS[0]).pvalue > 1e-3
    one_hot = RelaxedCategorical(LOGITS[0], temperature).sample((10,))
    assert set(one_hot.flatten().tolist()) == {0.0, 1.0}


def test_gradients():
    logits = LOGITS.clone().requires_grad_()
    temperature = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def draw(logits, temperature):
        torch.manual_seed(0)
        return RelaxedCategorical(logits, temperature).rsample()

    assert gradcheck(draw, [logits, temperature])
    z = draw(logits, temperature).detach().requires_grad_()
    # Off the simplex there is no density to differentiate.
    density = lambda logits: RelaxedCategorical(logits).log_prob(z)
    assert gradcheck(density, [logits])
    assert gradcheck(lambda x: kl_divergence(RelaxedCategorical(x), uniform(4)), [logits])


@pytest.mark.parametrize("temperature", [1e-3, 1e3])
@pytest.mark.parametrize("size", [1.0, 1e4, 1e30])
def test_extremes_of_float32(size, temperature):
    logits = (size * LOGITS.float()).requires_grad_()
    q = RelaxedCategorical(logits, temperature)
    z = q.rsample((50,))
    rate = kl_divergence(q, uniform(4))
    assert z.isfinite().all()
    assert (rate <= math.log(4) + 1e-6).all()
    assert torch.autograd.grad(z[..., 0].sum() + rate.sum(), logits)[0].isfinite().all()


def test_log_prob_is_minus_infinity_off_the_simplex():
    q = RelaxedCategorical(LOGITS[0])
    off = torch.tensor([[0.5, 0.5, 0.5, 0], [1.5, -0.5, 0, 0]], dtype=torch.float64)
    assert q.log_prob(off).tolist() == [-math.inf] * 2
    with pytest.raises(ValueError, match="within the support"):
        RelaxedCategorical(LOGITS[0], validate_args=True).expand((2,)).log_prob(off)
    with pytest.raises(ValueError, match="is over events of shape"):
        q.log_prob(off[:, :2])


@pytest.mark.parametrize("temperature", [0, -1.0, math.inf, math.nan])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be a positive"):
        RelaxedCategorical(LOGITS, temperature)


def test_expand_keeps_class_and_temperature():
    q = RelaxedCategorical(LOGITS, 0.3).expand((5, 2))
    assert (type(q), q.temperature) == (RelaxedCategorical, 0.3)
    assert (q.batch_shape, q.event_shape, q.rsample().shape) == ((5, 2), (4,), (5, 2, 4))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_every_type_stays_itself(dtype):
    q = RelaxedCategorical(LOGITS.to(dtype), 0.5)
    z = q.rsample((20,))
    assert z.dtype == dtype
    assert q.log_prob(q.sample()).isfinite().all()


# --- the temperature is a number that callbacks move


class Encoder(nn.Module):
    """What a user writes: the temperature is a plain float."""

    def __init__(self, temperature=1.0):
        super().__init__()
        self.temperature = temperature
        self.logits = nn.Linear(3, 4)

    def forward(self, x):
        return RelaxedCategorical(self.logits(x), self.temperature)


class UniformOneHot(priors.Prior):
    def forward(self, **context):
        return OneHotCategorical(logits=torch.zeros(4))


def test_the_temperature_is_a_target():
    encoder = Encoder()
    module = VAEModule(encoder, nn.Identity(), UniformOneHot())
    find(module, "encoder.temperature").set(0.5)
    assert encoder(torch.zeros(2, 3)).temperature == 0.5


def test_the_temperature_anneals_while_training(fit_with):
    class Decoder(nn.Linear):
        def forward(self, z):
            return torch.distributions.Normal(super().forward(z), 1.0)

    encoder = Encoder()
    module = VAEModule(encoder, Decoder(4, 3), UniformOneHot())
    cooling = Anneal("encoder.temperature", Linear(1.0, 0.5, over=1))
    data = torch.utils.data.DataLoader(torch.randn(16, 3), batch_size=4)
    trainer = fit_with(max_epochs=2, callbacks=[cooling], limit_val_batches=0)
    trainer.fit(module, data)
    assert encoder.temperature == 0.5
    assert 0 <= trainer.callback_metrics["train/rate"] <= math.log(4)
