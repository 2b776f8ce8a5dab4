"""Sentences: a distribution that sums to one, written by what it was measured with."""

import itertools
import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.overrides import TorchFunctionMode

from lightning_vae import StandardNormal, VAEModule, distortion
from lightning_vae.data.text import Corpus
from lightning_vae.distributions import Weighted
from lightning_vae.distributions.sentences import END, PADDING, START, UNKNOWN, Sentences, pick
from lightning_vae.networks import LSTMDecoder, LSTMEncoder, TransformerDecoder
from lightning_vae.networks.text import drop_words

V = 7
WRITERS = {
    "lstm": lambda: LSTMDecoder(V, 2, 4, 5, length=4),
    "skip": lambda: LSTMDecoder(V, 2, 4, 5, length=4, skip=True),
    "transformer": lambda: TransformerDecoder(V, 2, 8, heads=2, length=4),
    "transformer, skip": lambda: TransformerDecoder(V, 2, 8, heads=2, length=4, skip=True),
}
every_writer = pytest.mark.parametrize("make", WRITERS.values(), ids=WRITERS)


def sharp(writer):
    """Larger weights, so that words differ in probability and depend on z and each other."""
    for parameter in writer.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.0)
    return writer.eval()


@every_writer
def test_the_probabilities_of_all_sentences_of_a_length_sum_to_one(make):
    """Over words in [1, V) the density leaves out what padding would have: count it back."""
    writer, z = sharp(make()), torch.randn(1, 2)
    sentences = torch.tensor(list(itertools.product(range(1, V), repeat=3)))
    log_p = Sentences(writer, z.expand(len(sentences), 2)).log_prob(sentences)
    # What ends at a padding token is one minus the rest, position by position.
    stopped = 0.0
    for length in range(3):
        prefixes = torch.tensor(list(itertools.product(range(1, V), repeat=length)), dtype=int)
        prefixes = prefixes.view((V - 1) ** length, length)
        words = torch.cat([torch.full((len(prefixes), 1), START), prefixes], 1)
        next_word = writer.logits(words, z.expand(len(words), 2)).log_softmax(2)
        own = next_word[:, :-1].gather(2, prefixes.unsqueeze(2)).sum((1, 2))
        stopped += (own + next_word[:, -1, PADDING]).exp().sum().item()
    assert log_p.exp().sum().item() + stopped == pytest.approx(1, abs=1e-5)


@every_writer
def test_one_word_after_another_is_all_at_once(make):
    writer, z = sharp(make()), torch.randn(3, 2)
    words = torch.randint(START, V, (3, 4))
    words[:, 0] = START
    at_once, state, in_turn = writer.logits(words, z), writer.begin(z), []
    for word in words.unbind(1):
        logits, state = writer.follow(word, z, state)
        in_turn.append(logits)
    torch.testing.assert_close(torch.stack(in_turn, 1), at_once, rtol=1e-4, atol=1e-5)


@every_writer
def test_no_word_sees_the_words_after_it_and_every_word_sees_z(make):
    writer, z = sharp(make()), torch.randn(1, 2)
    words = torch.tensor([[START, 4, 5, 6]])
    other = torch.tensor([[START, 4, 6, 4]])
    one, two = writer.logits(words, z), writer.logits(other, z)
    torch.testing.assert_close(one[:, :2], two[:, :2])
    assert not torch.allclose(one[:, 2], two[:, 2])
    moved = writer.logits(words, z + 1)
    assert ((moved - one).abs().amax(2) > 1e-3).all()


@every_writer
def test_the_distortion_is_the_cross_entropy_without_padding(make):
    writer, z = sharp(make()), torch.randn(2, 2)
    x = torch.tensor([[4, 5, END, PADDING], [6, END, PADDING, PADDING]])
    logits = writer.logits(torch.tensor([[START, 4, 5, END], [START, 6, END, PADDING]]), z)
    each = cross_entropy(logits.mT, x, reduction="none")
    truth = torch.stack([each[0, :3].sum(), each[1, :2].sum()])
    torch.testing.assert_close(distortion(x, writer(z)), truth)
    longer = torch.nn.functional.pad(x, (0, 0))
    assert distortion(longer, writer(z)).shape == (2,)


def test_padding_to_any_length_changes_no_density_and_no_posterior():
    x = torch.tensor([[4, 5, END], [6, END, PADDING]])
    padded = torch.nn.functional.pad(x, (0, 5))
    encoder, decoder, z = LSTMEncoder(V, 2, 4, 5), WRITERS["lstm"](), torch.randn(2, 2)
    torch.testing.assert_close(distortion(x, decoder(z)), distortion(padded, decoder(z)))
    torch.testing.assert_close(encoder(x).loc, encoder(padded).loc)
    alone = encoder(torch.tensor([[6, END]])).loc
    torch.testing.assert_close(alone, encoder(padded).loc[1:])


@every_writer
def test_sentences_are_written_as_often_as_they_are_likely(make):
    writer, z = sharp(make()), torch.randn(1, 2)
    n = 20_000
    torch.manual_seed(1)
    first = Sentences(writer, z, length=1).sample((n,)).view(-1)
    logits = writer.logits(torch.tensor([[START]]), z)[0, 0].detach()
    logits[[PADDING, START]] = -torch.inf
    expected = logits.softmax(0)
    seen = torch.bincount(first, minlength=V) / n
    deviation = (seen - expected).abs() / (expected * (1 - expected) / n).sqrt().clamp(min=1 / n)
    assert deviation.max() < 5


@every_writer
def test_the_mean_takes_the_likeliest_word_and_nothing_follows_the_end(make):
    writer, z = sharp(make()), torch.randn(50, 2)
    p = Sentences(writer, z, length=4)
    x = p.mean
    assert torch.equal(x, p.write(temperature=0))
    assert not (x == START).any()
    after_end = ((x == END).cumsum(1) - (x == END).long()) > 0
    assert torch.equal(after_end, x == PADDING)
    logits = writer.logits(torch.full((50, 1), START), z)[:, 0]
    assert torch.equal(x[:, 0], pick(logits, 0))
    cold = p.write(temperature=1e-4)
    assert torch.equal(cold, x)


LONG = {
    "lstm": lambda: LSTMDecoder(V, 2, 4, 5, length=40, word_dropout=0.5, skip=True),
    "transformer": lambda: TransformerDecoder(V, 2, 8, heads=2, length=40, word_dropout=0.5),
}


@pytest.mark.parametrize("make", LONG.values(), ids=LONG)
def test_a_training_step_calls_torch_as_often_for_long_sentences_as_for_short(make):
    class Counting(TorchFunctionMode):
        calls = 0

        def __torch_function__(self, function, types, args=(), kwargs=None):
            self.calls += 1
            return function(*args, **(kwargs or {}))

    def calls(length):
        corpus = Corpus.of([[UNKNOWN] * length + [END]] * 8)
        vae = VAEModule(LSTMEncoder(V, 2, 4, 5), make(), prior=StandardNormal(2))
        with Counting() as counting:
            vae.training_step(corpus[torch.arange(8)], 0)["loss"].backward()
        return counting.calls

    assert calls(3) == calls(30)


def test_words_are_dropped_at_their_rate_and_only_in_training():
    words = torch.full((200, 100), 5)
    words[:, 0] = START
    dropped = drop_words(words, 0.4)
    assert (dropped[:, 0] == START).all()
    share = (dropped[:, 1:] == UNKNOWN).float().mean().item()
    assert share == pytest.approx(0.4, abs=5 * math.sqrt(0.24 / 19_800))
    decoder, z = LSTMDecoder(V, 2, 4, 5, word_dropout=1.0), torch.randn(2, 2)
    x, other = torch.tensor([[4, 5, 6, END]] * 2), torch.tensor([[5, 5, 6, END]] * 2)

    def last(x):
        return decoder.logits(torch.nn.functional.pad(x[:, :-1], (1, 0), value=START), z)[:, -1]

    torch.testing.assert_close(last(x), last(other))  # it reads nothing
    decoder.eval()
    assert not torch.allclose(last(x), last(other))


def test_a_vae_of_text_samples_reconstructs_embeds_and_takes_several_draws():
    vae = VAEModule(LSTMEncoder(V, 2, 4, 5), LSTMDecoder(V, 2, 4, 5, length=6))
    x = torch.tensor([[4, 5, END], [6, END, PADDING]])
    output = vae(x, samples=3)
    assert output.distortion.shape == (3, 2)
    z = output.latents[0].z
    torch.testing.assert_close(output.distortion[1], distortion(x, vae.decode(z[1])))
    assert vae.sample(4).shape == (4, 6)
    assert torch.equal(vae.reconstruct(x), vae.reconstruct(x))
    assert vae.embed(x).shape == (2, 2)
    assert vae.decode(vae.draw(3)).write(temperature=0.7).shape == (3, 6)


@pytest.mark.parametrize("make", [LSTMEncoder, LSTMDecoder, TransformerDecoder])
@pytest.mark.parametrize("vocabulary", [4, 0, 7.5])
def test_a_vocabulary_without_words_is_refused(make, vocabulary):
    with pytest.raises(ValueError, match=r"vocabulary must count.*len\(data.vocabulary\)"):
        make(vocabulary, 2)


def test_words_that_are_not_of_the_vocabulary_are_refused_by_name():
    x = torch.tensor([[V, END]])
    with pytest.raises(ValueError, match=r"a word 7, but vocabulary=7"):
        LSTMEncoder(V, 2)(x)
    with pytest.raises(ValueError, match=r"outside the support of Sentences"):
        distortion(x, LSTMDecoder(V, 2)(torch.zeros(1, 2)))
    with pytest.raises(ValueError, match=r"x must be sentences as words' numbers, \[B, T\]"):
        LSTMEncoder(V, 2)(torch.rand(2, 5))
    with pytest.raises(ValueError, match=r"for 3 sentences"):
        LSTMDecoder(V, 2)(torch.zeros(3, 2)).log_prob(torch.tensor([[5, END]]))
    with pytest.raises(ValueError, match=r"5 words a sentence, but length=4"):
        TransformerDecoder(V, 2, 8, length=4)(torch.zeros(1, 2)).log_prob(torch.ones(1, 5).long())
    with pytest.raises(ValueError, match=r"temperature must be at least 0, got -1"):
        LSTMDecoder(V, 2)(torch.zeros(3, 2)).write(temperature=-1)
    with pytest.raises(ValueError, match=r"word_dropout must be a share from 0 to 1, got 2"):
        LSTMDecoder(V, 2, word_dropout=2)
    with pytest.raises(ValueError, match=r"heads must divide the width"):
        TransformerDecoder(V, 2, 9, heads=2)


def test_weighed_sentences_may_have_any_length_too():
    p, x = LSTMDecoder(V, 2, 4, 5, length=6)(torch.randn(2, 2)), torch.tensor([[4, 5, END]] * 2)
    weight = torch.tensor([1.0, 0.25])
    torch.testing.assert_close(distortion(x, Weighted(p, weight)), weight * distortion(x, p))
    with pytest.raises(ValueError, match=r"likelihood of shape \(2, 3\) for x of shape \(1, 3\)"):
        distortion(x[:1], Weighted(p, weight))


def test_under_bfloat16_the_distortion_is_float32():
    decoder, z = LSTMDecoder(V, 2, 4, 5), torch.randn(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert distortion(torch.tensor([[5, END]] * 2), decoder(z)).dtype == torch.float32
