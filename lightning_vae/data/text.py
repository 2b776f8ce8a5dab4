"""Text: sentences from plain files, one a line, as words' numbers in batches of similar lengths."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.data.batches import Batch, Batches
from lightning_vae.data.split import Part, SplitData
from lightning_vae.distributions.sentences import END, PADDING, START, UNKNOWN

__all__ = ["Corpus", "SentenceData", "Text", "Vocabulary"]

_FIRST = ("<pad>", "<s>", "</s>", "<unk>")  # PADDING, START, END, UNKNOWN


@dataclass(frozen=True)
class Vocabulary:
    """The words of a language, each with a number: its place.

    Args:
        words: The words, of which the first are `<pad>`, `<s>`, `</s>` and `<unk>`.

    Raises:
        ValueError: If the words begin otherwise, or one is there twice.

    Example:
        >>> vocabulary = Vocabulary.of(["a rose is a rose"])
        >>> vocabulary.words[4:], vocabulary.numbers("a red rose")
        (('a', 'rose', 'is'), [4, 3, 5, 2])
        >>> vocabulary.text(torch.tensor([[4, 5, 2, 0]]))
        ['a rose']
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.words[: len(_FIRST)] != _FIRST:
            raise ValueError(f"words must begin with {_FIRST}, got {self.words[: len(_FIRST)]}.")
        if len(self._number) < len(self.words):
            raise ValueError("words has one of them twice.")

    @classmethod
    def of(cls, sentences: Iterable[str], size: int | None = None) -> "Vocabulary":
        """Return the vocabulary of sentences: all their words, or the `size` most frequent."""
        count = Counter(word for sentence in sentences for word in sentence.split())
        ranked = sorted(count.keys() - set(_FIRST), key=lambda word: (-count[word], word))
        return cls((*_FIRST, *ranked)[:size])

    def __len__(self) -> int:
        return len(self.words)

    def numbers(self, sentence: str) -> list[int]:
        """Return the numbers of a sentence's words, UNKNOWN for those it lacks, and END."""
        return [*(self._number.get(word, UNKNOWN) for word in sentence.split()), END]

    def text(self, words: Tensor) -> list[str]:
        """Return the sentences of words' numbers [B, T], each up to its END."""
        return [" ".join(self._until_end(row)) for row in words.tolist()]

    def _until_end(self, row: Sequence[int]) -> list[str]:
        stop = row.index(END) if END in row else len(row)
        return [self.words[number] for number in row[:stop] if number not in (PADDING, START)]

    @cached_property
    def _number(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}


class Corpus:
    """Sentences in memory, end to end; `corpus[index]` gathers a batch, filled up with PADDING.

    Args:
        words: The numbers of all words, [total].
        lengths: How many belong to each sentence, [N].
        labels: A label for each, [N] int64, for batches (x, y); None for batches x.

    Example:
        >>> corpus = Corpus(torch.tensor([7, 8, 2, 9, 2]), torch.tensor([3, 2]))
        >>> corpus[torch.tensor([1, 0])]
        tensor([[9, 2, 0],
                [7, 8, 2]])
    """

    def __init__(self, words: Tensor, lengths: Tensor, labels: Tensor | None = None) -> None:
        if int(lengths.sum()) != len(words) or int(lengths.min()) < 1:
            raise ValueError(
                f"lengths must be positive and add up to {len(words)}, the number of words; they "
                f"add up to {int(lengths.sum())}, and the least is {int(lengths.min())}."
            )
        self.words, self.lengths, self.labels = words.int(), lengths, labels
        self.starts = lengths.cumsum(0) - lengths

    @classmethod
    def of(cls, sentences: Iterable[Sequence[int]]) -> "Corpus":
        """Return the corpus of sentences of words' numbers."""
        sentences = list(sentences)
        words = np.fromiter((word for sentence in sentences for word in sentence), np.int32)
        return cls(torch.from_numpy(words), torch.tensor([len(sentence) for sentence in sentences]))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: Tensor) -> Batch:
        x = self._gathered(index)
        return x if self.labels is None else (x, self.labels[index])

    def _gathered(self, index: Tensor) -> Tensor:
        lengths = self.lengths[index].unsqueeze(1)
        places = torch.arange(int(lengths.max()))
        within = places < lengths
        positions = (self.starts[index].unsqueeze(1) + places) * within
        return torch.where(within, self.words[positions], PADDING).long()


class SentenceData(SplitData[Batch], ABC):
    """Sentences in three parts, in batches of similar lengths; a subclass says what they are."""

    @abstractmethod
    def part(self, name: Part) -> Corpus:
        """Return the sentences to train, validate or test on."""

    @override
    def lengths(self, name: Part) -> np.ndarray:
        corpus = self._given(name)
        assert isinstance(corpus, Corpus)
        return corpus.lengths.numpy()

    @override
    def predict_dataloader(self) -> Batches[Batch]:
        # In the order of the file: predictions come back in the order of the batches.
        return Batches(self._given("test"), self.batch_size)


class Text(SentenceData):
    """Sentences from plain UTF-8 files, one a line, words apart by spaces: x [B, T] int64.

    Each sentence is closed with END and filled up with PADDING to the longest of its batch; batches
    hold sentences of similar lengths. The vocabulary is that of the training file. By default the
    files are named as the Penn Treebank's are, in the form that Mikolov prepared; it is not part of
    this package, and nothing is downloaded, for it may not be redistributed.

    Args:
        root: Folder of the files.
        train: Name of the file to train on.
        val: Name of the file to validate on.
        test: Name of the file to test and predict on.
        vocabulary_size: How many words are kept, the most frequent, and those that every vocabulary
            begins with; all by default.
        batch_size: Sentences a batch and rank.
        seed: Seed of the order.

    Raises:
        ValueError: If batch_size, seed or vocabulary_size is too small, or a file has no words.
        FileNotFoundError: If a file is missing.

    Source: Marcus et al. 1993 (the Penn Treebank); Mikolov et al. 2010 (its preparation).

    Example:
        >>> Text("data/ptb", batch_size=32).batch_size
        32
    """

    def __init__(
        self,
        root: str | Path = "data/ptb",
        train: str = "ptb.train.txt",
        val: str = "ptb.valid.txt",
        test: str = "ptb.test.txt",
        vocabulary_size: int | None = None,
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed=seed)
        if vocabulary_size is not None:
            whole("vocabulary_size", vocabulary_size, len(_FIRST) + 1)
        self.root = Path(root)
        self.files = {"train": train, "val": val, "test": test}
        self.vocabulary_size = vocabulary_size

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words of the training file."""
        return Vocabulary.of(self._lines("train"), self.vocabulary_size)

    @override
    def part(self, name: Part) -> Corpus:
        return Corpus.of(map(self.vocabulary.numbers, self._lines(name)))

    def _lines(self, name: str) -> list[str]:
        path = self.root / self.files[name]
        if not path.is_file():
            raise FileNotFoundError(
                f"{name}={self.files[name]!r} is not in root={str(self.root)!r}: put a text file "
                "there with a sentence a line, or name the folder that has it. Without one, "
                "ToyText makes its own sentences."
            )
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.split()]
        if not lines:
            raise ValueError(f"{name}={str(path)!r} has no words: write a sentence a line.")
        return lines
