"""What one pass through a VAE yields: the latents of each group, and the output that holds them."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from lightning_vae.distributions import Bernoulli

__all__ = ["Latent", "RunningRate", "VAEOutput", "distortion"]


@dataclass(frozen=True)
class Latent:
    """One group of latents: a latent space, or a layer of a hierarchy."""

    posterior: Distribution  # q(z|x)
    prior: Distribution  # p(z)
    z: Tensor  # [B, *factors], a draw from the posterior; [K, B, *factors] for K draws
    rate: Tensor  # [B, *factors] nats, or [B, 1] where the divergence does not split


@dataclass(frozen=True)
class VAEOutput:
    r"""What a forward pass yields: every term of the ELBO, per example and in nats.

    .. math:: \mathrm{ELBO}(x) = -D - R, \quad D = -\log p(x|z), \quad R = \sum_g R_g

    With K draws of z, ``z``, ``distortion`` and ``rate`` have a leading K, and ``likelihood`` a
    batch of K·B examples.

    >>> import torch
    >>> from lightning_vae.distributions import Bernoulli, DiagonalGaussian, StandardGaussian
    >>> q, p = DiagonalGaussian(torch.ones(2, 3), torch.zeros(2, 3)), StandardGaussian((3,))
    >>> latent = Latent(q, p, q.rsample(), rate=torch.full((2, 3), 0.5))
    >>> x, likelihood = torch.ones(2, 4), Bernoulli(torch.zeros(2, 4))
    >>> VAEOutput(x, likelihood, (latent,), distortion(x, likelihood)).elbo
    tensor([-4.2726, -4.2726])
    """

    x: Tensor
    likelihood: Distribution  # p(x|z)
    latents: tuple[Latent, ...]
    distortion: Tensor  # [B] nats

    @property
    def rate(self) -> Tensor:
        """The KL of every example, summed over groups and latents; [B] nats."""
        batch = self.distortion.shape
        totals = [latent.rate.reshape(*batch, -1).sum(-1) for latent in self.latents]
        return sum(totals[1:], start=totals[0])

    @property
    def elbo(self) -> Tensor:
        """The evidence lower bound of every example: β = 1, no free bits, no capacity; [B] nats."""
        return -self.distortion - self.rate


class RunningRate:
    """The mean rate of every latent over the examples since the last reset.

    It keeps sums where the rates are, so reading costs a wait and updating none. Each rank has
    its own.

    >>> running = RunningRate()
    >>> running.mean()
    ()
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.sums: tuple[Tensor, ...] = ()
        self.examples = 0

    def update(self, output: VAEOutput) -> None:
        batch_dims = output.distortion.dim()
        rates = [latent.rate.detach().flatten(0, batch_dims - 1) for latent in output.latents]
        # A sum in bfloat16 stops growing at 256.
        sums = [r.sum(0, dtype=torch.promote_types(r.dtype, torch.float32)) for r in rates]
        self.sums = tuple(map(torch.add, self.sums, sums)) or tuple(sums)
        self.examples += output.distortion.numel()

    def mean(self) -> tuple[Tensor, ...]:
        """[*factors] nats for every group; nothing before the first update."""
        return tuple(total / self.examples for total in self.sums)


def distortion(x: Tensor, likelihood: Distribution, check_support: bool = True) -> Tensor:
    r"""The negative log-likelihood of every example, with every constant.

    .. math:: D = -\log p(x|z)

    Args:
        x: The data, [B, ...].
        likelihood: p(x|z), whose batch and event shape together are x's.
        check_support: Whether to look that x lies in the support. It reads a number off the
            device: free on a CPU, a wait elsewhere.

    Returns:
        [B] nats, summed over all dimensions but the first.

    Raises:
        ValueError: if the shapes differ (nothing is broadcast), or a value of x lies outside the
            likelihood's support.

    >>> import torch
    >>> distortion(torch.ones(2, 4), torch.distributions.Normal(torch.zeros(2, 4), 1.0))
    tensor([5.6758, 5.6758])
    """
    shape = getattr(likelihood, "batch_shape", x.shape) + getattr(likelihood, "event_shape", ())
    if shape != x.shape:
        raise ValueError(
            f"decode returned a likelihood of shape {tuple(shape)} for x of shape "
            f"{tuple(x.shape)}; make the decoder's output {tuple(x.shape)}."
        )
    if check_support:
        _refuse_outside_support(x, likelihood)
    if isinstance(likelihood, Bernoulli):
        return _per_example(likelihood.cross_entropy(x))
    return -_per_example(likelihood.log_prob(x))


def _per_example(terms: Tensor) -> Tensor:
    return terms.sum(tuple(range(1, terms.dim()))) if terms.dim() > 1 else terms


def _refuse_outside_support(x: Tensor, likelihood: Distribution) -> None:
    if x.dtype in (torch.uint8, torch.bool):
        scaled = "x.float() / 255" if x.dtype == torch.uint8 else "x.float()"
        raise ValueError(f"x has dtype {x.dtype}, which no likelihood takes; write {scaled}.")
    if not x.numel():
        raise ValueError(f"x is empty: its shape is {tuple(x.shape)}.")
    # The two extremes settle the common supports in one pass over x; NaN would be both of them.
    low, high = (extreme.item() for extreme in torch.aminmax(x))
    if math.isnan(low):
        raise ValueError("x has entries that are NaN; replace or drop them.")
    while isinstance(likelihood, Independent):
        likelihood = likelihood.base_dist
    support = _support(likelihood)
    if not _inside(x, low, high, support):
        raise ValueError(
            f"x lies outside the support of {type(likelihood).__name__}, {support}: got values "
            f"from {low:.4g} to {high:.4g}. Scale the data into the support, or choose a "
            f"likelihood that covers it, such as likelihoods.Gaussian()."
        )


def _support(likelihood: Distribution) -> Any:
    try:
        return likelihood.support
    except (AttributeError, NotImplementedError):
        return constraints.real  # it states none


def _inside(x: Tensor, low: float, high: float, support: Any) -> bool:
    if support is constraints.real:
        return True
    if support is constraints.unit_interval:
        return low >= 0 and high <= 1
    return bool(support.check(x).all())
