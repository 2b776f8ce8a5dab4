"""The prior that context gives: by label, and by the group above in a hierarchy."""

import math
from functools import partial

import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import Independent, Normal
from torch.utils.data import DataLoader, TensorDataset

from lightning_vae import Latent, VAEModule, kl, likelihoods
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.priors import Conditional, Product, StandardNormal

LABELS = torch.arange(512) % 3
CENTRES = torch.tensor([[-4.0, 0.0], [0.0, 4.0], [4.0, 0.0]])


def one_hot(labels):
    return nn.functional.one_hot(labels, 3).float()


class Table(nn.Module):
    """c a whole number: a mean for every label, elementwise or wrapped already."""

    def __init__(self, wrap=0) -> None:
        super().__init__()
        self.means, self.wrap = nn.Embedding(3, 2), wrap

    def forward(self, label):
        normal = Normal(self.means(label), 1.0)
        return Independent(normal, self.wrap) if self.wrap else normal


@pytest.mark.parametrize("wrap", [0, 1])
def test_the_examples_are_the_batch_and_the_latents_the_event(wrap):
    prior = Conditional(Table(wrap), "label")
    labels, z = torch.tensor([2, 0, 0, 1]), torch.randn(4, 2)
    p = prior(label=labels)
    assert (p.batch_shape, p.event_shape) == ((4,), (2,))
    means = prior.network.means(labels).detach()
    truth = stats.norm.logpdf(z, means).sum(1)
    assert p.log_prob(z).tolist() == pytest.approx(truth.tolist(), rel=1e-5)


def test_the_network_takes_several_names_in_their_order():
    prior = Conditional(nn.Bilinear(3, 2, 4), ["label", "dose"])
    prior.network = Recording()
    prior(dose="d", label="l", other="o")
    assert prior.network.given == ("l", "d")


class Recording(nn.Module):
    def forward(self, *given):
        self.given = given
        return Normal(torch.zeros(1, 2), 1.0)


def test_context_that_lacks_a_name_is_refused():
    prior = Conditional(Table(), "label")
    with pytest.raises(
        ValueError, match=r"context has no 'label', only \['dose'\]; .* label=\.\.\."
    ):
        prior(dose=1)
    with pytest.raises(ValueError, match=r"names is empty"):
        Conditional(Table(), [])


def test_a_network_that_returns_no_distribution_is_refused():
    with pytest.raises(TypeError, match="network of Conditional returned a Tensor, not a distrib"):
        Conditional(nn.Linear(3, 2), "label")(label=one_hot(LABELS[:4]))


def test_it_stands_beside_others_in_a_product():
    prior = Product(Conditional(MLPEncoder((3,), 2), "label"), StandardNormal(4))
    conditional, standard = prior(label=one_hot(LABELS[:6]))
    assert conditional.batch_shape == (6,)
    assert standard.batch_shape == ()


# --- a conditional VAE


class ConditionalVAE(VAEModule):
    """The label is known to the prior alone, so z has to carry it."""

    def __init__(self) -> None:
        encoder, decoder = (
            MLPEncoder((2,), 2, hidden=(16,)),
            MLPDecoder((2,), 2, (), likelihoods.Gaussian(0.5)),
        )
        prior = Conditional(MLPEncoder((3,), 2, hidden=()), "label")
        super().__init__(encoder, decoder, prior, optimizer=partial(torch.optim.Adam, lr=0.05))

    def context(self, batch):
        return {"label": one_hot(batch[1])}

    def encode(self, x, label):
        return self.encoder(x)

    def decode(self, z, label):
        return self.decoder(z)


@pytest.fixture(scope="module")
def classes():
    x = CENTRES[LABELS] + 0.5 * torch.randn(512, 2, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, LABELS)


def test_a_conditional_vae_learns_and_draws_by_label(fit_with, classes, tmp_path):
    vae = ConditionalVAE()
    trainer = fit_with(max_epochs=60)
    trainer.fit(vae, DataLoader(classes, 128, shuffle=True))
    # The model can be the data's own, whose entropy given the label is that of two normals.
    entropy = math.log(2 * math.pi * math.e) + 2 * math.log(0.5)
    elbo = vae(classes.tensors[0], label=one_hot(LABELS)).elbo.mean().item()
    assert -elbo == pytest.approx(entropy, abs=0.35)
    drawn = vae.sample(300, label=one_hot(LABELS[:300]))
    for label, centre in enumerate(CENTRES):
        mean = drawn[LABELS[:300] == label].mean(0)
        torch.testing.assert_close(mean, centre, atol=0.4, rtol=0)
    trainer.save_checkpoint(tmp_path / "c.ckpt")
    loaded = ConditionalVAE.load_from_checkpoint(tmp_path / "c.ckpt")
    label = one_hot(torch.arange(3))
    torch.testing.assert_close(loaded.prior(label=label).mean, vae.prior(label=label).mean)
    assert vae(classes[:8][0], samples=5, label=one_hot(LABELS[:8])).rate.shape == (5, 8)


def test_a_draw_without_its_label_says_what_to_write():
    with pytest.raises(ValueError, match=r"write label=\.\.\. to sample"):
        ConditionalVAE().sample(3)


def test_one_draw_for_one_label():
    assert ConditionalVAE().sample(1, label=one_hot(LABELS[:1])).shape == (1, 2)


# --- a hierarchy


class TwoLayers(VAEModule):
    """p(x|z1) p(z1|z2) p(z2): the prior of the lower layer is conditioned on the upper draw."""

    def __init__(self) -> None:
        super().__init__(prior=StandardNormal(2), optimizer=partial(torch.optim.Adam, lr=0.01))
        self.bottom, self.top = MLPEncoder((2,), 3, (32,)), MLPEncoder((3,), 2, (32,))
        self.lower = Conditional(MLPEncoder((2,), 3, (32,)), "above")
        self.out = MLPDecoder((2,), 3, (32,), likelihoods.Gaussian(0.5))

    def infer(self, x, samples=None, **context):
        q1 = self.bottom(x)
        q2 = self.top(q1.loc)
        z1, z2 = q1.rsample(), q2.rsample()
        p1, p2 = self.lower(above=z2), self.prior()
        return Latent(q1, p1, z1, kl(q1, p1, z1)), Latent(q2, p2, z2, kl(q2, p2, z2))

    def decode(self, z, **context):
        return self.out(z[0])

    def draw(self, n, **context):
        above = self.prior().sample((n,))
        return self.lower(above=above).sample(), above


def test_a_hierarchy_trains_by_a_conditional_prior(fit_with, classes):
    vae, x = TwoLayers(), classes.tensors[0]
    start = [p.clone() for p in vae.lower.parameters()]
    before = vae(x).elbo.mean().item()
    fit_with(max_epochs=40).fit(vae, DataLoader(TensorDataset(x), 128, shuffle=True))
    output = vae(x)
    assert output.elbo.mean().item() > before + 5
    assert all(not torch.equal(a, b) for a, b in zip(start, vae.lower.parameters(), strict=True))
    lower, upper = output.latents
    assert lower.rate.shape == (512, 3)
    assert upper.rate.shape == (512, 2)
    draws = vae.sample(2000)
    torch.testing.assert_close(draws.std(0), x.std(0), rtol=0.35, atol=0)
