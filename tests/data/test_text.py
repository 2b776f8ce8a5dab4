"""Text: every word of every sentence comes out, in its place, in batches of similar lengths."""

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from lightning_vae import VAEModule
from lightning_vae.callbacks import LatentScatter
from lightning_vae.data import Text, ToyText, Vocabulary
from lightning_vae.data.batches import Batches, bucketed
from lightning_vae.data.text import Corpus
from lightning_vae.data.toy_text import sentences_about, topics
from lightning_vae.distributions.sentences import END, PADDING, UNKNOWN
from lightning_vae.networks.text import LSTMDecoder, LSTMEncoder

LINES = ["the cat sat", "the dog", "", "a cat saw the big dog", "<unk> sat", "the"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.txt").write_text("\n".join(f" {line} " for line in LINES) + "\n")
    (tmp_path / "val.txt").write_text("the zebra sat\n")
    return tmp_path


def similar(corpus, batch_size, **kwargs):
    return Batches(corpus, batch_size, **kwargs, shuffle=True, lengths=corpus.lengths.numpy())


def text_in(folder, **kwargs):
    return Text(folder, "train.txt", "val.txt", "val.txt", **kwargs)


def test_every_sentence_comes_out_as_it_was_written(folder):
    data = text_in(folder, batch_size=2)
    data.setup("fit")
    loader = data.train_dataloader()
    said = [s for batch in loader for s in data.vocabulary.text(batch)]
    assert Counter(said) == Counter(line for line in LINES if line)
    (x,) = data.val_dataloader()
    assert data.vocabulary.text(x) == ["the <unk> sat"]
    assert x.dtype == torch.int64
    for batch in loader:
        ends = (batch == END).sum(1)
        assert (ends == 1).all()
        assert ((batch == PADDING) == ((batch == END).cumsum(1) - (batch == END).long() > 0)).all()
        assert (batch[:, -1] != PADDING).any(), "no longer than its longest sentence"


def test_the_vocabulary_is_ranked_and_cut(folder):
    words = text_in(folder).vocabulary.words
    assert words[:7] == ("<pad>", "<s>", "</s>", "<unk>", "the", "cat", "dog")
    cut = text_in(folder, vocabulary_size=6).vocabulary
    assert cut.words == words[:6]
    assert cut.numbers("the dog") == [4, UNKNOWN, END]


def test_a_corpus_gathers_what_a_loop_would():
    rng = np.random.default_rng(0)
    sentences = [rng.integers(4, 50, rng.integers(1, 30)).tolist() for _ in range(200)]
    corpus = Corpus.of(sentences)
    index = torch.from_numpy(rng.permutation(200)[:32])
    longest = max(len(sentences[i]) for i in index)
    truth = [sentences[i] + [PADDING] * (longest - len(sentences[i])) for i in index]
    assert corpus[index].tolist() == truth


def test_blocks_are_of_similar_lengths_and_their_order_is_new_each_epoch():
    lengths = np.random.default_rng(0).integers(1, 80, 1000)
    corpus = Corpus(torch.full((int(lengths.sum()),), 5), torch.from_numpy(lengths))
    loader = similar(corpus, 32, seed=3)
    first, second = ([len(x[0]) for x in loader] for _ in range(2))
    assert first != second
    assert first != sorted(first)
    padding = np.mean([(x == PADDING).float().mean().item() for x in loader][:-1])
    plain = Batches(corpus, 32, shuffle=True, seed=3)
    assert padding < 0.2 * np.mean([(x == PADDING).float().mean().item() for x in plain])
    again = similar(corpus, 32, seed=3)
    assert [len(x[0]) for x in again] == first


@pytest.mark.parametrize("size", [96, 100])
def test_an_order_in_blocks_is_an_order(size):
    rng = np.random.default_rng(0)
    order, lengths = rng.permutation(size), rng.integers(1, 9, size)
    for generator in (None, rng):
        found = bucketed(order, lengths, 32, generator)
        assert sorted(found) == list(range(size))
        blocks = np.split(lengths[found][: size - size % 32], size // 32)
        ranges = sorted((b.min(), b.max()) for b in blocks)
        assert all(a[1] <= b[0] for a, b in pairwise(ranges))


def test_ranks_have_batches_of_one_length_at_a_time(monkeypatch):
    lengths = np.arange(1, 65)
    corpus = Corpus(torch.full((int(lengths.sum()),), 5), torch.from_numpy(lengths))
    shapes = []
    for rank in range(2):
        monkeypatch.setattr("lightning_vae.data.batches._place", lambda rank=rank: (rank, 2))
        loader = similar(corpus, 8, seed=1, pad=True)
        shapes.append([x.shape[1] for x in loader])
    assert all(abs(a - b) <= 1 for a, b in zip(*shapes, strict=True))


def test_a_position_in_text_resumes():
    data = ToyText(train_size=200, batch_size=16)
    loader = data.train_dataloader()
    whole = [list(loader) for _ in range(2)]
    again = data.train_dataloader()
    again.load_state_dict({"epoch": 1, "batch": 5})
    rest = list(again)
    assert len(rest) == len(whole[1]) - 5
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[1][5:], strict=True))


def test_the_first_words_are_those_of_every_vocabulary():
    with pytest.raises(ValueError, match=r"words must begin with"):
        Vocabulary(("a", "b", "c", "d", "e"))
    with pytest.raises(ValueError, match="twice"):
        Vocabulary(("<pad>", "<s>", "</s>", "<unk>", "a", "a"))


def test_what_is_missing_or_empty_is_named(folder):
    missing = r"train='ptb.train.txt' is not in root='nowhere'.*ToyText"
    with pytest.raises(FileNotFoundError, match=missing):
        Text("nowhere").setup("fit")
    (folder / "train.txt").write_text("\n \n")
    with pytest.raises(ValueError, match=r"has no words: write a sentence a line"):
        text_in(folder).setup("fit")
    with pytest.raises(
        ValueError, match=re.escape("vocabulary_size must be a whole number of at least 5")
    ):
        text_in(folder, vocabulary_size=4)
    with pytest.raises(ValueError, match="lengths must be positive and add up to 3"):
        Corpus(torch.ones(3), torch.tensor([1, 1]))
    with pytest.raises(ValueError, match="words must be a whole number of at least 1"):
        ToyText(words=0)


def test_the_penn_treebank_is_read_whole(real_data):
    data = Text(real_data / "ptb")
    data.setup("fit")
    train = data.part("train")
    # 42,068 lines of 887,521 words, each with an end; 9,999 types, <unk> among them.
    assert len(train) == 42_068
    assert len(train.words) == 887_521 + 42_068
    assert len(data.vocabulary) == 9_998 + 4
    assert len(data.part("val")) == 3_370
    first = next(iter(data.val_dataloader()))
    assert (first < len(data.vocabulary)).all()


def test_toy_sentences_are_functions_of_the_seed_and_say_what_they_are_about():
    make = {"train_size": 50, "val_size": 50, "test_size": 10}
    one, same, other = (ToyText(seed=seed, **make).part("train").words for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    data = ToyText(**make)
    assert not torch.equal(data.part("train").words, data.part("val").words)
    assert data.part("train").words.max() < data.vocabulary_size
    # The share of words two sentences have in common: more, if they are about the same.
    rng = np.random.default_rng(0)
    z, topic = topics(400, modes=5, generator=rng)
    centre = 2 * np.exp(2j * np.pi * topic / 5)
    assert np.abs(z @ [1, 1j] - centre).max() < 0.3 * 5, "five deviations"
    x = sentences_about(z, words=200, length=10, seed=0)[:, :-1]
    near = np.linalg.norm(z[:, None] - z, axis=2) < 1
    counts = np.stack([np.bincount(row, minlength=204) for row in x])
    common = np.minimum(counts[:, None], counts).sum(2)
    apart = ~np.eye(400, dtype=bool)
    assert common[near & apart].mean() > 1.5 * common[~near].mean()


def test_toy_sentences_come_with_what_they_are_about_if_asked(fit_with):
    make = {"words": 20, "modes": 3, "train_size": 60, "val_size": 30, "batch_size": 20}
    plain, labelled = ToyText(**make), ToyText(**make, labels=True)
    batches = list(labelled.train_dataloader())
    for x, (same, y) in zip(plain.train_dataloader(), batches, strict=True):
        assert x.equal(same)
        assert y.shape == (20,)
    assert set(torch.cat([y for _, y in batches]).tolist()) == {0, 1, 2}
    scatter = LatentScatter(points=30)
    held = []
    draw = scatter.draw
    scatter.draw = lambda module, examples: held.append(examples.labels) or draw(module, examples)
    vae = VAEModule(LSTMEncoder(24, 2, 8, 8), LSTMDecoder(24, 2, 8, 8, length=10))
    fit_with(max_epochs=1, callbacks=[scatter]).fit(vae, labelled)
    truth = torch.cat([y for _, y in labelled.val_dataloader()])
    assert held[-1].equal(truth)


def test_predictions_are_in_the_order_of_the_file(folder):
    data = Text(folder, "train.txt", "val.txt", "train.txt", batch_size=2)
    data.setup("predict")
    said = [s for x in data.predict_dataloader() for s in data.vocabulary.text(x)]
    assert said == [line for line in LINES if line]
