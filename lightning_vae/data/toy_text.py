"""Toy text: sentences that an LSTM of random weights writes about a latent of few clusters."""

import numpy as np
import torch
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.data.batches import stream
from lightning_vae.data.split import Part
from lightning_vae.data.text import Corpus, SentenceData
from lightning_vae.distributions.sentences import END, UNKNOWN

__all__ = ["ToyText", "sentences_about", "topics"]

_WEIGHTS, _DRAWS = range(2)  # what the two streams of a seed are for
_PARTS: tuple[Part, ...] = ("train", "val", "test")
_LATENT, _HIDDEN = 2, 50


def topics(size: int, modes: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw latents [size, 2] from equally likely normals of spread 0.3 on the unit circle, times 2.

    Returns:
        The latents, and which of the normals each is from, [size] int64.

    Example:
        >>> z, topic = topics(5, modes=4, generator=np.random.default_rng(0))
        >>> z.shape, topic
        ((5, 2), array([3, 2, 2, 1, 1]))
    """
    topic = generator.integers(modes, size=size)
    angle = 2 * np.pi * topic / modes
    centre = 2 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return centre + 0.3 * generator.standard_normal((size, _LATENT)), topic


class _Author:
    """An LSTM of random weights, uniform in ±1 and, for words in and out, in ±5."""

    def __init__(self, words: int, seed: int) -> None:
        def uniform(bound: float, *shape: int) -> np.ndarray:
            return bound * (2 * generator.random(shape) - 1)

        generator = stream(seed, _WEIGHTS)
        self.embedding = uniform(1, words + 1, _HIDDEN)  # the last is read before the first word
        self.gates = uniform(1, 2 * _HIDDEN + _LATENT, 4 * _HIDDEN) / np.sqrt(_HIDDEN) * 2
        self.out = uniform(1, _HIDDEN + _LATENT, words)

    def write(self, z: np.ndarray, length: int, generator: np.random.Generator) -> np.ndarray:
        size, words = len(z), self.out.shape[1]
        h = cell = np.zeros((size, _HIDDEN))
        word, written = np.full(size, words), []
        for _ in range(length):
            h, cell = _lstm(np.hstack([self.embedding[word], h, z]) @ self.gates, cell)
            logits = 3 * np.hstack([h, z]) @ self.out
            word = (logits + generator.gumbel(size=(size, words))).argmax(1)
            written.append(word)
        return np.stack(written, 1)


def _lstm(gates: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    i, f, g, o = np.split(gates, 4, axis=1)
    cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(cell), cell


def _sigmoid(x: np.ndarray) -> np.ndarray:
    half: np.ndarray = 0.5 * (1 + np.tanh(0.5 * x))
    return half


def sentences_about(z: np.ndarray, words: int, length: int, seed: int, part: int = 0) -> np.ndarray:
    """Write a sentence about every latent [N, 2]: [N, length + 1] words' numbers, END the last.

    The author, an LSTM of random weights, is a function of the seed, the words it draws one of
    (seed, part).
    """
    drawn = _Author(words, seed).write(z, length, stream(seed, _DRAWS, part))
    return np.pad(drawn + UNKNOWN + 1, ((0, 0), (0, 1)), constant_values=END)


class ToyText(SentenceData):
    """Sentences that an LSTM of random weights writes about latents in a few clusters, x [B, T], or (x, y).

    z is drawn from a mixture of normals, and x from p(x|z): so the sentences have something to say
    that a VAE may or may not find, in seconds and without any file.

    Args:
        words: How many words there are, besides the four that every vocabulary begins with.
        length: Words a sentence, before END.
        modes: Clusters of the latent.
        train_size: Sentences to train on.
        val_size: Sentences to validate on.
        test_size: Sentences to test on.
        batch_size: Sentences a batch and rank.
        seed: Seed of the author, of the draws and of the order.
        labels: Whether batches are (x, y), with y [B] int64 the cluster that each is about.

    Raises:
        ValueError: If a count is too small.

    Source: after the synthetic data of He et al. 2019, section 4, and Kim et al. 2018, section 4.1.

    Example:
        >>> next(iter(ToyText(batch_size=16).train_dataloader())).shape
        torch.Size([16, 11])
    """

    def __init__(
        self,
        words: int = 200,
        length: int = 10,
        modes: int = 5,
        train_size: int = 8000,
        val_size: int = 1000,
        test_size: int = 1000,
        batch_size: int = 32,
        seed: int = 0,
        labels: bool = False,
    ) -> None:
        super().__init__(batch_size, seed=seed)
        counts = {"words": words, "length": length, "modes": modes}
        parts = {"train_size": train_size, "val_size": val_size, "test_size": test_size}
        for name, value in {**counts, **parts}.items():
            whole(name, value, 1)
        self.words, self.length, self.modes, self.labels = words, length, modes, labels
        self.sizes = tuple(parts.values())

    @property
    def vocabulary_size(self) -> int:
        """How many words networks need."""
        return self.words + UNKNOWN + 1

    @override
    def part(self, name: Part) -> Corpus:
        k = _PARTS.index(name)
        size = self.sizes[k]
        z, topic = topics(size, self.modes, stream(self.seed, _DRAWS, k, 0))
        x = torch.from_numpy(sentences_about(z, self.words, self.length, self.seed, k))
        labels = torch.from_numpy(topic) if self.labels else None
        return Corpus(x.flatten(), torch.full((size,), x.shape[1]), labels)
