"""Common mistakes: each is refused by an error that names the argument and says what to write."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from lightning_vae import (
    ELBO,
    DiagonalGaussian,
    StandardNormal,
    VAEModule,
    elbo,
    kl,
    likelihoods,
    networks,
)

X = torch.rand(4, 3)
Q = DiagonalGaussian(torch.zeros(4, 2), torch.zeros(4, 2))


class Returning(VAEModule):
    def __init__(self, encoded, decoded=None) -> None:
        super().__init__()
        self.encoded, self.decoded = encoded, decoded

    def encode(self, x):
        return self.encoded

    def decode(self, z):
        return self.decoded


def step(encoded, decoded=None):
    return Returning(encoded, decoded).training_step(X, 0)


WEIGHT = nn.Parameter(torch.ones(()))
ADAM = torch.optim.Adam([WEIGHT])
MISTAKES = {
    "mu and logvar": (
        lambda: step((torch.zeros(4, 2), torch.zeros(4, 2))),
        r"encode returned a tuple of Tensor, Tensor, .* DiagonalGaussian\(loc, log_variance\)",
    ),
    "a tensor from encode": (lambda: step(torch.zeros(4, 2)), "encode returned a Tensor"),
    "a list of posteriors": (
        lambda: step([Q, Q]),
        "encode returned a list of DiagonalGaussian, DiagonalGaussian, .* tuple",
    ),
    "nothing from encode": (lambda: step(None), "encode returned a NoneType"),
    "a tensor from decode": (
        lambda: step(Q, torch.zeros(4, 3)),
        r"decode returned a Tensor, .* likelihoods.Bernoulli\(\)\(logits\)",
    ),
    "a number as objective": (
        lambda: VAEModule(objective=4.0),
        r"objective must be an Objective, got 4.0; write ELBO\(beta=4.0\)",
    ),
    "a class as objective": (lambda: VAEModule(objective=ELBO), "objective must be an Objective"),
    "a distribution as prior": (
        lambda: VAEModule(prior=Normal(0.0, 1.0)),
        r"prior must be a module .* got Normal.* write prior=StandardNormal\(20\)",
    ),
    "a number in a list of priors": (lambda: VAEModule(prior=[3]), "prior must be .* got 3"),
    "a string as prior": (lambda: VAEModule(prior="normal"), "prior must be .* got 'normal'"),
    "an optimizer that is made": (
        lambda: VAEModule(optimizer=ADAM),
        r"optimizer must be a callable .*functools.partial\(Adam",
    ),
    "a scheduler that is made": (
        lambda: VAEModule(lr_scheduler=torch.optim.lr_scheduler.StepLR(ADAM, 3)),
        r"lr_scheduler must be a callable .*functools.partial\(StepLR",
    ),
    "no latents": (lambda: networks.MLPEncoder((8,), latent=0), "latent, hidden and shape must be"),
    "a shape that is a number": (lambda: networks.MLPEncoder(8, 2), r"shape must be .* got 8"),
    "an image without colours": (
        lambda: networks.ConvEncoder((28, 28), 2),
        r"shape must be \(channels, height, width\)",
    ),
    "a hidden width that is a number": (
        lambda: networks.MLPDecoder((8,), 2, hidden=400),
        r"hidden must be .* got 400; write hidden=\(400,\)",
    ),
    "a likelihood of torch": (
        lambda: networks.MLPDecoder((8,), 2, likelihood=Normal),
        r"likelihood must be .*likelihoods.Gaussian\(\)",
    ),
    "a likelihood's class": (
        lambda: networks.ConvDecoder((1, 28, 28), 2, likelihood=likelihoods.Bernoulli),
        "likelihood must be .* got .*Bernoulli",
    ),
    "no draws": (lambda: VAEModule()(X, samples=0), "samples must be at least 1, got 0"),
    "a prior's module": (
        lambda: elbo(X, Normal(X, 1.0), Q, StandardNormal(2)),
        r"p is the module StandardNormal\(2\), .* call it",
    ),
    "a prior's module in kl": (lambda: kl(Q, StandardNormal(2), Q.rsample()), "call it"),
    "an array": (
        lambda: VAEModule(networks.MLPEncoder((3,), 2)).embed(X.numpy()),
        r"x must be a Tensor, got ndarray; write torch.as_tensor\(x\)",
    ),
    "data without an end": (
        lambda: likelihoods.distortion(X / 0, Normal(X, 1.0)),
        "x has entries that are infinite",
    ),
}


@pytest.mark.parametrize(("make", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_common_mistake_says_what_to_write(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_a_partial_is_what_an_optimizer_should_be():
    VAEModule(optimizer=partial(torch.optim.Adam, lr=1e-2))
