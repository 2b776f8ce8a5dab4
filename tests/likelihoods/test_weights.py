"""Masks, weights and tapers: what counts, how much, and how it reaches the head."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Independent, Normal

from lightning_vae import VAEModule, elbo, likelihoods
from lightning_vae.distributions import Bernoulli, StandardGaussian
from lightning_vae.distributions.weighted import Weighted
from lightning_vae.likelihoods import OptimalGaussian, distortion
from lightning_vae.networks import MLPDecoder, MLPEncoder


def test_the_density_is_weighed_element_by_element():
    x, loc, weight = torch.randn(3, 4, 5, 6).double().unbind()
    weight = weight.abs()
    truth = -(weight.numpy() * stats.norm.logpdf(x, loc, 1)).reshape(4, -1).sum(1)
    np.testing.assert_allclose(distortion(x, Weighted(Normal(loc, 1.0), weight)), truth)


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 5, 6), (1, 1, 6), (4, 5, 6)])
def test_weights_of_examples_and_tapers_say_which_dimensions_they_are_for(shape):
    x, weight = torch.randn(4, 5, 6), torch.rand(shape)
    ours = Weighted(Normal(torch.zeros_like(x), 1.0), weight).log_prob(x)
    truth = weight.expand(4, 5, 6) * Normal(0.0, 1.0).log_prob(x)
    torch.testing.assert_close(ours, truth)


@pytest.mark.parametrize("shape", [(), (4,), (6,), (5, 6), (4, 5, 1, 1), (2, 5, 6), (4, 6, 5)])
def test_any_other_shape_is_refused_and_never_broadcast(shape):
    with pytest.raises(ValueError, match=r"weight has shape .* give it 3 dimensions"):
        Weighted(Normal(torch.zeros(4, 5, 6), 1.0), torch.ones(shape))


@pytest.mark.parametrize("bad", [-1.0, math.nan])
def test_weights_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="weight"):
        Weighted(Normal(torch.zeros(1, 2), 1.0), torch.tensor([[1.0, bad]]))
    with pytest.raises(ValueError, match="weight must be finite and not negative"):
        likelihoods.Weighted(likelihoods.Gaussian(), torch.tensor([1.0, bad]))


@pytest.mark.parametrize("filler", [0.0, 1.0, 1e30])
@pytest.mark.parametrize("kind", [torch.bool, torch.float32])
@pytest.mark.parametrize("optimal", [False, True])
def test_what_x_holds_where_it_is_masked_has_no_influence(filler, kind, optimal):
    head = OptimalGaussian() if optimal else likelihoods.Gaussian(0.5)
    mask, loc = torch.rand(4, 6) > 0.4, torch.randn(4, 6, requires_grad=True)
    x, truth = torch.randn(4, 6), []
    for each in (x, torch.where(mask, x, filler)):
        value = distortion(each, Weighted(head(loc), mask.to(kind))).sum()
        truth.append((value.detach(), *torch.autograd.grad(value, loc)))
    for ours, theirs in zip(*truth, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert (truth[1][1][~mask] == 0).all()


def test_the_optimal_scale_is_that_of_what_was_observed():
    head, mask = OptimalGaussian(), torch.rand(4, 6) > 0.4
    x, loc = torch.randn(4, 6).double(), torch.randn(4, 6).double()
    ours = distortion(x, Weighted(head(loc), mask)).sum().item()
    variance = (x - loc)[mask].square().mean().item()
    count = int(mask.sum())
    assert ours == pytest.approx(0.5 * count * (math.log(2 * math.pi * variance) + 1), rel=1e-6)
    assert head.scale.item() == pytest.approx(variance**0.5, rel=1e-6)


@pytest.mark.parametrize("head", [OptimalGaussian(), likelihoods.Gaussian()])
def test_a_batch_of_which_nothing_was_observed_costs_nothing(head):
    loc = torch.ones(2, 3, requires_grad=True)
    value = distortion(torch.zeros(2, 3), Weighted(head(loc), torch.zeros(2, 3))).sum()
    assert value == 0
    assert (torch.autograd.grad(value, loc)[0] == 0).all()
    assert getattr(head, "scale", 1) == 1


def test_mean_draws_and_support_are_the_bases():
    base = Bernoulli(torch.randn(2, 3))
    weighted = Weighted(base, torch.zeros(2, 3))
    assert torch.equal(weighted.mean, base.mean)
    assert torch.equal(weighted.variance, base.variance)
    assert set(weighted.sample((9,)).unique().tolist()) <= {0.0, 1.0}
    assert Weighted(Normal(torch.zeros(2, 3), 1.0), torch.ones(2, 3)).rsample().shape == (2, 3)
    with pytest.raises(ValueError, match="outside the support of Bernoulli"):
        distortion(torch.full((2, 3), 2.0), weighted)


def test_examples_of_whole_vectors_are_weighed_by_one_number():
    x, base = torch.randn(4, 3), Independent(Normal(torch.zeros(4, 3), 1.0), 1)
    weight = torch.tensor([0.0, 1.0, 2.0, 0.5])
    torch.testing.assert_close(distortion(x, Weighted(base, weight)), weight * distortion(x, base))


def test_the_elbo_takes_a_weighted_likelihood():
    x, mask = torch.randn(4, 3), torch.ones(4, 3)
    q, p = Normal(torch.randn(4, 2), 1.0), StandardGaussian((2,))
    plain, weighted = Normal(torch.zeros(4, 3), 1.0), Weighted(Normal(torch.zeros(4, 3), 1.0), mask)
    torch.testing.assert_close(elbo(x, weighted, q, p), elbo(x, plain, q, p))


def test_a_taper_is_a_head_that_any_network_takes():
    taper = torch.tensor([1.0, 0.5, 0.0])
    head = likelihoods.Weighted(likelihoods.HeteroscedasticGaussian(), taper)
    decoder = MLPDecoder((3,), latent=2, likelihood=head)
    z, x = torch.randn(4, 2), torch.randn(4, 3)
    p = decoder(z)
    torch.testing.assert_close(p.log_prob(x), taper * p.base_dist.log_prob(x))
    with pytest.raises(ValueError, match="weight has shape"):
        likelihoods.Weighted(likelihoods.Gaussian(), torch.ones(2))(torch.zeros(4, 3))


def test_a_mask_on_a_taper_is_one_weight_to_the_optimal_scale():
    taper, mask, x = torch.rand(6), torch.rand(4, 6) > 0.4, torch.randn(4, 6)
    head = likelihoods.Weighted(OptimalGaussian(), taper)
    twice = Weighted(head(torch.zeros(4, 6)), mask)
    once = Weighted(OptimalGaussian()(torch.zeros(4, 6)), taper * mask)
    torch.testing.assert_close(twice.log_prob(x), once.log_prob(x))
    assert twice.log_prob(x)[~mask].eq(0).all()


class Masked(VAEModule):
    """The recipe of the docstring."""

    def inputs(self, batch):
        return batch[0]

    def context(self, batch):
        return {"mask": batch[1]}

    def encode(self, x, mask=None):
        return self.encoder(x)

    def decode(self, z, mask=None):
        likelihood = self.decoder(z)
        return likelihood if mask is None else Weighted(likelihood, mask)


def masked():
    head = OptimalGaussian()
    networks = MLPEncoder((6,), 2, (8,)), MLPDecoder((6,), 2, (8,), likelihood=head)
    return Masked(*networks, optimizer=partial(torch.optim.Adam, lr=0.01))


@pytest.mark.parametrize("samples", [None, 3])
def test_a_mask_of_the_batch_reaches_the_head(samples):
    vae, mask = masked(), torch.rand(4, 6) > 0.4
    x = torch.where(mask, torch.randn(4, 6), 0.0)
    torch.manual_seed(1)
    ours = vae(x, samples=samples, mask=mask)
    torch.manual_seed(1)
    other = vae(torch.where(mask, x, 0.0), samples=samples, mask=mask)
    assert torch.equal(ours.elbo, other.elbo)
    z = ours.latents[0].z
    squares = (x - vae.decode(z.reshape(-1, 2)).loc.view(*z.shape[:-1], 6)).square()
    seen = mask.expand_as(squares)
    variance = squares[seen].mean()
    truth = 0.5 * ((squares / variance + torch.log(2 * math.pi * variance)) * seen).sum(-1)
    torch.testing.assert_close(ours.distortion, truth)
    assert vae.sample(5).shape == (5, 6)
    assert vae.reconstruct(x).shape == (4, 6)


def test_a_masked_vae_trains_and_validates(fit_with):
    x = torch.randn(64, 1) * torch.ones(6)
    mask = torch.rand(64, 6) > 0.3
    loader = torch.utils.data.DataLoader(list(zip(x * mask, mask, strict=True)), batch_size=16)
    trainer = fit_with(max_epochs=30)
    trainer.fit(vae := masked(), loader, loader)
    assert trainer.callback_metrics["val/elbo"].isfinite()
    assert vae.decoder.likelihood.scale < 0.9
