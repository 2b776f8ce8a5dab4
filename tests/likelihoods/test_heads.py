"""What holds for every decoder head: in every network, every precision, and at the extremes."""

import copy

import pytest
import torch

from lightning_vae import VAEModule, likelihoods
from lightning_vae.likelihoods import Likelihood, distortion
from lightning_vae.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder


def gray(*shape):
    return torch.rand(shape)


def real(*shape):
    return torch.randn(shape)


def counts(*shape):
    return torch.randint(0, 20, shape).float()


def tokens(*shape):
    return torch.randint(0, 5, shape)


def levels(*shape):
    return torch.randint(0, 256, shape) / 255


# Every head, and data in its support.
HEADS = {
    "Bernoulli": (likelihoods.Bernoulli, gray),
    "Categorical": (lambda: likelihoods.Categorical(5, padding=0), tokens),
    "ContinuousBernoulli": (likelihoods.ContinuousBernoulli, gray),
    "DiscretisedLogisticMixture": (likelihoods.DiscretisedLogisticMixture, levels),
    "Gaussian": (likelihoods.Gaussian, real),
    "HeteroscedasticGaussian": (likelihoods.HeteroscedasticGaussian, real),
    "Laplace": (likelihoods.Laplace, real),
    "LearnedGaussian": (likelihoods.LearnedGaussian, real),
    "NegativeBinomial": (likelihoods.NegativeBinomial, counts),
    "OptimalGaussian": (likelihoods.OptimalGaussian, real),
    "Poisson": (likelihoods.Poisson, counts),
    "Weighted": (lambda: likelihoods.Weighted(likelihoods.Gaussian(), torch.ones(1, 1, 1)), real),
    "ZeroInflatedNegativeBinomial": (likelihoods.ZeroInflatedNegativeBinomial, counts),
}
every_head = pytest.mark.parametrize(
    ("head", "data"), [pytest.param(*row, id=name) for name, row in HEADS.items()]
)
IMAGE = (2, 8, 8)


def test_every_head_has_a_row():
    public = vars(likelihoods)
    classes = {name for name in likelihoods.__all__ if isinstance(public[name], type)}
    assert set(HEADS) == classes - {"Likelihood"}


def features(head, *shape):
    channels, *others = shape
    return torch.randn(3, channels * head.features, *others)


@every_head
def test_the_likelihood_has_an_element_for_every_element_of_x(head, data):
    head = head()
    assert isinstance(head, Likelihood)
    p = head(features(head, *IMAGE))
    assert p.batch_shape == (3, *IMAGE)
    assert p.log_prob(data(3, *IMAGE)).shape == (3, *IMAGE)
    assert p.mean.shape == p.sample().shape == (3, *IMAGE)
    assert p.sample((4,)).shape == (4, 3, *IMAGE)
    assert p.expand(torch.Size([4, 3, *IMAGE])).sample().shape == (4, 3, *IMAGE)
    assert distortion(p.sample(), p).isfinite().all()


@every_head
def test_the_mean_is_the_mean_of_draws(head, data):
    head = head().eval()
    p = head(features(head, *IMAGE))
    if head.features == 5:
        assert torch.equal(p.mean, p.mode)  # tokens have none
        return
    draws = p.sample((4000,))
    error = draws.std(0) / 4000**0.5
    assert ((draws.mean(0) - p.mean).abs() < 6 * error + 1e-6).float().mean() > 0.99
    torch.testing.assert_close(p.mean.mean(), draws.mean(), rtol=0.05, atol=0.05)


def vaes(head):
    yield VAEModule(
        MLPEncoder(IMAGE, 4, hidden=(16,)), MLPDecoder(IMAGE, 4, hidden=(16,), likelihood=head())
    )
    yield VAEModule(
        ConvEncoder(IMAGE, 4, (4, 8), hidden=(16,)),
        ConvDecoder(IMAGE, 4, (4, 8), hidden=(16,), likelihood=head()),
    )


@every_head
@pytest.mark.parametrize("batch", [1, 3])
def test_it_trains_samples_and_reconstructs_in_every_network(head, data, batch):
    for vae in vaes(head):
        x = data(batch, *IMAGE)
        for module in (vae.encoder,):
            module.register_forward_pre_hook(lambda _, inputs: inputs[0].float())
        for samples in (None, 2):
            vae.zero_grad()
            (-vae(x, samples=samples).elbo.mean()).backward()
            gradients = [p.grad for p in vae.parameters()]
            assert all(g is not None and g.isfinite().all() for g in gradients)
            assert any(g.abs().sum() > 0 for g in gradients)
        assert vae.sample(5).shape == (5, *IMAGE)
        assert vae.reconstruct(x).shape == x.shape
        assert vae.sample(5).isfinite().all()


@every_head
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_features_give_a_distortion_in_float32(head, data, dtype):
    head = head()
    low, x = features(head, *IMAGE).to(dtype), data(3, *IMAGE)
    torch.manual_seed(0)
    ours = distortion(x, copy.deepcopy(head).to(dtype)(low))
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, distortion(x, head(low.float())), rtol=1e-2, atol=1e-2)


@every_head
@pytest.mark.parametrize("size", [1e-6, 30.0, 80.0])
def test_great_features_have_finite_distortions_and_gradients(head, data, size):
    head = head()
    signs = features(head, *IMAGE).sign()
    great = (size * signs).requires_grad_()
    value = distortion(data(3, *IMAGE), head(great)).sum()
    assert value.isfinite()
    assert torch.autograd.grad(value, great)[0].isfinite().all()


@every_head
def test_data_all_equal_and_one_of_one_are_no_trouble(head, data):
    head = head()
    x = data(1, 1, 1, 1).expand(4, 1, 1, 1)
    one = torch.randn(1, head.features, 1, 1).expand(4, -1, 1, 1).clone().requires_grad_()
    value = distortion(x, head(one))
    assert torch.autograd.grad(value.sum(), one)[0].isfinite().all()
    assert distortion(x[:1], head(one[:1])).shape == (1,)


@every_head
def test_features_of_another_size_are_refused(head, data):
    head, x = head(), data(3, *IMAGE)
    for channels in (2 * head.features + 1, 3 * head.features, 1):
        with pytest.raises(ValueError, match=r"features have shape|decode returned a likeli"):
            distortion(x, head(torch.randn(3, channels, 8, 8)))


@every_head
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_data_that_are_not_finite_are_refused(head, data, value):
    head, x = head(), data(3, *IMAGE).float()
    x[1, 1, 2, 3] = value
    with pytest.raises(ValueError, match="x has entries that are"):
        distortion(x, head(features(head, *IMAGE)))


@every_head
def test_double_precision_is_kept(head, data):
    head, x = head().double(), data(3, *IMAGE)
    x = x if x.dtype == torch.long else x.double()
    assert distortion(x, head(features(head, *IMAGE).double())).dtype == torch.float64
