"""The marginal likelihood by importance sampling: the NLL that papers report."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.conversions import bits_per_dimension
from lightning_vae.distributions.sentences import PADDING, Sentences
from lightning_vae.latents import VAEOutput
from lightning_vae.metrics.metric import OutputMetric
from lightning_vae.objectives.densities import log_density
from lightning_vae.objectives.importance import importance_bound

__all__ = ["MarginalLikelihood", "log_marginal_likelihood", "log_weights", "passes"]

NUMBERS = 1 << 23  # that draws decode to, at a time: 32 MB of float32


def log_weights(output: VAEOutput) -> Tensor:
    r"""The log-weight of every draw: :math:`\log w = \log p(x|z) + \log p(z) - \log q(z|x)`.

    Densities at the draw, never a divergence in closed form.

    Args:
        output: Of K draws an example.

    Returns:
        [K, B] nats.

    Source: Burda et al. 2016, section 3.
    """
    if output.distortion.dim() < 2:
        raise ValueError("the output holds one draw of z an example; write vae(x, samples=50).")
    weights = -output.distortion
    for latent in output.latents:
        weights = weights + log_density(latent.prior, latent.z, batch_dims=2)
        weights = weights - log_density(latent.posterior, latent.z, batch_dims=2)
    return weights


def passes(
    model: Callable[..., VAEOutput],
    x: Tensor,
    samples: int,
    at_once: int | None = None,
    **context: Any,
) -> Iterator[VAEOutput]:
    """Outputs of a model for one batch, which together hold a number of draws.

    Args:
        model: ``model(x, samples=K, **context)`` yields an output: a ``VAEModule``.
        x: The data, [B, ...].
        samples: How many draws in all.
        at_once: K, at most; by default as many as decode to eight million numbers: of a sentence,
            those are the logits of every word of the vocabulary at each of its places.
        context: What the model needs besides.

    >>> from lightning_vae import VAEModule
    >>> from lightning_vae.networks import MLPDecoder, MLPEncoder
    >>> vae = VAEModule(MLPEncoder((8,), latent=2), MLPDecoder((8,), latent=2))
    >>> [len(output.distortion) for output in passes(vae, torch.rand(4, 8), 50, at_once=20)]
    [20, 20, 10]
    """
    done = 0
    if at_once is None:
        first = model(x, samples=1, **context)
        at_once = max(1, NUMBERS // _decoded(first))
        yield first
        done = 1
    for start in range(done, samples, at_once):
        yield model(x, samples=min(at_once, samples - start), **context)


def _decoded(output: VAEOutput) -> int:
    """How many numbers the draws of an output decode to."""
    likelihood = output.likelihood
    width = likelihood.writer.vocabulary if isinstance(likelihood, Sentences) else 1
    return output.distortion.numel() * output.x[0].numel() * width


def log_marginal_likelihood(outputs: Iterable[VAEOutput]) -> Tensor:
    r"""The importance-weighted estimate of log p(x), from outputs of one batch taken in turn.

    .. math:: \log \frac1K \sum_k \frac{p(x|z_k)\, p(z_k)}{q(z_k|x)}, \quad z_k \sim q(z|x)

    It is below log p(x) in the mean, and rises to it with K. Only one output is held at a time.

    Args:
        outputs: Of the same x, such as :func:`passes` yields.

    Returns:
        [B] nats.

    Raises:
        ValueError: if there is none, or one has a single draw without its dimension.

    Source: Burda et al. 2016, equation 8.

    >>> from lightning_vae import VAEModule
    >>> from lightning_vae.networks import MLPDecoder, MLPEncoder
    >>> vae = VAEModule(MLPEncoder((8,), latent=2), MLPDecoder((8,), latent=2))
    >>> log_marginal_likelihood(passes(vae, torch.rand(4, 8), samples=500)).shape
    torch.Size([4])
    """
    total: Tensor | None = None
    draws = 0
    for output in outputs:
        weights = log_weights(output)
        bound = importance_bound(weights) + math.log(len(weights))
        total = bound if total is None else torch.logaddexp(total, bound)
        draws += len(weights)
    if total is None:
        raise ValueError("outputs is empty; write passes(vae, x, samples=500).")
    return total - math.log(draws)


class MarginalLikelihood(OutputMetric):
    r"""The importance-weighted negative log-likelihood over the data set.

    Its value is a dict of ``nll`` in nats, its ``standard_error`` over examples, and
    ``bits_per_dimension``; of :class:`Sentences` it is ``perplexity`` instead, the exponential of the
    nats a word, each sentence's end counted as a word. An update takes the outputs of one batch, which
    :func:`passes` makes in turn: ``metric.update(passes(vae, x, metric.samples))``.

    Args:
        samples: K, the draws an example; papers take 500 or 5000.
        levels: How many levels of the data fit into one unit of x: see
            :func:`lightning_vae.conversions.bits_per_dimension`.

    Raises:
        ValueError: if samples is below 1, or the outputs hold another number of draws.

    Source: Burda et al. 2016, section 5; of text, Bowman et al. 2016, section 4.

    >>> from lightning_vae import VAEModule
    >>> from lightning_vae.networks import MLPDecoder, MLPEncoder
    >>> vae = VAEModule(MLPEncoder((8,), latent=2), MLPDecoder((8,), latent=2))
    >>> metric = MarginalLikelihood(samples=50)
    >>> for x in torch.rand(64, 8).split(16):
    ...     metric.update(passes(vae, x, metric.samples))
    >>> list(metric.compute())
    ['nll', 'standard_error', 'bits_per_dimension']
    """

    higher_is_better = False
    plot_lower_bound = None
    bounds: list[Tensor]
    dimensions: Tensor
    words: Tensor

    def __init__(self, samples: int = 500, levels: int = 1, **kwargs: Any) -> None:
        super().__init__(None, **kwargs)
        self.samples, self.levels = whole("samples", samples), whole("levels", levels)
        self.add_state("bounds", [], dist_reduce_fx="cat")
        self.add_state("dimensions", torch.tensor(0), dist_reduce_fx="max")
        self.add_state("words", torch.tensor(0), dist_reduce_fx="sum")

    @override
    def update(self, output: VAEOutput | Iterable[VAEOutput]) -> None:
        draws = 0
        last: VAEOutput | None = None

        def counted() -> Iterator[VAEOutput]:
            nonlocal draws, last
            for each in [output] if isinstance(output, VAEOutput) else output:
                draws += len(each.distortion)
                last = each
                yield each

        bound = log_marginal_likelihood(counted())
        if draws != self.samples or last is None:
            raise ValueError(
                f"the outputs hold {draws} draws an example for samples={self.samples}; write "
                f"metric.update(passes(vae, x, metric.samples))."
            )
        self.bounds.append(bound)
        self.dimensions = self.dimensions.clamp(min=last.x[0].numel())
        if isinstance(last.likelihood, Sentences):
            self.words = self.words + (last.x != PADDING).sum()

    @override
    def compute(self) -> dict[str, Tensor]:
        bounds = dim_zero_cat(self.bounds)
        nll = -bounds.mean()
        found = {"nll": nll, "standard_error": bounds.std() / math.sqrt(len(bounds))}
        if self.words:
            return {**found, "perplexity": (-bounds.sum() / self.words).exp()}
        bits = bits_per_dimension(nll, int(self.dimensions), self.levels)
        return {**found, "bits_per_dimension": bits}
