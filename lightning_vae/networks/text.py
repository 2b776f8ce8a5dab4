"""Networks that read and write sentences: LSTMs, and a Transformer that writes.

A decoder returns the distribution of whole sentences, :class:`Sentences`, which gives the network
the words before each when it is asked for a density, and nothing but its own words when it writes.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import dropout as drop

from lightning_vae.arguments import share
from lightning_vae.distributions.sentences import PADDING, START, UNKNOWN, Sentences
from lightning_vae.networks.heads import posterior_head
from lightning_vae.posteriors import Posterior

__all__ = ["LSTMDecoder", "LSTMEncoder", "TransformerDecoder", "drop_words"]


def drop_words(words: Tensor, rate: float) -> Tensor:
    """Words of which a share is UNKNOWN, drawn anew at every call; START stays.

    Source: Bowman et al. 2016, section 3.1.

    >>> drop_words(torch.tensor([[1, 7, 8]]), rate=1.0)
    tensor([[1, 3, 3]])
    """
    dropped = (torch.rand(words.shape, device=words.device) < rate) & (words != START)
    return words.masked_fill(dropped, UNKNOWN)


def _vocabulary(vocabulary: int) -> int:
    if not isinstance(vocabulary, int) or vocabulary <= UNKNOWN + 1:
        raise ValueError(
            f"vocabulary must count the {UNKNOWN + 1} words that every one begins with and at "
            f"least one more, got {vocabulary!r}; write len(data.vocabulary)."
        )
    return vocabulary


def _refuse_other_words(words: Tensor, vocabulary: int) -> None:
    # An embedding's own error names nothing. Elsewhere than on a CPU, looking would be a wait.
    if words.is_floating_point() or words.dim() != 2:
        raise ValueError(
            f"x must be sentences as words' numbers, [B, T] int64, got {tuple(words.shape)} "
            f"{words.dtype}; lightning_vae.data.Text makes them."
        )
    if words.device.type == "cpu" and words.numel() and int(words.max()) >= vocabulary:
        raise ValueError(
            f"x has a word {int(words.max())}, but vocabulary={vocabulary}; give the networks "
            f"len(data.vocabulary)."
        )


class LSTMEncoder(nn.Module):
    r"""An LSTM that reads a sentence, x → q(z|x) by its state after the last word.

    Args:
        vocabulary: V, how many words there are, with PADDING, START, END and UNKNOWN.
        latent: The number of latents d.
        embedding: The width of a word.
        hidden: The width of the state.
        dropout: The share of a word's features that is dropped in training.
        posterior: The head that makes a distribution of the last features; by default a diagonal
            Gaussian.

    Raises:
        ValueError: if the vocabulary or dropout is out of range; at the call, if x is no
            sentences of this vocabulary.

    Source: Bowman et al. 2016, section 3.

    >>> LSTMEncoder(vocabulary=20, latent=2)(torch.tensor([[7, 8, 2], [9, 2, 0]]))
    DiagonalGaussian(loc: torch.Size([2, 2]), log_variance: torch.Size([2, 2]))
    """

    def __init__(
        self,
        vocabulary: int,
        latent: int,
        embedding: int = 256,
        hidden: int = 256,
        dropout: float = 0.0,
        posterior: Posterior | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary, self.dropout = _vocabulary(vocabulary), share("dropout", dropout)
        self.posterior = posterior_head(posterior)
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=PADDING)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, self.posterior.features(latent))

    def forward(self, x: Tensor, **context: Any) -> Distribution:
        _refuse_other_words(x, self.vocabulary)
        states, _ = self.lstm(drop(self.embedding(x), self.dropout, self.training))
        # What it reads after the last word, padding, changes no state before: no packing needed.
        last = ((x != PADDING).sum(1) - 1).clamp(min=0)
        posterior: Distribution = self.posterior(
            self.linear(states[torch.arange(len(x), device=x.device), last])
        )
        return posterior


class LSTMDecoder(nn.Module):
    r"""An LSTM that writes a sentence, z → p(x|z); z is its first state and part of every input.

    Args:
        vocabulary: V, how many words there are, with PADDING, START, END and UNKNOWN.
        latent: The number of latents d.
        embedding: The width of a word.
        hidden: The width of the state.
        length: How many words it writes at most.
        dropout: The share of features dropped in training, of the words read and of the states.
        word_dropout: The share of words read that are UNKNOWN in training; at 1 it reads none.
        skip: Whether z also goes straight to the words' logits, past the LSTM.

    Raises:
        ValueError: if the vocabulary or a share is out of range.

    Source: Bowman et al. 2016, section 3; He et al. 2019, appendix; Dieng et al. 2019, "Avoiding
    Latent Variable Collapse with Generative Skip Models".

    >>> p = LSTMDecoder(vocabulary=20, latent=2, length=5)(torch.randn(3, 2))
    >>> p.log_prob(torch.tensor([[7, 8, 2], [9, 2, 0], [7, 7, 2]])).shape, p.mean.shape
    (torch.Size([3]), torch.Size([3, 5]))
    """

    def __init__(
        self,
        vocabulary: int,
        latent: int,
        embedding: int = 256,
        hidden: int = 256,
        length: int = 100,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.vocabulary, self.length, self.skip = _vocabulary(vocabulary), length, skip
        self.dropout = share("dropout", dropout)
        self.word_dropout = share("word_dropout", word_dropout)
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.first = nn.Linear(latent, hidden)
        self.lstm = nn.LSTM(embedding + latent, hidden, batch_first=True)
        self.linear = nn.Linear(hidden + (latent if skip else 0), vocabulary)

    def forward(self, z: Tensor, **context: Any) -> Sentences:
        return Sentences(self, z, self.length)

    def logits(self, words: Tensor, z: Tensor) -> Tensor:
        _refuse_other_words(words, self.vocabulary)
        return self._read(words, z, self.begin(z))[0]

    def begin(self, z: Tensor) -> tuple[Tensor, Tensor]:
        cell = self.first(z).unsqueeze(0)
        return cell.tanh(), cell

    def follow(self, words: Tensor, z: Tensor, state: Any) -> tuple[Tensor, Any]:
        logits, state = self._read(words.unsqueeze(1), z, state)
        return logits.squeeze(1), state

    def _read(self, words: Tensor, z: Tensor, state: Any) -> tuple[Tensor, Any]:
        if self.training and self.word_dropout:
            words = drop_words(words, self.word_dropout)
        read = drop(self.embedding(words), self.dropout, self.training)
        every = z.unsqueeze(1).expand(-1, words.shape[1], -1).to(read.dtype)
        states, state = self.lstm(torch.cat([read, every], 2), state)
        states = drop(states, self.dropout, self.training)
        if self.skip:
            states = torch.cat([states, every.to(states.dtype)], 2)
        return self.linear(states), state


class TransformerDecoder(nn.Module):
    r"""A causal Transformer that writes a sentence, z → p(x|z); z is added to every word it reads.

    Args:
        vocabulary: V, how many words there are, with PADDING, START, END and UNKNOWN.
        latent: The number of latents d.
        width: The width of a word.
        layers: How many layers.
        heads: The heads of attention in each, a divisor of the width.
        length: How many words it reads or writes at most.
        dropout: The share of features dropped in training.
        word_dropout: The share of words read that are UNKNOWN in training.
        skip: Whether z also goes straight to the words' logits, past the layers.

    Raises:
        ValueError: if the vocabulary or a share is out of range, or heads do not divide the width;
            at the density of a sentence longer than ``length``.

    Source: Vaswani et al. 2017; z by addition, Li et al. 2020 (Optimus), section 3.

    >>> p = TransformerDecoder(vocabulary=20, latent=2, width=16, length=5)(torch.randn(2, 2))
    >>> p.log_prob(torch.tensor([[7, 8, 2], [9, 2, 0]])).shape, p.mean.shape
    (torch.Size([2]), torch.Size([2, 5]))
    """

    def __init__(
        self,
        vocabulary: int,
        latent: int,
        width: int = 256,
        layers: int = 2,
        heads: int = 4,
        length: int = 100,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        skip: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads must divide the width, got heads={heads} and width={width}.")
        self.vocabulary, self.length, self.skip = _vocabulary(vocabulary), length, skip
        self.word_dropout = share("word_dropout", word_dropout)
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.first = nn.Linear(latent, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                heads,
                4 * width,
                share("dropout", dropout),
                batch_first=True,
                norm_first=True,
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width + (latent if skip else 0), vocabulary)

    def forward(self, z: Tensor, **context: Any) -> Sentences:
        return Sentences(self, z, self.length)

    def logits(self, words: Tensor, z: Tensor) -> Tensor:
        _refuse_other_words(words, self.vocabulary)
        count = words.shape[1]
        if count > self.length:
            raise ValueError(f"x has {count} words a sentence, but length={self.length}.")
        if self.training and self.word_dropout:
            words = drop_words(words, self.word_dropout)
        places = torch.arange(count, device=words.device)
        h = self.embedding(words) + self.positions(places) + self.first(z).unsqueeze(1)
        mask = nn.Transformer.generate_square_subsequent_mask(count, words.device, h.dtype)
        for layer in self.layers:
            h = layer(h, src_mask=mask, is_causal=True)
        h = self.norm(h)
        if self.skip:
            h = torch.cat([h, z.unsqueeze(1).expand(-1, count, -1).to(h.dtype)], 2)
        logits: Tensor = self.linear(h)
        return logits

    def begin(self, z: Tensor) -> Tensor:
        return z.new_empty((len(z), 0), dtype=torch.long)

    def follow(self, words: Tensor, z: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        read = torch.cat([state, words.unsqueeze(1)], 1)
        return self.logits(read, z)[:, -1], read
