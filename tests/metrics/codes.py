"""Codes whose scores the definitions imply, and an array of middling ones on record."""

import numpy as np
import torch

SIZES = (4, 5, 6)


def grid(sizes=SIZES, repeats=10):
    """Every combination of classes, equally often: [N, K] int64."""
    return torch.cartesian_prod(*map(torch.arange, sizes)).repeat(repeats, 1)


def binary(repeats=100):
    return grid((2, 2, 2), repeats)


def perfect(factors):
    """Each factor in a latent of its own, from -1 to 1."""
    return 2 * factors / factors.amax(0) - 1


def permuted(factors):
    return perfect(factors)[:, [2, 0, 1]] * torch.tensor([-3.0, 1.0, -0.5])


def rotated(factors):
    """All latents heed all factors alike: a Hadamard matrix but for its last row."""
    mixed = torch.tensor([[1.0, 1, 1], [1, -1, 1], [1, 1, -1], [1, -1, -1]])
    return perfect(factors) @ mixed.T


def noise(factors):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(factors.shape, generator=generator)


def constant(factors):
    return torch.full(factors.shape, 0.7)


def middling(n=3000, seed=0, latents=6):
    """Codes somewhat entangled and somewhat noisy, and their classes; one latent is dead."""
    random = np.random.default_rng(seed)
    sizes = np.array([3, 6, 10, 8])
    factors = random.integers(sizes, size=(n, 4))
    codes = middling_encoder(latents)(factors) + 0.1 * random.normal(size=(n, latents))
    codes[:, -1] *= 0.1
    return torch.from_numpy(codes).float(), torch.from_numpy(factors)


def middling_encoder(latents=6):
    sizes = np.array([3, 6, 10, 8])
    mix = np.random.default_rng(7).normal(size=(4, latents)) ** 3
    mix[:, -1] = 0

    def encode(factors):
        return (factors / sizes) @ mix

    return encode
