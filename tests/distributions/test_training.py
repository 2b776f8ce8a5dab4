"""Every posterior through the Trainer, alone and several side by side."""

import pytest
import torch
from torch.distributions import Gamma, Normal
from torch.nn.functional import normalize, softplus
from torch.utils.data import DataLoader

from lightning_vae import ELBO, Anneal, Linear, StandardNormal, VAEModule, divergences
from lightning_vae.distributions import (
    DiagonalGaussian,
    HypersphericalUniform,
    VonMisesFisher,
    Weibull,
)
from lightning_vae.likelihoods import Gaussian
from lightning_vae.networks import MLPDecoder
from tests.test_extremes import POSTERIORS, SHAPE, Encoder, Given


def images(n=64):
    """On a plane, so that two latents say nearly all."""
    torch.manual_seed(3)
    return (torch.randn(n, 2) @ torch.randn(2, 6) + 0.1 * torch.randn(n, 6)).view(n, *SHAPE)


def made(posterior, **kwargs):
    torch.manual_seed(1)
    make, prior = POSTERIORS[posterior]
    decoder = MLPDecoder(SHAPE, 3, (16,), likelihood=Gaussian(0.5))
    return VAEModule(
        Encoder(make, 3),
        decoder,
        prior(3),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.02),
        **kwargs,
    )


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_posterior_trains_and_validates_better_than_before(posterior, fit_with):
    vae, data = made(posterior), DataLoader(images(), 16)
    trainer = fit_with(max_epochs=12)
    before = trainer.validate(vae, data, verbose=False)[0]
    trainer.fit(vae, data, data)
    after = trainer.validate(vae, data, verbose=False)[0]
    assert after["val/elbo"] > before["val/elbo"] + 1
    assert all(torch.tensor(value).isfinite() for value in (*before.values(), *after.values()))
    per_latent = vae.val_rate.mean()[0]
    assert per_latent.sum().item() == pytest.approx(after["val/rate"], rel=1e-4, abs=1e-4)


class ThreeSpaces(VAEModule):
    """A Gaussian, a direction and a positive space, each with its prior and its divergence."""

    def __init__(self, objective):
        super().__init__(
            prior=[
                StandardNormal(2),
                Given(HypersphericalUniform(3)),
                Given(Gamma(torch.ones(2), torch.ones(2))),
            ],
            objective=objective,
        )
        self.q, self.p = torch.nn.Linear(6, 12), torch.nn.Linear(7, 6)

    def encode(self, x):
        loc, s, direction, kappa, scale, k = self.q(x.flatten(1)).split([2, 2, 3, 1, 2, 2], 1)
        return (
            DiagonalGaussian(loc, s),
            VonMisesFisher(normalize(direction, dim=-1), softplus(kappa[:, 0])),
            Weibull(scale, k),
        )

    def decode(self, z):
        return Normal(self.p(torch.cat(z, 1)).view(-1, *SHAPE), 1.0)


def test_several_spaces_have_each_its_prior_divergence_beta_and_capacity(fit_with):
    x = images()
    vae = ThreeSpaces(ELBO(beta=(1.0, 4.0, 0.5), capacity=(None, 2.0, 0.25)))
    second = Anneal("objective.capacity.1", Linear(2.0, 1.0, over=2))
    trainer = fit_with(max_epochs=3, callbacks=[second])
    trainer.fit(vae, DataLoader(x, 16), DataLoader(x, 16))
    assert vae.objective.capacity == (None, 1.0, 0.25)
    assert {f"val/rate/{g}" for g in range(3)} <= set(trainer.callback_metrics)
    output = vae(x)
    rates = [latent.rate for latent in output.latents]
    assert [tuple(rate.shape[1:]) for rate in rates] == [(2,), (1,), (2,)]
    gaussian, direction, positive = (rate.sum(1).mean() for rate in rates)
    penalty = gaussian + 4 * (direction - 1.0).abs() + 0.5 * (positive - 0.25).abs()
    torch.testing.assert_close(vae.objective(output)["loss"], output.distortion.mean() + penalty)
    assert [z.shape for z in vae.embed(x)] == [(64, 2), (64, 3), (64, 2)]
    assert vae.sample(4).shape == (4, *SHAPE)


def test_a_term_between_two_posteriors_and_one_on_part_of_a_latent_is_an_objective():
    class Pulled(ELBO):
        def forward(self, output):
            parts = super().forward(output)
            q = output.latents[0].posterior
            partner = DiagonalGaussian(q.loc.flip(0).detach(), q.log_variance.flip(0).detach())
            apart = divergences.kl(q, partner, output.latents[0].z)[:, :2].sum(1).mean()
            alike = divergences.jensen_shannon(q, partner, samples=4).sum(1).mean()
            return {**parts, "loss": parts["loss"] + apart + alike, "apart": apart.detach()}

    vae = made("diagonal", objective=Pulled())
    parts = vae.training_step(images(), 0)
    parts["loss"].backward()
    assert parts["apart"] > 0
    assert vae.encoder.linear.weight.grad.isfinite().all()
