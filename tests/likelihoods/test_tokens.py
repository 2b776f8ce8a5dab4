"""Tokens: the softmax of every position, and padding that costs nothing."""

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn

from lightning_vae.distributions.tokens import Tokens
from lightning_vae.likelihoods import Categorical, distortion

V, T = 5, 4


def sentences():
    """Two sentences of lengths 4 and 2, padded with zeros."""
    return torch.tensor([[1, 4, 2, 3], [2, 2, 0, 0]])


def test_the_distortion_is_the_softmax_of_every_token_but_padding():
    x, logits = sentences(), torch.randn(2, T, V).double()
    log_softmax = special.log_softmax(logits.numpy(), axis=-1)
    of_tokens = -np.take_along_axis(log_softmax, x.numpy()[..., None], -1)[..., 0]
    np.testing.assert_allclose(distortion(x, Tokens(logits)), of_tokens.sum(1), rtol=1e-12)
    truth = (of_tokens * (x.numpy() != 0)).sum(1)
    np.testing.assert_allclose(distortion(x, Tokens(logits, padding=0)), truth, rtol=1e-12)
    theirs = nn.functional.cross_entropy(logits.mT, x, ignore_index=0, reduction="none")
    np.testing.assert_allclose(truth, theirs.sum(1))


def test_padding_has_no_gradient_and_no_influence():
    logits = torch.randn(2, T, V, requires_grad=True)
    distortion(sentences(), Tokens(logits, padding=0)).sum().backward()
    assert (logits.grad[1, 2:] == 0).all()
    assert (logits.grad[0] != 0).any(-1).all()
    other = logits.detach().clone()
    other[1, 2:] = 1e4
    ours = (distortion(sentences(), Tokens(each, padding=0)) for each in (logits, other))
    assert torch.equal(*ours)


def test_a_sentence_of_padding_costs_nothing():
    x = torch.zeros(1, T, dtype=torch.long)
    assert distortion(x, Tokens(torch.randn(1, T, V), padding=0)) == 0


def test_the_probabilities_of_the_vocabulary_sum_to_one():
    logits = torch.randn(1, 1, V).double()
    words = torch.arange(V)[:, None, None]
    assert Tokens(logits).log_prob(words).exp().sum().item() == pytest.approx(1)


def test_extreme_logits_have_finite_costs_and_gradients():
    logits = torch.tensor([[[1e4, -1e4, 0.0]]], requires_grad=True)
    value = distortion(torch.tensor([[1]]), Tokens(logits))
    assert value.item() == pytest.approx(2e4)
    assert torch.autograd.grad(value, logits)[0].isfinite().all()


def test_the_head_takes_every_tokens_first_class_first():
    features = torch.randn(2, V * T)
    p = Categorical(V)(features)
    logits = torch.stack([features[:, v * T : (v + 1) * T] for v in range(V)], -1)
    torch.testing.assert_close(p.log_prob(sentences()), Tokens(logits).log_prob(sentences()))
    maps = torch.randn(2, V * 3, 8, 8)
    assert Categorical(V)(maps).batch_shape == (2, 3, 8, 8)


def test_the_mean_is_the_most_likely_token():
    logits = torch.randn(2, T, V)
    assert torch.equal(Tokens(logits).mean, logits.argmax(-1))


@pytest.mark.parametrize("padding", [-1, -100, V])
def test_padding_outside_the_vocabulary_is_refused(padding):
    message = f"padding must be a token from 0 to 4, got {padding}"
    with pytest.raises(ValueError, match=message):
        Tokens(torch.zeros(1, T, V), padding=padding)
    with pytest.raises(ValueError, match=message):
        Categorical(V, padding=padding)


@pytest.mark.parametrize("token", [-1, V])
def test_a_token_outside_the_vocabulary_is_refused(token):
    with pytest.raises(ValueError, match="x lies outside the support of Tokens"):
        distortion(torch.full((1, T), token), Categorical(V)(torch.zeros(1, V * T)))


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="classes must be a whole number of at least 2, got 1"):
        Categorical(1)
