"""Sentences written word by word, each word given those before it."""

from typing import Any, Protocol

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import cross_entropy, pad

from lightning_vae.distributions.precision import at_least_float32

__all__ = ["END", "PADDING", "START", "UNKNOWN", "Sentences", "Writer", "before", "pick"]

# The first words of every vocabulary. Sentences close with END, and PADDING fills up after it.
PADDING, START, END, UNKNOWN = range(4)


class Writer(Protocol):
    """What gives every word its probability: a decoder's network."""

    vocabulary: int

    def logits(self, words: Tensor, z: Tensor) -> Tensor:
        """The logits of the word after each: words [B, T] and z to [B, T, V]."""
        ...

    def begin(self, z: Tensor) -> Any:
        """What :meth:`follow` is given with the first word, START."""
        ...

    def follow(self, words: Tensor, z: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The logits [B, V] of the word after words [B], and the state after it."""
        ...


def before(words: Tensor) -> Tensor:
    """The word before every word, START before the first.

    >>> before(torch.tensor([[7, 8, END]]))
    tensor([[1, 7, 8]])
    """
    return pad(words[:, :-1], (1, 0), value=START)


def pick(logits: Tensor, temperature: float) -> Tensor:
    """A word from every row of logits, [B, V] to [B]; the likeliest at temperature 0.

    PADDING and START are never written.
    """
    logits = at_least_float32(logits).clone()
    logits[:, [PADDING, START]] = -torch.inf
    if temperature == 0:
        return logits.argmax(1)
    return torch.multinomial((logits / temperature).softmax(1), 1).squeeze(1)


class Sentences(Distribution):
    r"""The distribution of sentences that a network writes word by word.

    .. math:: \log p(x|z) = \textstyle\sum_{t: x_t \ne \text{padding}} \log p(x_t \mid x_{<t}, z)

    ``log_prob`` gives the network the words before each (teacher forcing), all at once, in nats.
    A sentence has no mean: ``mean`` is the one written by taking the likeliest word every time.

    Args:
        writer: The network, see :class:`Writer`.
        z: The latents of B sentences, [B, d].
        length: How many words are written at most; the density takes sentences of any length.

    Raises:
        ValueError: at ``log_prob``, if there are not B sentences; at ``write``, if the temperature
            is negative.

    Source: Bowman et al. 2016, section 3.

    >>> from lightning_vae.networks import LSTMDecoder
    >>> p = Sentences(LSTMDecoder(vocabulary=20, latent=2), torch.randn(3, 2), length=5)
    >>> p.log_prob(torch.tensor([[7, 8, END], [9, END, PADDING], [END, PADDING, PADDING]])).shape
    torch.Size([3])
    >>> p.mean.shape, p.sample((4,)).shape, p.write(temperature=0.5).shape
    (torch.Size([3, 5]), torch.Size([4, 3, 5]), torch.Size([3, 5]))
    """

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, writer: Writer, z: Tensor, length: int = 100) -> None:
        self.writer, self.z, self.length = writer, z, length
        super().__init__(z.shape[:1], Size([length]), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        interval: constraints.Constraint = constraints.integer_interval(
            0, self.writer.vocabulary - 1
        )
        return interval

    @property
    def mean(self) -> Tensor:
        return self.write(temperature=0)

    @property
    def mode(self) -> Tensor:
        raise NotImplementedError("the likeliest sentence is not known; mean is a greedy one.")

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "Sentences":
        return Sentences(self.writer, self.z.expand(*batch_shape, *self.z.shape[1:]), self.length)

    def log_prob(self, value: Tensor) -> Tensor:
        if value.dim() != 2 or len(value) != len(self.z):
            raise ValueError(
                f"x has shape {tuple(value.shape)} for {len(self.z)} sentences; give it as "
                f"[{len(self.z)}, T], filled up with {PADDING}."
            )
        logits = at_least_float32(self.writer.logits(before(value), self.z))
        costs = cross_entropy(
            logits.flatten(0, 1), value.flatten(), ignore_index=PADDING, reduction="none"
        )
        return -costs.view_as(value).sum(1)

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        shape = Size(sample_shape)
        z = self.z.expand(*shape, *self.z.shape).reshape(-1, *self.z.shape[1:])
        return Sentences(self.writer, z, self.length).write().view(*shape, *self._extended_shape())

    @torch.no_grad()
    def write(self, temperature: float = 1.0) -> Tensor:
        """Write a sentence for every z: [B, length], closed with END and filled up with PADDING.

        Args:
            temperature: What logits are divided by; 1 draws from p(x|z), 0 takes the likeliest
                word every time.
        """
        if temperature < 0:
            raise ValueError(f"temperature must be at least 0, got {temperature}.")
        words = self.z.new_full((len(self.z),), START, dtype=torch.long)
        ended, state, written = words == END, self.writer.begin(self.z), []
        for _ in range(self.length):
            logits, state = self.writer.follow(words, self.z, state)
            words = pick(logits, temperature).masked_fill(ended, PADDING)
            ended = ended | (words == END)
            written.append(words)
        return torch.stack(written, 1)
