"""The maximum mean discrepancy of the draws from the prior (InfoVAE, WAE)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from lightning_vae.coefficients import Coefficient, Grouped
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.objectives.draws import refuse_several_draws
from lightning_vae.objectives.groups import summed, weighed
from lightning_vae.objectives.objective import Objective
from lightning_vae.objectives.ranks import gather

__all__ = ["MMD", "mmd"]

Kernel = Literal["imq", "rbf"]
_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def mmd(x: Tensor, y: Tensor, kernel: Kernel = "imq", scales: Sequence[float] = _SCALES) -> Tensor:
    r"""The squared maximum mean discrepancy of two samples, free of bias.

    .. math:: \frac{\sum_{i \ne j} k(x_i, x_j)}{n(n-1)} + \frac{\sum_{i \ne j} k(y_i, y_j)}{m(m-1)}
              - \frac{2 \sum_{ij} k(x_i, y_j)}{n m}

    with, of :math:`r^2 = \|x - y\|^2` and :math:`C = 2 d s`, one term a scale s:
    :math:`k = \sum_s C/(C + r^2)` (inverse multiquadric) or :math:`k = \sum_s e^{-r^2/C}`. At
    s = 1, C is the mean of r² for two draws from N(0, I).

    Being free of bias it may be negative, and is zero in the mean where the two distributions are
    one.

    Args:
        x: n draws, [n, \*factors].
        y: m draws of the other, [m, \*factors].
        kernel: ``"imq"`` or ``"rbf"``.
        scales: s, one or several.

    Returns:
        A scalar, without units.

    Raises:
        ValueError: if there is one draw alone, or the draws differ in shape.

    Source: Gretton et al. 2012, section 2.2; Tolstikhin et al. 2018, algorithm 2.

    >>> mmd(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [2.0]]), scales=(1.0,))
    tensor(-0.6667)
    """
    if min(len(x), len(y)) < 2 or x.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"x and y must be two draws or more of one shape, got {tuple(x.shape)} and "
            f"{tuple(y.shape)}; give whole batches, as with drop_last=True in the DataLoader."
        )
    x, y = at_least_float32(x).flatten(1), at_least_float32(y).flatten(1)
    across = _kernel(x, y, kernel, scales).mean()
    return _within(x, kernel, scales) + _within(y, kernel, scales) - 2 * across


def _within(x: Tensor, kernel: Kernel, scales: Sequence[float]) -> Tensor:
    """The mean kernel of two different draws; that of a draw with itself is 1 a scale."""
    own = len(x) * len(scales)
    return (_kernel(x, x, kernel, scales).sum() - own) / (len(x) * (len(x) - 1))


def _kernel(x: Tensor, y: Tensor, kernel: Kernel, scales: Sequence[float]) -> Tensor:
    """[n, m]."""
    # Not by a matrix product, whose rounding leaves a draw at a distance from itself.
    squares = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
    widths = [2 * x.shape[1] * scale for scale in scales]
    if kernel == "imq":
        return summed([C / (C + squares) for C in widths])
    return summed([(-squares / C).exp() for C in widths])


class MMD(Objective):
    r"""The distortion with the discrepancy of the draws from the prior (InfoVAE-MMD, WAE-MMD).

    .. math:: \mathcal L = D + \beta R + \lambda\, \mathrm{MMD}^2(q(z), p(z))

    At β = 0, the default, it is the Wasserstein autoencoder's; the InfoVAE's α and λ are
    ``beta = 1 - α`` and ``lambda_mmd = α + λ - 1``. The discrepancy is of the batch, under DDP in
    training of all ranks' (of one size each), from as many draws from the prior. Scalars apply to
    every group of latents, tuples to one each. Its part ``mmd`` is the sum over groups.

    Args:
        lambda_mmd: λ, of the discrepancy: 10 for MNIST and 100 for CelebA in the WAE's paper.
        beta: β, of the rate.
        kernel: ``"imq"`` or ``"rbf"``: see :func:`mmd`.
        scales: The kernel's scales.

    Raises:
        ValueError: if the kernel is neither, or a scale is not positive; at the loss, if a batch
            has one example.

    Source: Tolstikhin et al. 2018, algorithm 2; Zhao et al. 2019 (InfoVAE).

    >>> MMD(lambda_mmd=10.0).coefficients
    {'lambda_mmd': 10.0, 'beta': 0.0}
    """

    lambda_mmd = Coefficient[Grouped]()
    beta = Coefficient[Grouped]()

    def __init__(
        self,
        lambda_mmd: float | Sequence[float] = 10.0,
        beta: float | Sequence[float] = 0.0,
        kernel: Kernel = "imq",
        scales: Sequence[float] = _SCALES,
    ) -> None:
        super().__init__()
        if kernel not in ("imq", "rbf"):
            raise ValueError(f"kernel must be 'imq' or 'rbf', got {kernel!r}.")
        if not scales or not all(0 < scale < float("inf") for scale in scales):
            raise ValueError(f"scales must be positive numbers, got {scales}; write (1.0,).")
        self.lambda_mmd, self.beta = lambda_mmd, beta
        self.kernel: Kernel = kernel
        self.scales = tuple(scales)

    def forward(self, output: VAEOutput) -> dict[str, Tensor]:
        refuse_several_draws(output)
        output.refuse_mismatch()
        discrepancies = [self._discrepancy(latent) for latent in output.latents]
        loss = output.distortion.mean()
        loss = loss + weighed("beta", self.beta, [rate.mean() for rate in output.rates])
        loss = loss + weighed("lambda_mmd", self.lambda_mmd, discrepancies)
        return {"loss": loss, "mmd": summed(discrepancies).detach()}

    def _discrepancy(self, latent: Latent) -> Tensor:
        draws = _like(latent.prior, latent.z)
        z, draws = (gather(latent.z), gather(draws)) if self.training else (latent.z, draws)
        return mmd(z, draws, self.kernel, self.scales)


def _like(prior: Distribution, z: Tensor) -> Tensor:
    """A draw from the prior for every draw from the posterior; one over a batch has its own."""
    whole = prior.batch_shape + prior.event_shape == z.shape
    size = Size() if whole else Size(z.shape[:1])
    return prior.rsample(size) if prior.has_rsample else prior.sample(size)
