"""Active units: how many latents say something about x."""

from typing import Any, Literal

from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat
from typing_extensions import override

from lightning_vae.latents import VAEOutput
from lightning_vae.metrics.groups import chosen, means, rates
from lightning_vae.metrics.metric import OutputMetric
from lightning_vae.metrics.moments import Moments, merged, moments

__all__ = ["ActiveUnits", "active_units"]

Of = Literal["means", "rates"]

_THRESHOLDS = {"means": 0.01, "rates": 0.1}


def active_units(means: Tensor, threshold: float = 0.01) -> Tensor:
    r"""Which latents are active: those whose posterior mean moves with x.

    .. math:: \mathrm{Var}_x\left(\mathbb E_{q(z_d|x)}[z_d]\right) > 0.01

    Args:
        means: Posterior means of the data, [N, d].
        threshold: What the variance, with N - 1 below it, must be above.

    Returns:
        [d] bool.

    Source: Burda et al. 2016, section 5.1.

    >>> import torch
    >>> active_units(torch.tensor([[0.0, 5.0], [0.1, 5.0], [0.4, 5.0]]))
    tensor([ True, False])
    """
    return moments(means).variance > threshold


class ActiveUnits(OutputMetric):
    r"""How many latents are active, over the data set, as a stream.

    Either of two definitions: the variance of the posterior means over the data, or the mean rate,
    which costs a latent that is held at a floor of free bits the name of inactive and gives it no
    information.

    Args:
        of: ``"means"``, or ``"rates"``, whose divergence must split over latents.
        threshold: What an active one is above: 0.01 of variance, or 0.1 nats, by default.
        group: The group of latents; None for all.

    Raises:
        ValueError: if ``of`` is neither, or the rate does not split.

    Source: Burda et al. 2016, section 5.1.

    >>> from lightning_vae import VAEModule
    >>> from lightning_vae.networks import MLPDecoder, MLPEncoder
    >>> vae = VAEModule(MLPEncoder((8,), latent=2), MLPDecoder((8,), latent=2))
    >>> import torch
    >>> metric = ActiveUnits()
    >>> for x in torch.zeros(64, 8).split(16):
    ...     metric.update(vae(x))
    >>> metric.compute()
    tensor(0)
    """

    higher_is_better = True
    counts: list[Tensor]
    averages: list[Tensor]
    squares: list[Tensor]

    def __init__(
        self,
        of: Of = "means",
        threshold: float | None = None,
        group: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(group, **kwargs)
        if of not in _THRESHOLDS:
            raise ValueError(f"of must be 'means' or 'rates', got {of!r}.")
        self.of = of
        self.threshold = _THRESHOLDS[of] if threshold is None else threshold
        # One part of a stream each: concatenated over ranks, and merged when read.
        for name in ("counts", "averages", "squares"):
            self.add_state(name, [], dist_reduce_fx="cat")

    @override
    def update(self, output: VAEOutput) -> None:
        part = moments(self._watched(output))
        self.counts.append(part.rows[None])
        self.averages.append(part.mean[None])
        self.squares.append(part.squares[None])
        self._merge()

    @override
    def compute(self) -> Tensor:
        """How many are active."""
        return self.active().sum()

    def active(self) -> Tensor:
        """Which are, [d] bool, of what this process has seen."""
        seen = merged(self._parts())
        return (seen.variance if self.of == "means" else seen.mean) > self.threshold

    def _watched(self, output: VAEOutput) -> Tensor:
        if self.of == "means":
            return means(output, self.group)
        for latent in chosen(output, self.group):
            if latent.rate.shape != latent.z.shape:
                raise ValueError(
                    f"the divergence of {type(latent.posterior).__name__} does not split over "
                    f"latents; write ActiveUnits(of='means')."
                )
        return rates(output, self.group)

    def _parts(self) -> Moments:
        return Moments(*(dim_zero_cat(s) for s in (self.counts, self.averages, self.squares)))

    def _merge(self) -> None:
        """Keep one part, however many batches there are."""
        whole = merged(self._parts())
        self.counts, self.averages, self.squares = ([part[None]] for part in whole)
