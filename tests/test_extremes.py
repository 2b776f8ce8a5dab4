"""The ends of what may come: every posterior with every likelihood, in one training step.

A batch of one, a latent of one, data that are all equal, data that are not finite, shapes that
do not fit.
"""

import math

import pytest
import torch
from torch import distributions as torchs
from torch import nn
from torch.distributions import Distribution, Independent, TransformedDistribution
from torch.nn.functional import normalize, softplus

from lightning_vae import ELBO, Prior, StandardNormal, VAEModule
from lightning_vae.distributions import (
    AffineCoupling,
    DiagonalGaussian,
    Exponential,
    HypersphericalUniform,
    PlanarFlow,
    RelaxedCategorical,
    StableGaussian,
    Uniform,
    VonMisesFisher,
    Weibull,
)
from lightning_vae.networks import MLPDecoder
from lightning_vae.objectives import ImportanceWeighted
from tests.likelihoods.test_heads import HEADS

SHAPE = (2, 1, 3)


class Given(Prior):
    """A prior that is always the same distribution."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self):
        return self.p


class Bare:
    """A user's distribution: rsample and log_prob, nothing else."""

    def __init__(self, loc, s):
        self.loc, self.scale = loc, (s / 2).exp()

    def rsample(self, sample_shape=()):
        return self.loc + self.scale * torch.randn(*sample_shape, *self.loc.shape)

    def log_prob(self, z):
        return -0.5 * ((z - self.loc) / self.scale).square() - self.scale.log() - 0.9189385


def planar(a, b):
    base = Independent(DiagonalGaussian(a, b), 1)
    return TransformedDistribution(base, [PlanarFlow(a, b, a[:, 0])])


def coupled(a, b):
    base = Independent(DiagonalGaussian(a, b), 1)

    def conditioner(z):
        moved = z.sum(-1, keepdim=True).expand(*z.shape[:-1], a.shape[1] - z.shape[-1])
        return 0.1 * moved, moved

    flows = [AffineCoupling(conditioner, flip=flip) for flip in (False, True)]
    return TransformedDistribution(base, flows)


def full(a, b):
    eye = torch.eye(a.shape[1])
    return torchs.MultivariateNormal(a, scale_tril=torch.diag_embed(b.exp()) + 0.1 * eye)


def ones(d):
    return torch.ones(d)


# Each from two parameters [B, d], and its prior over d latents.
POSTERIORS = {
    "diagonal": (DiagonalGaussian, StandardNormal),
    "independent": (lambda a, b: Independent(DiagonalGaussian(a, b), 1), StandardNormal),
    "torch's normal": (lambda a, b: torchs.Normal(a, b.exp()), StandardNormal),
    "stable": (StableGaussian, StandardNormal),
    "exponential": (lambda a, b: Exponential(a), lambda d: Given(Exponential(0 * ones(d)))),
    "Weibull": (
        lambda a, b: Weibull(a, b.clamp(min=-2.3)),
        lambda d: Given(torchs.Gamma(ones(d), ones(d))),
    ),
    "uniform": (lambda a, b: Uniform(a, a + b.exp()), StandardNormal),
    "Laplace": (
        lambda a, b: torchs.Laplace(a, b.exp()),
        lambda d: Given(torchs.Laplace(0 * ones(d), ones(d))),
    ),
    "gamma": (
        lambda a, b: torchs.Gamma(softplus(a) + 0.1, b.exp()),
        lambda d: Given(torchs.Gamma(ones(d), ones(d))),
    ),
    "beta": (
        lambda a, b: torchs.Beta(softplus(a) + 0.1, softplus(b) + 0.1),
        lambda d: Given(torchs.Beta(ones(d), ones(d))),
    ),
    "Student": (lambda a, b: torchs.StudentT(5.0, a, b.exp()), StandardNormal),
    "full": (full, StandardNormal),
    "low rank": (
        lambda a, b: torchs.LowRankMultivariateNormal(a, a[:, :, None], b.exp()),
        StandardNormal,
    ),
    "von Mises-Fisher": (
        lambda a, b: VonMisesFisher(normalize(a, dim=-1), softplus(b[:, 0])),
        lambda d: Given(HypersphericalUniform(d)),
    ),
    "categorical": (
        lambda a, b: RelaxedCategorical(a, 0.5),
        lambda d: Given(torchs.OneHotCategorical(logits=torch.zeros(d))),
    ),
    "planar": (planar, StandardNormal),
    "coupled": (coupled, StandardNormal),
    "bare": (Bare, StandardNormal),
}
# One latent is no direction, and cannot be coupled to another.
LEAST = {"von Mises-Fisher": 2, "coupled": 2}


class Encoder(nn.Module):
    def __init__(self, posterior, latents, unit=1.0):
        super().__init__()
        self.unit = unit  # of x, so that counts are no greater than images
        self.linear, self.posterior = nn.Linear(math.prod(SHAPE), 2 * latents), posterior

    def forward(self, x):
        a, b = self.linear(x.float().flatten(1) / self.unit).chunk(2, 1)
        return self.posterior(a, b)


def vae(posterior, head, latents, objective=None):
    make, prior = POSTERIORS[posterior]
    return VAEModule(
        Encoder(make, latents, unit=20.0),
        MLPDecoder(SHAPE, latents, (), likelihood=HEADS[head][0]()),
        prior(latents),
        objective or ELBO(),
    )


def stepped(module, x):
    module.zero_grad()
    parts = module.training_step(x, 0)
    parts["loss"].backward()
    assert parts["loss"].dim() == 0
    assert all(part.isfinite() for part in parts.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    assert any(p.grad is not None and p.grad.any() for p in module.parameters())
    return parts


@pytest.fixture(params=POSTERIORS)
def posterior(request):
    return request.param


@pytest.fixture(params=HEADS)
def head(request):
    return request.param


def test_a_batch_of_one_with_a_latent_of_one(posterior, head):
    x, latents = HEADS[head][1](1, *SHAPE), LEAST.get(posterior, 1)
    parts = stepped(vae(posterior, head, latents), x)
    torch.testing.assert_close(parts["loss"].detach(), parts["distortion"] + parts["rate"])
    stepped(vae(posterior, head, latents, ImportanceWeighted(3)), x)


def test_data_that_are_all_equal(posterior, head):
    x = HEADS[head][1](1, 1, 1, 1).expand(4, *SHAPE)
    stepped(vae(posterior, head, 3), x)
    stepped(vae(posterior, head, 3), torch.zeros_like(x))


def test_data_that_are_not_finite_are_named(posterior, head):
    module = vae(posterior, head, 3)
    for value, named in ((math.nan, "NaN"), (math.inf, "infinite"), (-math.inf, "infinite")):
        x = HEADS[head][1](4, *SHAPE).float()
        x[1, 0, 0, 2] = value
        with pytest.raises(ValueError, match=f"x has entries that are {named}"):
            module.training_step(x, 0)
    assert all(p.isfinite().all() for p in module.parameters())


def test_data_of_another_shape_are_refused(posterior, head):
    module = vae(posterior, head, 3)
    for shape in ((4, 6), (4, 1, 2, 3), (4, 2, 3), (4, 2, 3, 1), (4, 1, 2, 1, 3)):
        with pytest.raises(ValueError, match=r"make the decoder's output"):
            module.training_step(HEADS[head][1](*shape), 0)


def test_a_posterior_of_another_batch_is_refused(posterior):
    for batch in (1, 3):
        module = vae(posterior, "Gaussian", 3)
        make = module.encoder.posterior
        module.encoder.posterior = lambda a, b, make=make, batch=batch: make(a[:batch], b[:batch])
        with pytest.raises(ValueError, match=r"for 4 examples of x; make its first dimension 4"):
            module.training_step(torch.randn(4, *SHAPE), 0)


def test_a_prior_of_another_shape_is_refused(posterior):
    for latents in (2, 4):
        module = vae(posterior, "Gaussian", 3)
        module.prior = POSTERIORS[posterior][1](latents)
        with pytest.raises(ValueError, match="prior has shape"):
            module.training_step(torch.randn(4, *SHAPE), 0)


def test_every_posterior_embeds_or_says_what_is_missing(posterior):
    module, x = vae(posterior, "Gaussian", 3), torch.randn(4, *SHAPE)
    assert module.embed(x, sample=True).shape == (4, 3)
    if posterior in ("planar", "coupled", "bare"):
        with pytest.raises(TypeError, match=r"has no mean to embed with; give it a mean"):
            module.embed(x)
    else:
        assert module.embed(x).isfinite().all()
        assert module.embed(x).shape == (4, 3)


def test_every_posterior_has_draws_that_its_prior_gives(posterior):
    module = vae(posterior, "Gaussian", 3)
    assert module.sample(5).shape == (5, *SHAPE)
    if isinstance(module.encode(torch.randn(4, *SHAPE)), Distribution):
        assert module.draw(5).shape == (5, 3)
