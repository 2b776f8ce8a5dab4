"""Does the decoder use z? What it loses when given another example's."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from typing_extensions import override

from lightning_vae.latents import VAEOutput
from lightning_vae.likelihoods import distortion
from lightning_vae.metrics.metric import OutputMetric

__all__ = ["ShuffledGap", "exchanged", "shuffled_gap"]


def exchanged(output: VAEOutput) -> Tensor | tuple[Tensor, ...]:
    """Every example's z given to another of the batch, half of it further on; no random number.

    Of several draws the first. One tensor for one group of latents, a tuple for several.

    >>> from lightning_vae import VAEModule
    >>> from lightning_vae.networks import MLPDecoder, MLPEncoder
    >>> vae = VAEModule(MLPEncoder((8,), latent=2), MLPDecoder((8,), latent=2))
    >>> output = vae(torch.rand(4, 8))
    >>> exchanged(output)[2].equal(output.latents[0].z[0])
    True
    """
    several = output.distortion.dim() > 1
    draws = [latent.z[0] if several else latent.z for latent in output.latents]
    rolled = tuple(z.roll(max(1, len(z) // 2), 0) for z in draws)
    return rolled[0] if len(rolled) == 1 else rolled


def shuffled_gap(output: VAEOutput, shuffled: Distribution) -> Tensor:
    r"""What every example's distortion gains when its z is another's.

    .. math:: -\log p(x \mid z') + \log p(x \mid z), \quad z' \sim q(z \mid x')

    Zero is a decoder that ignores z.

    Args:
        output: Of at least two examples.
        shuffled: p(x|z') at the :func:`exchanged` draws.

    Returns:
        [B] nats.

    Raises:
        ValueError: if there is one example only, or the shapes differ.
    """
    if len(output.x) < 2:
        raise ValueError("one example has no other to take z from; give a batch of two or more.")
    own = output.distortion[0] if output.distortion.dim() > 1 else output.distortion
    return distortion(output.x, shuffled, check_support=False) - own


class ShuffledGap(OutputMetric):
    r"""What the distortion gains, in nats, when the decoder is given other examples' z.

    The latents may know everything and the decoder use none of it: mutual information sees the
    one, this the other. An update takes the decoder too: ``metric.update(output, vae.decode)``,
    which is called on the :func:`exchanged` draws, with the context that the output holds.

    All groups are exchanged together.

    Raises:
        ValueError: if a batch holds one example only.

    >>> from lightning_vae import VAEModule
    >>> from lightning_vae.networks import MLPDecoder, MLPEncoder
    >>> vae = VAEModule(MLPEncoder((8,), latent=2), MLPDecoder((8,), latent=2))
    >>> metric = ShuffledGap()
    >>> metric.update(vae(torch.zeros(16, 8)), lambda z: vae.decode(0 * z))
    >>> metric.compute().shape
    torch.Size([])
    """

    higher_is_better = True
    plot_lower_bound = None
    total: Tensor
    examples: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(None, **kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float32), dist_reduce_fx="sum")
        self.add_state("examples", torch.tensor(0), dist_reduce_fx="sum")

    @override
    def update(  # type: ignore[override]
        self, output: VAEOutput, decode: Callable[..., Distribution]
    ) -> None:
        gap = shuffled_gap(output, decode(exchanged(output), **output.context))
        self.total += gap.sum()
        self.examples += len(gap)

    @override
    def compute(self) -> Tensor:
        """Nats an example.

        Raises:
            ValueError: if there is none.
        """
        if not self.examples:
            raise ValueError("no example has been given another's z; call update first.")
        return self.total / self.examples
