"""Every prior: its density integrates to one, and a Monte Carlo rate agrees with quadrature."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import nn
from torch.distributions import Independent

from lightning_vae import kl
from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.networks import MLPEncoder
from lightning_vae.priors import (
    Conditional,
    DiagonalNormal,
    GaussianMixture,
    HypersphericalUniform,
    RealNVP,
    StandardNormal,
    VampPrior,
    Weibull,
)


def stirred(prior, scale=0.7):
    """In float64, and not as it starts."""
    parts = nn.ModuleList([prior, *filter(None, [getattr(prior, "encoder", None)])]).double()
    for parameter in parts.parameters():
        nn.init.normal_(parameter, std=scale)
    return prior


def of_a_label(latent):
    conditional = stirred(Conditional(MLPEncoder((3,), latent, hidden=()), "label"))
    label = torch.tensor([[0.0, 1.0, 0.0]]).double()
    return lambda: conditional(label=label)


def vamp(latent):
    encoder = MLPEncoder((4,), latent, hidden=())
    return stirred(VampPrior((3, 4), encoder), 0.4)


ON_A_LINE = {
    "StandardNormal": lambda: StandardNormal(1).double(),
    "DiagonalNormal": lambda: stirred(DiagonalNormal(1)),
    "GaussianMixture": lambda: stirred(GaussianMixture(1, components=3)),
    "VampPrior": lambda: vamp(1),
    "Conditional": lambda: of_a_label(1),
}
ON_A_PLANE = {
    "StandardNormal": lambda: StandardNormal(2).double(),
    "DiagonalNormal": lambda: stirred(DiagonalNormal(2)),
    "GaussianMixture": lambda: stirred(GaussianMixture(2, components=3)),
    "VampPrior": lambda: vamp(2),
    "Conditional": lambda: of_a_label(2),
    "RealNVP": lambda: stirred(RealNVP(2, layers=3, hidden=(8,)), 0.4),
}


def log_density(p, z):
    """Of points [n, d], one a row."""
    with torch.no_grad():
        return p.log_prob(torch.as_tensor(z)).numpy().reshape(len(z))


@pytest.mark.parametrize("make", ON_A_LINE.values(), ids=ON_A_LINE)
def test_on_a_line_the_density_integrates_to_one(make):
    p = make()()
    mass, _ = integrate.quad_vec(lambda z: np.exp(log_density(p, [[z]])), -60, 60, limit=5000)
    assert mass.item() == pytest.approx(1, abs=1e-7)


def test_a_weibull_density_integrates_to_one():
    for prior in (Weibull(1), Weibull(1, scale=0.5, concentration=3.0), Weibull(1, 2.0, 0.7)):
        p = prior.double()()
        density = lambda z, p=p: math.exp(log_density(p, [[z]]).item())
        assert integrate.quad(density, 0, np.inf, limit=500)[0] == pytest.approx(1, abs=1e-6)
        assert log_density(p, [[-0.1]]) == -np.inf


@pytest.mark.parametrize("latent", [2, 3, 5, 20])
def test_the_density_on_the_sphere_is_one_over_its_surface(latent):
    p = HypersphericalUniform(latent).double()()
    z = p.sample((4,))
    # By the surface of the ball's shells: ∫ e^{-r²/2} over space, in two ways.
    radial = integrate.quad(lambda r: r ** (latent - 1) * math.exp(-0.5 * r * r), 0, np.inf)[0]
    surface = (2 * math.pi) ** (latent / 2) / radial
    np.testing.assert_allclose(log_density(p, z), -math.log(surface), rtol=1e-9)
    assert torch.isinf(p.log_prob(1.1 * z)).all()


AXIS = torch.linspace(-30, 30, 1201).double()
GRID = torch.cartesian_prod(AXIS, AXIS)
CELL = (AXIS[1] - AXIS[0]).item() ** 2


@pytest.mark.parametrize("make", ON_A_PLANE.values(), ids=ON_A_PLANE)
def test_on_a_plane_the_density_integrates_to_one_and_the_rate_is_that_of_quadrature(make):
    p = make()()
    log_p = np.concatenate([log_density(p, part) for part in GRID.split(200_000)])
    assert np.exp(log_p).sum() * CELL == pytest.approx(1, abs=1e-3)
    loc, s = torch.tensor([[0.4, -0.8]]).double(), torch.tensor([[-0.5, 0.3]]).double()
    q = DiagonalGaussian(loc, s)
    log_q = Independent(q, 1).log_prob(GRID).numpy()
    truth = (np.exp(log_q) * (log_q - log_p)).sum() * CELL
    draws = 20_000
    rates = kl(q, p, q.sample((draws,)), batch_dims=2).sum((1, 2)).detach().numpy()
    error = rates.std() / draws**0.5  # zero where the divergence is closed
    assert rates.mean() == pytest.approx(truth, abs=5 * error + 1e-3)


@pytest.mark.parametrize("make", ON_A_PLANE.values(), ids=ON_A_PLANE)
def test_draws_have_the_moments_of_the_density(make):
    p = make()()
    density = np.concatenate([np.exp(log_density(p, part)) for part in GRID.split(200_000)]) * CELL
    with torch.no_grad():
        z = p.sample((40_000,)).reshape(-1, 2).numpy()
    mean = density @ GRID.numpy()
    spread = np.sqrt(density @ (GRID.numpy() - mean) ** 2)
    np.testing.assert_allclose(z.mean(0), mean, atol=5 * spread.max() / 200)
    np.testing.assert_allclose(z.std(0), spread, rtol=0.05)
