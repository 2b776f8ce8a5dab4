"""Linear-Gaussian data: the set on which a linear VAE's optimum is known exactly."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.data.batches import Stored, stream
from lightning_vae.data.split import Part, SplitData

__all__ = ["LinearGaussian", "whitened"]


def whitened(eigenvalues: Sequence[float], size: int, seed: int = 0) -> Tensor:
    r"""Normal draws of mean zero whose covariance is exactly the diagonal matrix of eigenvalues.

    .. math:: \tfrac1N X^\top X = \mathrm{diag}(\lambda)

    A plain sample of 10,000 misses λ by 1.4 %, and with it every number it should be a truth for.

    Returns:
        [size, len(eigenvalues)] float32.

    Example:
        >>> x = whitened((4.0, 1.0), size=100)
        >>> (x.T @ x / 100).round(decimals=4).abs()
        tensor([[4., 0.],
                [0., 1.]])
    """
    x = stream(seed).standard_normal((size, len(eigenvalues)))
    x -= x.mean(0)
    root = np.linalg.cholesky(x.T @ x / size)
    return torch.from_numpy(np.linalg.solve(root, x.T).T * np.sqrt(eigenvalues)).float()


class LinearGaussian(SplitData[Tensor]):
    r"""Gaussian data of covariance exactly diag(λ), to train, validate and test on.

    With a linear decoder of noise s² and a linear encoder, the optimum at β is reverse
    water-filling: with θ = β s², the rate is :math:`\sum_i \tfrac12 \max(0, \log \lambda_i/\theta)`
    nats and the squared error :math:`\sum_i \min(\lambda_i, \theta)`.

    Args:
        eigenvalues: λ, the variance of each dimension.
        size: How many examples.
        batch_size: Examples a batch and rank.
        seed: Seed of the draws and of the order.

    Raises:
        ValueError: If an eigenvalue is not positive, or there are fewer examples than dimensions.

    Source: Lucas et al. 2019, "Don't Blame the ELBO!", section 3.

    Example:
        >>> data = LinearGaussian(size=1000, batch_size=400)
        >>> [x.shape for x in data.train_dataloader()]
        [torch.Size([400, 5]), torch.Size([400, 5]), torch.Size([200, 5])]
    """

    def __init__(
        self,
        eigenvalues: Sequence[float] = (4.0, 2.0, 1.0, 0.5, 0.2),
        size: int = 10_000,
        batch_size: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed=seed)
        whole("size", size, len(eigenvalues) + 1)
        if not eigenvalues or not all(0 < value < float("inf") for value in eigenvalues):
            raise ValueError(f"eigenvalues must be positive numbers, got {list(eigenvalues)}.")
        self.stored = Stored(whitened(eigenvalues, size, seed))

    @override
    def part(self, name: Part) -> Stored[Tensor]:
        return self.stored
