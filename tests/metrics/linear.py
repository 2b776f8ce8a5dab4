"""The linear-Gaussian VAE at its optimum, set in closed form: what the metrics should find."""

import math

import torch
from torch import Tensor
from torch.distributions import Normal

from lightning_vae import DiagonalGaussian, StandardNormal, VAEModule
from lightning_vae.data.linear_gaussian import whitened

EIGENVALUES, NOISE = (4.0, 2.0, 1.0, 0.5, 0.2), 0.5
ACTIVE = {0.7: 4, 1.5: 3, 3.0: 2, 5.0: 1, 9.0: 0}


class LinearVAE(VAEModule):
    """Direction i, of variance λ, has Var E[z] = 1 - θ/λ and decodes by √(λ - θ), θ = β s²."""

    def __init__(
        self, eigenvalues: Tensor, directions: Tensor, noise: float, beta: float = 1.0
    ) -> None:
        super().__init__(prior=StandardNormal(len(eigenvalues)))
        left = (beta * noise / eigenvalues).clamp(max=1.0)
        self.noise, self.eigenvalues = noise, eigenvalues
        self.register_buffer("up", directions * ((1 - left) / eigenvalues).sqrt())  # [D, d]
        self.register_buffer("down", (directions * (eigenvalues * (1 - left)).sqrt()).T)  # [d, D]
        self.register_buffer("log_variance", left.log())
        self.true_rate = -0.5 * left.log().sum().item()
        self.active = int((left < 1).sum())

    def encode(self, x):
        return DiagonalGaussian(x @ self.up, self.log_variance.expand(len(x), -1))

    def decode(self, z):
        return Normal(z @ self.down, self.noise**0.5)

    def nll(self, x: Tensor) -> Tensor:
        """-log p(x) of every example, exactly."""
        covariance = self.down.T @ self.down + self.noise * torch.eye(x.shape[1])
        normal = torch.distributions.MultivariateNormal(torch.zeros(x.shape[1]), covariance)
        return -normal.log_prob(x)


def optimum(beta: float = 1.0) -> LinearVAE:
    return LinearVAE(torch.tensor(EIGENVALUES), torch.eye(len(EIGENVALUES)), NOISE, beta)


def data(size: int = 10_000) -> Tensor:
    return whitened(EIGENVALUES, size)


def mnist(images: Tensor, latent: int = 40, noise: float = 1.0, beta: float = 1.0):
    """A linear VAE on MNIST, and its data: pixels / 255, mean removed, σ² = 1."""
    x = images.flatten(1).double()
    x = x - x.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    top, directions = values.flip(0)[:latent].float(), vectors.flip(1)[:, :latent].float()
    return LinearVAE(top, directions, noise, beta), x.float()


def rate(beta: float) -> float:
    level = beta * NOISE
    return sum(0.5 * max(0.0, math.log(value / level)) for value in EIGENVALUES)
