"""Collapse on toy text: it happens without a cure, and posteriors with a floor never fall below it."""

import math
from functools import partial

import pytest
import torch

from lightning_vae import CyclicalAnnealing, VAEModule, posteriors, priors
from lightning_vae.data import ToyText
from lightning_vae.networks import LSTMDecoder, LSTMEncoder
from lightning_vae.posteriors.delta import spreads


def toy(size=2000):
    return ToyText(words=50, length=6, train_size=size, val_size=500, test_size=1, batch_size=32)


def vae(latent=2, posterior=None, prior=None):
    words = toy().vocabulary_size
    return VAEModule(
        LSTMEncoder(words, latent, 32, 32, posterior=posterior),
        LSTMDecoder(words, latent, 32, 32, length=7),
        prior=prior,
        optimizer=partial(torch.optim.Adam, lr=2e-3),
    )


@pytest.mark.slow
@pytest.mark.parametrize("cured", [False, True])
def test_a_constant_beta_of_one_collapses_and_cycles_do_not(fit_with, cured):
    module = vae()
    trainer = fit_with(max_epochs=12, callbacks=[CyclicalAnnealing(4)] if cured else [])
    trainer.fit(module, toy())
    rate = trainer.callback_metrics["val/rate"]
    assert rate > 0.5 if cured else rate < 0.1


# In nats, from γ, δ and κ alone, for any data.
FLOORS = {
    "batch norm": (posteriors.BatchNormGaussian(32, gamma=0.6), None, 5.76),
    "delta": (posteriors.DeltaGaussian(0.15), None, 32 * 0.15),
    "fisher": (posteriors.VonMisesFisher(25.0), priors.HypersphericalUniform(32), 5.7554),
}


@pytest.mark.parametrize(("head", "prior", "floor"), FLOORS.values(), ids=FLOORS)
def test_the_rate_is_at_its_floor_or_above_at_every_step(fit_with, head, prior, floor):
    module, rates = vae(32, head, prior), []

    def note(objective, outputs):
        rates.append(outputs[0].rate.mean().item())

    module.objective.register_forward_pre_hook(note)
    fit_with(max_epochs=4, limit_val_batches=0).fit(module, toy(600))
    assert len(rates) == 4 * 19
    assert min(rates) >= floor - 1e-3
    if prior is not None:
        assert max(rates) <= floor + 1e-3, "a constant"


@pytest.mark.parametrize("gamma", [0.6, 0.7, 1.2])
def test_the_floor_of_batch_norm_is_the_published_one(gamma):
    head = posteriors.BatchNormGaussian(32, gamma)
    assert head.floor == pytest.approx({0.6: 5.76, 0.7: 7.84, 1.2: 23.04}[gamma])
    with torch.no_grad():
        head.bias.normal_()
    # Even from an encoder that has all but collapsed: means apart by a millionth.
    q = head(1e-6 * torch.randn(64, 64))
    rate = 0.5 * (q.loc.square() + q.variance - q.log_variance - 1)
    assert rate.mean(0).sum() >= head.floor + 0.5 * head.bias.square().sum() - 1e-3


def test_in_evaluation_batch_norm_normalises_by_the_averages():
    head, h = posteriors.BatchNormGaussian(2, 0.7, momentum=1.0), torch.randn(50, 4)
    trained = head(h).loc
    head.eval()
    torch.testing.assert_close(head(h).loc, trained)
    assert head(h[:1]).loc.shape == (1, 2)
    with pytest.raises(ValueError, match="batches of two examples at least"):
        head.train()(h[:1])
    with pytest.raises(ValueError, match="for another encoder; write latent=5"):
        head.features(5)
    with pytest.raises(ValueError, match=r"gamma must be a positive finite number, got 0"):
        posteriors.BatchNormGaussian(2, 0)


@pytest.mark.parametrize("delta", [0.15 / 32, 0.1, 1.0, 5.0])
def test_no_features_bring_a_latent_below_delta(delta):
    for variance in spreads(delta):
        assert 0.5 * (variance - math.log(variance) - 1) == pytest.approx(delta, rel=1e-6)
    head = posteriors.DeltaGaussian(delta)
    features = torch.cat(
        [torch.randn(500, 8) * 30, torch.full((1, 8), 1e4), torch.full((1, 8), -1e4)]
    )
    features.requires_grad_()
    q = head(features)
    rate = 0.5 * (q.loc.square() + q.variance - q.log_variance - 1)
    assert rate.min().item() >= delta * (1 - 1e-4) - 1e-6
    expected = delta + 0.5 * features[:, :4].clamp(min=0)
    torch.testing.assert_close(rate, expected, rtol=1e-3, atol=1e-5)
    rate.sum().backward()
    assert features.grad.isfinite().all()
    with pytest.raises(ValueError, match="delta must be a positive finite number, got -1"):
        posteriors.DeltaGaussian(-1)
