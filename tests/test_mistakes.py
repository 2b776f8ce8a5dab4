"""Common mistakes: each is refused by an error that names the argument and says what to write."""

from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.distributions import Independent, Normal
from torch.utils.data import DataLoader

from lightning_vae import (
    ELBO,
    CyclicalAnnealing,
    DiagonalGaussian,
    Objective,
    Prior,
    StandardNormal,
    VAEModule,
    elbo,
    free_bits,
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


def module(**kwargs):
    return VAEModule(networks.MLPEncoder((3,), 2), networks.MLPDecoder((3,), 2), **kwargs)


def fit(vae):
    Trainer(max_epochs=1, logger=False, accelerator="cpu", enable_checkpointing=False).fit(
        vae, DataLoader(X, 2)
    )


class Wrong(Objective):
    def __init__(self, parts, optimizer=None):
        super().__init__()
        self.parts, self.optimizer = parts, optimizer

    def forward(self, output):
        return self.parts


def step_with(parts, **kwargs):
    return module(objective=Wrong(parts, **kwargs)).training_step(X, 0)


class LabelPrior(Prior):
    def forward(self, c, **_):
        return Independent(Normal(c, 1.0), 1)


def _conditional():
    class Conditional(VAEModule):
        def decode(self, z, c):
            return likelihoods.Gaussian()(z)

    return Conditional(prior=LabelPrior())


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
    "no latents": (lambda: networks.MLPEncoder((8,), latent=0), "latent must be a whole number"),
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
    "bytes": (
        lambda: module().training_step((X * 255).byte(), 0),
        r"uint8; write x.float\(\) / 255",
    ),
    "bytes to embed": (lambda: module().embed((X * 255).byte()), r"uint8; write x.float\(\) / 255"),
    "whole numbers": (
        lambda: likelihoods.distortion(torch.ones(2, 3).long(), Normal(torch.ones(2, 3), 1.0)),
        r"x has dtype torch.int64, but values are real; write x.float\(\)",
    ),
    "gray values for bits": (
        lambda: likelihoods.distortion(X, torch.distributions.Bernoulli(logits=X)),
        r"likelihoods.Bernoulli\(\)\(logits\)",
    ),
    "a learning rate as optimizer": (
        lambda: VAEModule(optimizer=0.001),
        r"optimizer must be a callable that makes it, got 0.001; .*torch.optim.Adam",
    ),
    "an optimizer that is not returned": (
        lambda: fit(module(optimizer=lambda p: None)),
        "optimizer must return an optimizer, got None; is its return missing",
    ),
    "no loss": (
        lambda: step_with({"los": X.mean()}),
        r"Wrong must return a dict with loss, .* los",
    ),
    "a loss for every example": (lambda: step_with({"loss": X.mean(1)}), r"got {'loss': \(4,\)}"),
    "a bare loss": (lambda: step_with(X.mean()), "with loss, .* got a Tensor"),
    "no loss of its own": (
        lambda: step_with({"loss": X.mean()}, optimizer=torch.optim.Adam),
        "with loss and own_loss, each a scalar",
    ),
    "a word as batch_mean": (lambda: ELBO(batch_mean="no"), "batch_mean must be .* got 'no'"),
    "a word as shape": (
        lambda: CyclicalAnnealing(shape="linear"),
        "shape must make a schedule, got 'linear'; write shape=Linear",
    ),
    "a word as ratio": (
        lambda: CyclicalAnnealing(ratio="x"),
        r"ratio must be in \(0, 1\], got 'x'",
    ),
    "a word as scale": (lambda: likelihoods.Gaussian(scale="a"), "scale must be .* got 'a'"),
    "a word as floor": (lambda: free_bits(X, "1"), "floor must be .* got '1'"),
    "channels of a vector": (
        lambda: free_bits(torch.ones(3), 0.5, per="channel"),
        r"rate has shape \(3,\), without channels",
    ),
    "no convolutions": (
        lambda: networks.ConvEncoder((1, 28, 28), 2, channels=()),
        r"channels must .* got \(\); write \(32, 64\)",
    ),
    "another number of draws than the prior is given": (
        lambda: _conditional().sample(5, c=torch.zeros(64, 2)),
        "conditioned on 64 examples, but n=5",
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
