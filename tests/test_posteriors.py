"""Encoder heads: what they make of features, the rates that follow, and that they train."""

import copy
import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn
from torch.distributions import (
    Distribution,
    Laplace,
    LowRankMultivariateNormal,
    MultivariateNormal,
)
from torch.utils.data import DataLoader

from lightning_vae import (
    Anneal,
    VAEModule,
    distributions,
    kl,
    likelihoods,
    posteriors,
    priors,
    schedules,
)
from lightning_vae.networks import ConvEncoder, MLPDecoder, MLPEncoder
from lightning_vae.posteriors import (
    BatchNormGaussian,
    CouplingFlow,
    DeltaGaussian,
    Exponential,
    FullGaussian,
    Gaussian,
    LowRankGaussian,
    PlanarFlow,
    Posterior,
    RelaxedCategorical,
    Uniform,
    VonMisesFisher,
    Weibull,
)
from lightning_vae.posteriors import Laplace as LaplaceOfOurs


class LaplaceHead(Posterior):
    """A head of the user's own."""

    def features(self, latent):
        return 2 * latent

    def forward(self, features):
        loc, log_scale = features.chunk(2, dim=1)
        return Laplace(loc, log_scale.exp())


def begun(head):
    """A head whose networks no longer start at zero."""
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.1)
    return head


# Every head with its family, and the features it needs for five latents.
HEADS = {
    "Gaussian": (Gaussian(), distributions.DiagonalGaussian, 10, priors.StandardNormal),
    "Weibull": (Weibull(), distributions.Weibull, 10, priors.Weibull),
    "VonMisesFisher": (
        VonMisesFisher(),
        distributions.VonMisesFisher,
        6,
        priors.HypersphericalUniform,
    ),
    "fixed": (VonMisesFisher(20.0), distributions.VonMisesFisher, 5, priors.HypersphericalUniform),
    "BatchNormGaussian": (
        BatchNormGaussian(5),
        distributions.DiagonalGaussian,
        10,
        priors.StandardNormal,
    ),
    "DeltaGaussian": (
        DeltaGaussian(0.1),
        distributions.DiagonalGaussian,
        10,
        priors.StandardNormal,
    ),
    "RelaxedCategorical": (
        RelaxedCategorical(5, 0.5),
        distributions.RelaxedCategorical,
        5,
        partial(priors.UniformCategorical, 1),
    ),
    "Exponential": (Exponential(), distributions.Exponential, 5, priors.Weibull),
    "Laplace": (LaplaceOfOurs(), Laplace, 10, priors.StandardNormal),
    "Uniform": (Uniform(), distributions.Uniform, 10, priors.StandardNormal),
    "FullGaussian": (FullGaussian(), MultivariateNormal, 20, priors.StandardNormal),
    "LowRankGaussian": (
        LowRankGaussian(2),
        LowRankMultivariateNormal,
        20,
        priors.StandardNormal,
    ),
    "PlanarFlow": (
        PlanarFlow(5, layers=2),
        distributions.Pushforward,
        10 + 2 * 11,
        priors.StandardNormal,
    ),
    "CouplingFlow": (
        begun(CouplingFlow(5, layers=2, hidden=(8,), context=3)),
        distributions.Pushforward,
        10 + 3,
        priors.StandardNormal,
    ),
    "flow of positive latents": (
        PlanarFlow(5, layers=1, base=Weibull()),
        distributions.Pushforward,
        10 + 11,
        priors.StandardNormal,
    ),
    "flow of a full covariance": (
        begun(CouplingFlow(5, base=FullGaussian())),
        distributions.Pushforward,
        20 + 16,
        priors.RealNVP,
    ),
    "own": (LaplaceHead(), Laplace, 10, priors.StandardNormal),
}
SPLIT = (
    distributions.DiagonalGaussian,
    distributions.Weibull,
    distributions.Exponential,
    distributions.Uniform,
    Laplace,
)
every = pytest.mark.parametrize(("head", "family", "count", "prior"), HEADS.values(), ids=HEADS)


def test_every_head_has_a_row():
    heads = {getattr(posteriors, name) for name in posteriors.__all__}
    classes = {head for head in heads if isinstance(head, type) and head is not Posterior}
    assert classes <= {type(row[0]) for row in HEADS.values()}


@every
def test_an_encoder_ends_in_the_head_it_was_given(head, family, count, prior):
    assert head.features(5) == count
    for encoder in (
        MLPEncoder((1, 16, 16), 5, (8,), posterior=head),
        ConvEncoder((1, 16, 16), 5, (4, 8), (8,), posterior=head),
    ):
        assert encoder.linears[-1].out_features == count
        q = encoder(torch.rand(3, 1, 16, 16))
        assert type(q) is family
        z = q.rsample()
        assert z.flatten(1).shape == (3, 5)
        rate = kl(q, prior(5)(), z)
        splits = isinstance(q, SPLIT)
        assert rate.shape == ((3, 5) if splits else (3, 1))
        (rate.sum() + z.square().sum() + z.flatten(1)[:, 0].sum()).backward()
        assert all(p.grad.isfinite().all() and p.grad.any() for p in encoder.parameters())


@every
@pytest.mark.parametrize("objective_draws", [None, 4])
def test_a_vae_of_the_head_trains_and_samples(head, family, count, prior, objective_draws):
    vae = VAEModule(MLPEncoder((4,), 5, (8,), head), MLPDecoder((4,), 5, (8,)), prior(5))
    output = vae(torch.rand(6, 4), samples=objective_draws)
    assert output.elbo.isfinite().all()
    assert vae.sample(3).shape == (3, 4)
    assert vae.train_rate.mean() == ()
    if head is not HEADS["fixed"][0] and family is not distributions.Pushforward:
        assert (output.rate > 0).float().mean() > 0.5


def test_the_default_is_the_gaussian_and_adds_nothing_to_the_state():
    encoder = MLPEncoder((4,), 2)
    assert isinstance(encoder.posterior, Gaussian)
    assert sorted(encoder.state_dict()) == [
        f"linears.{i}.{n}" for i in (0, 1) for n in ("bias", "weight")
    ]


def test_features_are_the_parameters_in_order():
    features = torch.arange(8.0).view(2, 4)
    q = Gaussian()(features)
    assert torch.equal(q.loc, features[:, :2])
    assert torch.equal(q.log_variance, features[:, 2:])
    q = Weibull()(features)
    assert torch.equal(q.log_scale, features[:, :2])
    assert torch.equal(q.log_concentration, features[:, 2:])
    assert torch.equal(Exponential()(features).log_rate, features)
    q = LaplaceOfOurs()(features)
    torch.testing.assert_close(q.mean, features[:, :2])
    torch.testing.assert_close(q.scale.log(), features[:, 2:])
    q = Uniform()(features)
    torch.testing.assert_close(q.mean, features[:, :2])
    torch.testing.assert_close(q.log_width, features[:, 2:])
    q = VonMisesFisher()(features)
    torch.testing.assert_close(q.loc, nn.functional.normalize(features[:, :3], dim=1))
    truth = [1 + math.log1p(math.exp(x)) for x in (3, 7)]
    torch.testing.assert_close(q.concentration, torch.tensor(truth))


@pytest.mark.parametrize(("kappa", "rate"), [(13, 2.1726), (50, 12.2534), (200, 30.3733)])
def test_a_fixed_concentration_costs_the_published_constant_whatever_x(kappa, rate):
    head, prior = VonMisesFisher(float(kappa)), priors.HypersphericalUniform(32)
    features = (100 * torch.randn(5, 32)).requires_grad_()
    q = head(features)
    found = kl(q, prior(), q.rsample())
    np.testing.assert_allclose(found.detach(), rate, atol=1e-3)
    assert not found.requires_grad or not torch.autograd.grad(found.sum(), features)[0].any()


def test_the_weibull_s_rate_is_the_closed_form():
    features = torch.tensor([[math.log(0.7), math.log(1.5)]])
    q = Weibull()(features)
    assert kl(q, priors.Weibull(1)(), q.rsample()).item() == pytest.approx(0.2016565, abs=1e-6)
    q = Weibull()(torch.tensor([[math.log(1.3), math.log(2.0)]]))
    prior = priors.Weibull(1, scale=2.0, concentration=1.5)
    assert kl(q, prior(), q.rsample()).item() == pytest.approx(0.2711843, abs=1e-6)


@pytest.mark.parametrize(
    "prior", [None, priors.StandardNormal(3), priors.GaussianMixture(3), priors.RealNVP(3)]
)
def test_directions_need_a_prior_over_directions(prior):
    vae = VAEModule(MLPEncoder((4,), 3, (), VonMisesFisher()), MLPDecoder((4,), 3), prior)
    with pytest.raises(ValueError, match=r"both over directions; .* prior=priors.HypersphericalU"):
        vae(torch.rand(2, 4))
    gaussian = VAEModule(MLPEncoder((4,), 3), MLPDecoder((4,), 3), priors.HypersphericalUniform(3))
    with pytest.raises(ValueError, match="both over directions"):
        gaussian(torch.rand(2, 4))


def test_directions_take_a_vampprior_of_their_own():
    encoder = MLPEncoder((4,), 3, (), VonMisesFisher())
    vae = VAEModule(encoder, MLPDecoder((4,), 3), priors.VampPrior(torch.rand(5, 4)))
    output = vae(torch.rand(200, 4))
    assert output.rate.isfinite().all()
    norms = torch.linalg.vector_norm(vae.prior().sample((7,)), dim=1)
    torch.testing.assert_close(norms, torch.ones(7))


def test_what_makes_no_sense_is_refused_at_construction():
    for kappa in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(
            ValueError, match=f"concentration must be a positive finite number, got {kappa}"
        ):
            VonMisesFisher(kappa)
    with pytest.raises(ValueError, match="latent must be 2 or more for directions to turn, got 1"):
        MLPEncoder((4,), 1, posterior=VonMisesFisher())
    with pytest.raises(ValueError, match="latent must be 2 or more for directions to turn, got 1"):
        priors.HypersphericalUniform(1)
    message = re.escape("posterior must be an encoder head of lightning_vae.posteriors, got <class")
    with pytest.raises(TypeError, match=message):
        ConvEncoder((1, 16, 16), 2, (4,), posterior=Gaussian)
    for name in ("scale", "concentration"):
        with pytest.raises(ValueError, match=f"{name} must be a positive finite number, got 0.0"):
            priors.Weibull(3, **{name: 0.0})


def test_features_are_a_covariance():
    q = FullGaussian()(torch.tensor([[1.0, 2, 3, 0.1, 0.2, 0.3, 4, 5, 6]]))
    assert q.loc.tolist() == [[1, 2, 3]]
    a, b, c = np.exp([0.1, 0.2, 0.3])
    truth = np.array([[a, 0, 0], [4, b, 0], [5, 6, c]])
    np.testing.assert_allclose(q.covariance_matrix[0], truth @ truth.T, rtol=1e-5)
    q = LowRankGaussian(2)(torch.tensor([[1.0, 2, 0.1, 0.2, 3, 4, 5, 6]]))
    W = np.array([[3, 4], [5, 6]])
    truth = W @ W.T + np.diag(np.exp([0.1, 0.2]))
    np.testing.assert_allclose(q.covariance_matrix[0], truth, rtol=1e-5)


def test_features_of_a_planar_flow_are_its_layers_in_order():
    features = torch.randn(3, 4 + 2 * 5)
    q = PlanarFlow(2, layers=2)(features)
    for flow, layer in zip(q.transforms, features[:, 4:].split(5, 1), strict=True):
        by_hand = distributions.PlanarFlow(layer[:, :2], layer[:, 2:4], layer[:, 4])
        torch.testing.assert_close(flow.u, by_hand.u)
        assert torch.equal(flow.b, layer[:, 4])
    assert torch.equal(q.base_dist.base_dist.loc, features[:, :2])


def test_a_coupling_flow_starts_as_its_base_and_is_told_of_each_example():
    head, features = CouplingFlow(3, layers=2, context=4), torch.randn(5, 6 + 4)
    q, base = head(features), Gaussian()(features[:, :6])
    z = q.sample((7,))
    torch.testing.assert_close(q.log_prob(z), base.log_prob(z).sum(-1))
    begun(head)
    other = features.clone()
    other[2, 6:] += 1
    apart = head(features).log_prob(z) != head(other).log_prob(z)
    assert apart[:, 2].all()
    assert not apart[:, [0, 1, 3, 4]].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LowRankGaussian(0), "rank must be a whole number of at least 1, got 0"),
        (lambda: PlanarFlow(4, layers=0), "layers must be a whole number of at least 1, got 0"),
        (lambda: CouplingFlow(1), "latent must be a whole number of at least 2, got 1"),
        (lambda: MLPEncoder((4,), 3, (), PlanarFlow(4)), "PlanarFlow(latent=4) is for another"),
        (
            lambda: PlanarFlow(4, base=VonMisesFisher()),
            "base must have a density in space, for flows to bend it, but VonMisesFisher() is",
        ),
        (lambda: CouplingFlow(4, base=RelaxedCategorical(2)), "base must have a density in space"),
    ],
)
def test_what_a_head_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_a_flow_says_that_it_has_no_mean_and_draws_instead():
    vae = VAEModule(MLPEncoder((4,), 2, (), PlanarFlow(2)), MLPDecoder((4,), 2))
    x = torch.rand(3, 4)
    with pytest.raises(TypeError, match=r"Pushforward has no mean to embed with.*sample=True"):
        vae.embed(x)
    assert vae.embed(x, sample=True).shape == (3, 2)


# --- through the Trainer


@every
def test_every_head_learns(head, family, count, prior, fit_with):
    x = torch.randn(64, 2) @ torch.randn(2, 4) + 0.1 * torch.randn(64, 4)
    decoder = MLPDecoder((4,), 5, (16,), likelihoods.Gaussian(0.5))
    vae = VAEModule(
        MLPEncoder((4,), 5, (16,), copy.deepcopy(head)),
        decoder,
        prior(5),
        optimizer=lambda parameters: torch.optim.Adam(parameters, 0.02),
    )
    trainer, loader = fit_with(max_epochs=12), DataLoader(x, 16)
    before = trainer.validate(vae, loader, verbose=False)[0]["val/elbo"]
    trainer.fit(vae, loader, loader)
    assert trainer.callback_metrics["val/elbo"] > before + 1


# Correlated latents: what a diagonal Gaussian cannot say, in closed form.
LOADINGS, NOISE = torch.tensor([[1.0, 0.9], [0.3, 0.8], [-0.5, -0.4]]), 0.4


def evidence_and_mean_field_gap():
    """log p(x) on average, and how far the best diagonal Gaussian stays below it."""
    covariance = LOADINGS @ LOADINGS.T + NOISE**2 * torch.eye(3)
    precision = torch.eye(2) + LOADINGS.T @ LOADINGS / NOISE**2
    gap = 0.5 * (precision.diagonal().log().sum() - precision.logdet())
    return MultivariateNormal(torch.zeros(3), covariance), gap.item()


@pytest.mark.parametrize(
    ("head", "exact"),
    [
        (Gaussian(), False),
        (FullGaussian(), True),
        (LowRankGaussian(1), True),
        (CouplingFlow(2, layers=1, hidden=()), True),
        (PlanarFlow(2, layers=2), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_richer_posterior_comes_nearer_to_the_evidence(head, exact, fit_with):
    law, gap = evidence_and_mean_field_gap()
    assert gap > 0.3
    x = law.sample((512,))
    decoder = MLPDecoder((3,), 2, (), likelihoods.Gaussian(NOISE)).requires_grad_(False)
    decoder.linears[0].weight.copy_(LOADINGS)
    decoder.linears[0].bias.zero_()
    vae = VAEModule(
        MLPEncoder((3,), 2, (), head),
        decoder,
        optimizer=lambda parameters: torch.optim.Adam(parameters, 0.02),
    )
    fit_with(max_epochs=80).fit(vae, DataLoader(x, 64, shuffle=True))
    elbo = vae(x, samples=200).elbo.mean().item()
    below = law.log_prob(x).mean().item() - elbo
    if exact is None:
        assert 0 <= below < 0.7 * gap
    else:
        assert below == pytest.approx(0.0 if exact else gap, abs=0.06)


def test_on_a_circle_the_bound_of_the_sphere_is_the_evidence(fit_with, tmp_path):
    """The posterior of x = u + noise, u on the circle, is von Mises-Fisher with κ = |x| / σ²."""
    sigma, angle = 0.3, 2 * math.pi * torch.rand(512)
    x = torch.stack([angle.cos(), angle.sin()], 1)
    kappa = 1 / sigma**2
    evidence = math.log(special.ive(0, kappa)) - math.log(2 * math.pi * sigma**2)

    def parts():
        decoder = MLPDecoder((2,), 2, (), likelihoods.Gaussian(sigma))
        encoder = MLPEncoder((2,), 2, (32,), VonMisesFisher())
        return {"encoder": encoder, "decoder": decoder, "prior": priors.HypersphericalUniform(2)}

    vae = VAEModule(**parts(), optimizer=lambda p: torch.optim.Adam(p, 0.01))
    trainer = fit_with(max_epochs=40)
    trainer.fit(vae, DataLoader(x, 64, shuffle=True))
    elbo = vae(x, samples=100).elbo.mean().item()
    assert elbo == pytest.approx(evidence, abs=0.05)
    assert vae.encode(x).concentration.mean().item() == pytest.approx(kappa, rel=0.15)
    trainer.save_checkpoint(tmp_path / "circle.ckpt")
    loaded = VAEModule.load_from_checkpoint(tmp_path / "circle.ckpt", **parts())
    torch.testing.assert_close(loaded.embed(x), vae.embed(x))


def test_a_weibull_vae_finds_positive_parts(fit_with):
    """Non-negative matrix factorisation: what x is the sum of."""
    parts = torch.tensor([[1.0, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]])
    x = torch.empty(1024, 3).exponential_() @ parts
    decoder = MLPDecoder((6,), 3, (), likelihoods.Gaussian(0.1), nonnegative=True)
    assert [name for name, _ in decoder.named_parameters()] == ["linears.0.weight"]
    vae = VAEModule(
        MLPEncoder((6,), 3, (32,), Weibull()),
        decoder,
        priors.Weibull(3),
        optimizer=lambda p: torch.optim.Adam(p, 0.01),
    )
    fit_with(max_epochs=30).fit(vae, DataLoader(x, 64, shuffle=True))
    with torch.no_grad():
        weights = torch.stack([decoder(row).mean[0] for row in torch.eye(3).split(1)])
    assert (weights >= 0).all()
    cosines = nn.functional.normalize(weights) @ nn.functional.normalize(parts).T
    assert sorted(cosines.argmax(1).tolist()) == [0, 1, 2]
    assert cosines.max(1).values.min() > 0.97


def test_a_posterior_is_a_distribution_over_the_latents_of_each_example():
    for head, _, count, _ in HEADS.values():
        q = head(torch.randn(4, count))
        assert isinstance(q, Distribution)
        assert q.batch_shape[0] == 4


def test_categorical_variables_learn_the_clusters_of_data_and_their_rate_is_exact(fit_with):
    x = torch.eye(4)[torch.arange(256) % 4]
    head = RelaxedCategorical(4)
    vae = VAEModule(
        MLPEncoder((4,), 8, (32,), head),
        MLPDecoder((4,), 8, (32,), likelihoods.Gaussian(0.1)),
        priors.UniformCategorical(2, 4),
        optimizer=lambda parameters: torch.optim.Adam(parameters, 1e-2),
    )
    cooling = Anneal(
        "encoder.posterior.temperature", schedules.Exponential(1.0, 0.3, over=100), unit="step"
    )
    trainer = fit_with(max_steps=400, callbacks=[cooling])
    trainer.fit(vae, DataLoader(x, batch_size=64, shuffle=True))
    vae.eval()
    assert head.temperature == 0.3
    output = vae(x)
    z, probabilities = vae.embed(x, sample=True), vae.embed(x)
    assert z.shape == probabilities.shape == (256, 2, 4)
    entropy = -torch.special.xlogy(probabilities, probabilities).sum((1, 2))
    torch.testing.assert_close(output.rate, 2 * math.log(4) - entropy, atol=1e-4, rtol=1e-4)
    # Four clusters need log 4 nats, of the 2 log 4 that there are.
    assert 1.3 < output.rate.mean() < 2 * math.log(4)
    assert (vae.reconstruct(x) - x).abs().max() < 0.2
    assert vae.sample(7).shape == (7, 4)


def test_elements_that_do_not_divide_into_variables_are_refused():
    with pytest.raises(ValueError, match=r"latent=9 elements do not divide .* write latent=8"):
        MLPEncoder((4,), 9, (8,), RelaxedCategorical(4))
    for arguments, message in (
        ((1,), "classes must be a whole number of at least 2, got 1"),
        ((4, 0.0), "temperature must be a positive finite number, got 0.0; write temperature=1.0"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            RelaxedCategorical(*arguments)
    with pytest.raises(ValueError, match="variables must be a whole number of at least 1, got 0"):
        priors.UniformCategorical(0, 4)
