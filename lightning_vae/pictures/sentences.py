"""Sentences: what tokens are shown as."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

__all__ = ["Detokenise", "Sentences", "sentences"]

# What makes a sentence of tokens: a function, or the words in the order of their tokens.
Detokenise: TypeAlias = Callable[[list[int]], str] | Sequence[str]


@dataclass(frozen=True)
class Sentences:
    """A table of sentences: what is a row of a grid of images is a column here.

    >>> print(Sentences([["a cat"], ["a dog"]]).markdown())
    | | |
    |---|---|
    | a cat | a dog |
    """

    columns: Sequence[Sequence[str]]

    def rows(self) -> list[list[str]]:
        longest = max(map(len, self.columns))
        filled = [[*column, *[""] * (longest - len(column))] for column in self.columns]
        return [list(row) for row in zip(*filled, strict=True)]

    def markdown(self) -> str:
        """The table as Markdown, with a head that is empty."""
        width = len(self.columns)
        rows = [[""] * width, *self.rows()]
        lines = ["| " + " | ".join(map(_escaped, row)) + " |" for row in rows]
        lines[0] = "|" + " |" * width
        return "\n".join([lines[0], "|" + "---|" * width, *lines[1:]])


def _escaped(sentence: str) -> str:
    return sentence.replace("|", "\\|").replace("\n", " ")


def sentences(tokens: Tensor, detokenise: Detokenise, row_size: int) -> Sentences:
    """Tokens as a table of sentences, ``row_size`` of them in a column.

    Args:
        tokens: [N, T] whole numbers.
        detokenise: Tokens → a sentence; or the vocabulary, whose words are then set apart by spaces.
        row_size: How many are in a column.

    Raises:
        ValueError: if these are no tokens, or the vocabulary is too short.

    >>> import torch
    >>> sentences(torch.tensor([[0, 1], [0, 2]]), ["a", "cat", "dog"], row_size=2).columns
    [['a cat', 'a dog']]
    """
    if tokens.dim() != 2 or tokens.is_floating_point():
        raise ValueError(
            f"values of shape {tuple(tokens.shape)} and {tokens.dtype} are no tokens [N, T] to "
            f"detokenise; drop detokenise, or end the decoder in likelihoods.Categorical(...)."
        )
    said = [_sentence(row, detokenise) for row in tokens.tolist()]
    return Sentences([said[i : i + row_size] for i in range(0, len(said), row_size)])


def _sentence(tokens: list[int], detokenise: Detokenise) -> str:
    if callable(detokenise):
        return detokenise(tokens)
    if max(tokens) >= len(detokenise):
        raise ValueError(
            f"detokenise has {len(detokenise)} words, but there is a token {max(tokens)}; give "
            f"every token's word."
        )
    return " ".join(detokenise[token] for token in tokens)
