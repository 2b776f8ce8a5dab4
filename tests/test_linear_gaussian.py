"""The linear-Gaussian VAE, whose optimum is known exactly: reverse water-filling.

Data of covariance diag(λ), a linear decoder with noise s², a linear encoder with free variances.
With the water level θ = β s², direction i costs ½ max(0, log λᵢ/θ) nats of rate and leaves
min(λᵢ, θ) of squared error.
"""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from lightning_vae import ELBO, DiagonalGaussian, Latent, VAEOutput
from lightning_vae.distributions import StandardGaussian

EIGENVALUES, NOISE = (4.0, 2.0, 1.0, 0.5, 0.2), 0.5
D = len(EIGENVALUES)
TABLE = {  # β: (rate, squared error), checked by an independent optimiser to four digits
    0.5: (3.4657, 1.2),
    1.0: (2.0794, 2.2),
    2.0: (1.0397, 3.7),
    3.0: (0.6343, 4.7),
    5.0: (0.2350, 6.2),
    9.0: (0.0, 7.7),
}
ACTIVE_UNITS = {0.7: 4, 1.5: 3, 3.0: 2, 5.0: 1, 9.0: 0}


def water_filling(beta: float) -> tuple[float, float]:
    level = beta * NOISE
    rate = sum(0.5 * max(0.0, math.log(value / level)) for value in EIGENVALUES)
    return rate, sum(min(value, level) for value in EIGENVALUES)


def within(value: float, truth: float) -> bool:
    return abs(value - truth) <= max(0.02 * truth, 0.02)


class Expected(nn.Module):
    """The expected loss in closed form: no sampling, so an optimiser gets to the very optimum."""

    def __init__(self, diagonal: bool = False) -> None:
        super().__init__()
        start = torch.randn(D, D, dtype=torch.float64) * 0.3
        self.encoder = nn.Parameter(torch.full((D,), 0.5).double() if diagonal else start)
        self.decoder = nn.Parameter(torch.full((D,), 0.5).double() if diagonal else start.T.clone())
        self.log_variance = nn.Parameter(torch.zeros(D, dtype=torch.float64))
        self.covariance = torch.diag(torch.tensor(EIGENVALUES, dtype=torch.float64))

    def terms(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rate per latent, squared error, variance of the posterior means per latent."""
        v, w = (torch.diag(p) if p.dim() == 1 else p for p in (self.encoder, self.decoder))
        means = (v @ self.covariance @ v.T).diagonal()
        # E KL over the data is the KL at a mean whose square is the means' variance.
        posterior = DiagonalGaussian(means.sqrt(), self.log_variance)
        rate = torch.distributions.kl_divergence(posterior, StandardGaussian((D,), like=means))
        left = torch.eye(D, dtype=torch.float64) - w @ v
        error = (left @ self.covariance @ left.T).trace() + (
            w.square() @ self.log_variance.exp()
        ).sum()
        return rate, error, means

    def output(self) -> VAEOutput:
        rate, error, means = self.terms()
        distortion = 0.5 * (error / NOISE + D * math.log(2 * math.pi * NOISE))
        posterior = DiagonalGaussian(means.sqrt()[None], self.log_variance[None])
        latent = Latent(posterior, StandardGaussian((D,)), rate[None], rate[None])
        x = torch.zeros(1, D)
        return VAEOutput(x, Normal(x, NOISE**0.5), (latent,), distortion[None])


def optimum(objective: ELBO, diagonal: bool = False, steps: int = 1500) -> Expected:
    model = Expected(diagonal)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        objective(model.output())["loss"].backward()
        optimizer.step()
        decay.step()
    return model


@pytest.mark.parametrize("beta", TABLE)
def test_rate_and_distortion_are_those_of_reverse_water_filling(beta):
    assert water_filling(beta) == pytest.approx(TABLE[beta], abs=1e-4)
    rate, error, _ = optimum(ELBO(beta=beta)).terms()
    assert within(rate.sum().item(), TABLE[beta][0])
    assert within(error.item(), TABLE[beta][1])


@pytest.mark.parametrize("beta", ACTIVE_UNITS)
def test_active_units_are_the_directions_above_the_water_level(beta):
    _, _, means = optimum(ELBO(beta=beta)).terms()
    assert int((means > 0.01).sum()) == ACTIVE_UNITS[beta]


@pytest.mark.parametrize("floor", [0.1, 0.25, 0.5])
def test_free_bits_per_latent_hold_each_latent_tied_to_a_direction_at_its_floor(floor):
    rate, _, _ = optimum(ELBO(free_bits=floor), diagonal=True).terms()
    for latent, value in zip(rate.tolist(), EIGENVALUES, strict=True):
        assert within(latent, max(floor, 0.5 * math.log(value / NOISE)))


@pytest.mark.parametrize("floors", [{"free_bits": 3.0, "per": "total"}, {"total_floor": 3.0}])
def test_free_bits_on_the_total_hold_the_rate_at_the_floor_by_water_filling(floors):
    rate, error, _ = optimum(ELBO(**floors)).terms()
    assert within(rate.sum().item(), 3.0)
    assert within(error.item(), 1.46)


def test_a_floor_below_the_rate_changes_nothing():
    rate, error, _ = optimum(ELBO(free_bits=1.5, per="total")).terms()
    assert within(rate.sum().item(), TABLE[1.0][0])
    assert within(error.item(), TABLE[1.0][1])


def test_capacity_holds_the_rate_at_its_target():
    rate, error, _ = optimum(ELBO(beta=3.0, capacity=1.0397)).terms()
    assert within(rate.sum().item(), 1.0397)
    assert within(error.item(), 3.7)
