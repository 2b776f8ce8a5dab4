"""Importance-weighted bounds, and gradients of them that do not fade with the number of draws."""

import math

import torch
from torch import Tensor

from lightning_vae.arguments import whole
from lightning_vae.coefficients import Coefficient
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.objectives.densities import log_density
from lightning_vae.objectives.objective import Objective
from lightning_vae.objectives.parameters import rebuilt

__all__ = ["ImportanceWeighted", "importance_bound"]


def importance_bound(log_weights: Tensor, bounds: int = 1) -> Tensor:
    r"""The importance-weighted bound of every example; with several, their mean.

    .. math:: \frac1M \sum_{m=1}^M \log \frac1K \sum_{k=1}^K w_{mk}

    Args:
        log_weights: log w = log p(x, z) - log q(z|x) of M·K draws, [M·K, B].
        bounds: M.

    Returns:
        [B] nats, the ELBO at K = 1, and at most log p(x) in the mean.

    Raises:
        ValueError: if the draws cannot be dealt out evenly.

    Source: Burda et al. 2016, section 3; Rainforth et al. 2018 (MIWAE).

    >>> importance_bound(torch.tensor([[-90.0], [-1000.0]]))
    tensor([-90.6931])
    """
    each = _dealt(log_weights, bounds)
    return (each.logsumexp(1) - math.log(each.shape[1])).mean(0)


def _dealt(log_weights: Tensor, bounds: int) -> Tensor:
    """[M·K, B] to [M, K, B]."""
    if len(log_weights) % bounds:
        raise ValueError(f"{len(log_weights)} draws cannot be dealt out evenly to {bounds} bounds.")
    return log_weights.view(bounds, -1, *log_weights.shape[1:])


class ImportanceWeighted(Objective):
    r"""The importance-weighted bound of K draws, M of them, and its convex mixture with the ELBO.

    .. math:: \mathcal L = -(1-c)\, \frac1M \sum_m \log \frac1K \sum_k w_{mk}
              - c\, \frac1{MK} \sum_{mk} \log w_{mk}, \quad
              \log w = -D - \beta\, \log\frac{q(z|x)}{p(z)}

    One bound is the IWAE, M of them are MIWAE, and c > 0 is CIWAE. The weights take all densities
    at the draw, never a divergence in closed form, which would make the K draws one. The rate and
    distortion logged beside it are means over the draws, so that ``elbo`` is the ELBO. Its parts
    are ``bound``, the importance-weighted one as it is minimised, and ``effective_samples``,
    :math:`1/\sum_k \tilde w_k^2` of K.

    Args:
        samples: K, the draws of a bound.
        bounds: M, the bounds that are averaged.
        beta: β, of the rate in every weight: 1 is the bound, less is a warm-up.
        elbo_share: c, the ELBO's share, at most 1.
        dreg: Whether the encoder gets doubly reparameterised gradients, equal in expectation and
            of less variance: see Tucker et al. The decoder's and the prior's stay. They scale what
            flows back to the draws, so that another loss on the same pass must not use them.

    Raises:
        ValueError: if samples or bounds is below 1, or c above 1; at the loss, if the output does
            not hold M·K draws, or a posterior depends on other draws under ``dreg``.
        TypeError: if ``dreg`` meets a posterior that cannot be made anew without gradients.

    Source: Burda et al. 2016; Rainforth et al. 2018 (MIWAE, CIWAE); Tucker et al. 2019 (DReG).

    >>> objective = ImportanceWeighted(samples=5, bounds=2)
    >>> objective.samples, objective.coefficients
    (10, {'beta': 1.0, 'elbo_share': 0.0})
    """

    beta = Coefficient[float](grouped=False)
    elbo_share = Coefficient[float](grouped=False)

    def __init__(
        self,
        samples: int = 5,
        bounds: int = 1,
        beta: float = 1.0,
        elbo_share: float = 0.0,
        dreg: bool = False,
    ) -> None:
        super().__init__()
        self.bounds, self.dreg = whole("bounds", bounds), dreg
        self.samples = whole("samples", samples) * bounds
        self.beta, self.elbo_share = beta, elbo_share
        self._refuse_share()

    def forward(self, output: VAEOutput) -> dict[str, Tensor]:
        self._refuse_share()
        self._refuse_other_draws(output)
        log_weights = -output.distortion
        for latent in output.latents:
            log_weights = log_weights - self.beta * self._log_ratio(latent)
        bound = importance_bound(log_weights, self.bounds).mean()
        mixture = (1 - self.elbo_share) * bound + self.elbo_share * log_weights.mean()
        shares = _dealt(log_weights.detach(), self.bounds).softmax(1)
        if self.dreg:
            mixture = self._doubly_reparameterised(mixture.detach(), log_weights, shares, output)
        effective = shares.square().sum(1).reciprocal().mean()
        return {"loss": -mixture, "bound": bound.detach(), "effective_samples": effective}

    def _log_ratio(self, latent: Latent) -> Tensor:
        """log q(z|x) - log p(z), [M·K, B]; under dreg without the gradient of q's parameters."""
        posterior = latent.posterior
        if self.dreg:
            posterior = rebuilt(posterior, Tensor.detach)
        log_q = log_density(posterior, latent.z, batch_dims=2)
        return log_q - log_density(latent.prior, latent.z, batch_dims=2)

    def _doubly_reparameterised(
        self, value: Tensor, log_weights: Tensor, shares: Tensor, output: VAEOutput
    ) -> Tensor:
        r"""The value, with the gradient of :math:`\sum a \log w`, scaled where it enters the draws.

        A bound's own share of a draw is :math:`\tilde w`; what is left of the score function's
        gradient once it is reparameterised takes :math:`\beta \tilde w (1 - \tilde w)` off it.
        """
        c, K = self.elbo_share, shares.shape[1]
        a = (1 - c) * shares + c / K
        # Where a is 0 there is nothing to scale.
        left = 1 - self.beta * (1 - c) * shares * (1 - shares) / a.clamp(min=_tiny(a))
        scale = left.flatten(0, 1)
        for latent in output.latents:
            _scale_gradient(latent.z, scale)
        surrogate = (a.flatten(0, 1) * log_weights).sum(0).mean() / self.bounds
        return value + (surrogate - surrogate.detach())

    def _refuse_share(self) -> None:
        if self.elbo_share > 1:
            raise ValueError(f"elbo_share is a share, at most 1; got {self.elbo_share}.")

    def _refuse_other_draws(self, output: VAEOutput) -> None:
        draws = output.distortion.shape[0] if output.distortion.dim() > 1 else None
        if draws != self.samples:
            raise ValueError(
                f"the output holds {draws} draws of z an example for samples x bounds = "
                f"{self.samples}; write vae(x, samples=vae.objective.samples)."
            )
        output.refuse_mismatch()
        for latent in output.latents:
            q = latent.posterior
            if self.dreg and len(q.batch_shape) + len(q.event_shape) == latent.z.dim():
                raise ValueError(
                    "dreg needs posteriors that depend on x alone, but one of these has a draw's "
                    "shape; write dreg=False."
                )


def _tiny(a: Tensor) -> float:
    return torch.finfo(a.dtype).tiny


def _scale_gradient(z: Tensor, scale: Tensor) -> None:
    """What flows back to every draw, times its scale, [M·K, B]."""
    if z.requires_grad:
        z.register_hook(lambda gradient: gradient * scale.view(*scale.shape, *[1] * (z.dim() - 2)))
