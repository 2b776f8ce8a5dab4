"""Encoders and decoders: the shapes, sizes and layers of the literature."""

import copy
import pickle
from itertools import pairwise

import pytest
import torch
from torch import nn

from lightning_vae import VAEModule, likelihoods, networks
from lightning_vae.distributions import Bernoulli, DiagonalGaussian
from lightning_vae.likelihoods import Gaussian, Likelihood, distortion
from lightning_vae.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder

IMAGES = [(1, 28, 28), (1, 64, 64), (3, 64, 64), (3, 32, 32), (1, 17, 31), (2, 33, 16), (1, 29, 45)]
CHANNELS = [(32, 32, 64, 64), (8, 16), (4,)]
FLAT = [(5,), (1, 28, 28), (3, 4)]

# Every network as (shape, latent) -> module, and the shapes to try it on.
ENCODERS = {"MLPEncoder": (MLPEncoder, FLAT), "ConvEncoder": (ConvEncoder, IMAGES)}
DECODERS = {"MLPDecoder": (MLPDecoder, FLAT), "ConvDecoder": (ConvDecoder, IMAGES)}
BOTH = {**ENCODERS, **DECODERS}


def rows(table):
    return [pytest.param(c, s, id=f"{name}{s}") for name, (c, ss) in table.items() for s in ss]


every_encoder = pytest.mark.parametrize(("network", "shape"), rows(ENCODERS))
every_decoder = pytest.mark.parametrize(("network", "shape"), rows(DECODERS))


def size(module):
    return sum(p.numel() for p in module.parameters())


def test_every_network_has_a_row():
    assert set(BOTH) == {*networks.mlp.__all__, *networks.convolutional.__all__}


@every_encoder
def test_an_encoder_returns_a_gaussian_over_its_latents(network, shape):
    q = network(shape, latent=7)(torch.rand(2, *shape))
    assert type(q) is DiagonalGaussian
    assert q.batch_shape == (2, 7)
    assert not torch.equal(q.loc, q.log_variance)


@every_decoder
def test_a_decoder_returns_a_likelihood_in_the_shape_of_x(network, shape):
    p = network(shape, latent=7)(torch.randn(2, 7))
    assert type(p) is Bernoulli
    assert distortion(torch.rand(2, *shape), p).shape == (2,)


@every_decoder
def test_a_decoder_ends_in_the_head_it_was_given(network, shape):
    p = network(shape, latent=7, likelihood=Gaussian(0.3))(torch.randn(2, 7))
    assert p.mean.shape == (2, *shape)
    assert (p.stddev == 0.3).all()


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("image", IMAGES)
def test_convolutions_come_back_to_the_image_at_any_depth(image, channels):
    encoder, decoder = (net(image, 3, channels, hidden=(8,)) for net in (ConvEncoder, ConvDecoder))
    z = encoder(torch.rand(2, *image)).rsample()
    assert decoder(z).mean.shape == (2, *image)


@pytest.mark.parametrize("network", [MLPDecoder, ConvDecoder])
def test_a_head_of_several_features_gets_them(network):
    class LearnedScale(Likelihood):
        features = 2

        def forward(self, features):
            loc, log_variance = features.chunk(2, dim=1)
            return DiagonalGaussian(loc, log_variance)

    p = network((3, 8, 8), 4, **small(network), likelihood=LearnedScale())(torch.randn(2, 4))
    assert p.batch_shape == (2, 3, 8, 8)


def small(network):
    return {"channels": (4, 8)} if "Conv" in network.__name__ else {"hidden": (16,)}


@pytest.mark.parametrize("network", [c for c, _ in BOTH.values()])
def test_every_parameter_learns(network):
    module = network((1, 16, 16), 4, **small(network))
    z = module(torch.randn(8, 4) if "Decoder" in network.__name__ else torch.rand(8, 1, 16, 16))
    (z.mean.square().sum() + z.variance.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize("network", [c for c, _ in BOTH.values()])
@pytest.mark.parametrize("remake", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_compute_the_same_and_follow_a_change_of_type(network, remake):
    module = network((1, 16, 16), 4, **small(network)).double()
    x = torch.rand((2, 4) if "Decoder" in network.__name__ else (2, 1, 16, 16)).double()
    assert torch.equal(remake(module)(x).mean, module(x).mean)
    assert module(x).mean.dtype == torch.float64


# --- sizes


def dense(*widths):
    return sum((i + 1) * o for i, o in pairwise(widths))


def convolutions(*channels):
    return sum((16 * i + 1) * o for i, o in pairwise(channels))


def test_the_net_of_higgins_has_its_parameters():
    # Four 4x4 convolutions of 32, 32, 64, 64 channels, 256 hidden units, ten latents.
    encoder = convolutions(1, 32, 32, 64, 64) + dense(64 * 4 * 4, 256, 20)
    decoder = dense(10, 256, 64 * 4 * 4) + convolutions(64, 64, 32, 32, 1)
    assert size(ConvEncoder((1, 64, 64), latent=10)) == encoder == 382_932
    assert size(ConvDecoder((1, 64, 64), latent=10)) == decoder


def test_perceptrons_have_the_parameters_of_their_widths():
    assert size(MLPEncoder((1, 28, 28), 20, hidden=(500, 400))) == dense(784, 500, 400, 40)
    assert size(MLPDecoder((1, 28, 28), 20, hidden=(400, 500))) == dense(20, 400, 500, 784)
    assert size(MLPEncoder((4,), 2, hidden=())) == dense(4, 4)


@pytest.mark.parametrize("network", [c for c, _ in BOTH.values()])
def test_every_layer_but_the_last_is_followed_by_a_relu(network):
    module = network((1, 16, 16), 4, **small(network))
    signs = []
    layers = [m for m in module.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    for layer in layers:
        layer.register_forward_pre_hook(lambda _, inputs: signs.append(inputs[0].min().item()))
    nn.init.constant_(layers[-1].bias, -10.0)
    x = torch.randn(8, 4) if "Decoder" in network.__name__ else torch.randn(8, 1, 16, 16)
    distribution = module(x)
    assert len(signs) == len(layers) >= 2
    assert signs[0] < 0
    assert all(sign == 0 for sign in signs[1:])
    last = distribution.loc if hasattr(distribution, "loc") else distribution.logits
    assert last.max() < 0


# --- arguments


@pytest.mark.parametrize("network", [ConvEncoder, ConvDecoder])
@pytest.mark.parametrize("side", [15, 1])
@pytest.mark.parametrize("at", [1, 2])
def test_an_image_too_small_for_its_convolutions_is_refused(network, side, at):
    shape = [1, 64, 64]
    shape[at] = side
    with pytest.raises(ValueError, match=rf"side of {side} pixels, too few for 4.*channels="):
        network(tuple(shape), latent=2)


@pytest.mark.parametrize("network", [ConvEncoder, ConvDecoder])
def test_an_image_just_large_enough_is_not(network):
    x = torch.rand(3, 1, 16, 16) if network is ConvEncoder else torch.rand(3, 2)
    assert len(network((1, 16, 16), latent=2)(x).mean) == 3


@pytest.mark.parametrize("network", [ConvEncoder, ConvDecoder])
@pytest.mark.parametrize("shape", [(28, 28), (784,), (1, 1, 28, 28)])
def test_a_shape_that_is_no_image_is_refused(network, shape):
    with pytest.raises(ValueError, match=r"shape must be \(channels, height, width\), got"):
        network(shape, latent=2)


def test_counts_are_read_by_their_logarithm_and_judged_as_they_are():
    torch.manual_seed(0)
    plain = MLPEncoder((5,), 2)
    logged = MLPEncoder((5,), 2, log1p=True)
    logged.load_state_dict(plain.state_dict())
    counts = torch.tensor([[0.0, 1.0, 9.0, 99.0, 419.0]])
    logarithm = torch.tensor([[0.0, 0.6931472, 2.3025851, 4.6051702, 6.0402547]])
    torch.testing.assert_close(logged(counts).mean, plain(logarithm).mean)
    vae = VAEModule(logged, MLPDecoder((5,), 2, likelihood=likelihoods.NegativeBinomial()))
    output = vae(counts)
    assert output.x.equal(counts)
    torch.testing.assert_close(output.distortion, -output.likelihood.log_prob(counts).sum(1))
