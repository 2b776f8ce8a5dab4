"""The mixture of posteriors: its density, and an encoder that is shared but not registered twice."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from scipy import special, stats
from torch import nn
from torch.distributions import Independent, MultivariateNormal
from torch.utils.data import DataLoader

from lightning_vae import VAEModule, kl
from lightning_vae.cli import run
from lightning_vae.data.batches import Batches, Stored
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.priors import StandardNormal, VampPrior

X = torch.rand(12, 4, generator=torch.Generator().manual_seed(3))


def vae(k=5):
    encoder, decoder = MLPEncoder((4,), 2, hidden=(8,)), MLPDecoder((4,), 2, hidden=(8,))
    return VAEModule(encoder, decoder, VampPrior((k, 4), encoder))


def linear(slope, log_variance):
    """q(z|x) = N(slope · x, e^s) of one number."""
    encoder = MLPEncoder((1,), latent=1, hidden=()).double()
    nn.init.zeros_(encoder.linears[0].weight)
    encoder.linears[0].weight.data[0] = slope
    encoder.linears[0].bias.data = torch.tensor([0.0, log_variance], dtype=torch.float64)
    return encoder


def test_with_the_data_as_pseudo_inputs_it_is_the_aggregate_posterior():
    x, z = torch.randn(50, 1).double(), torch.linspace(-5, 5, 30).double()[:, None]
    ours = VampPrior(x, linear(1.5, -1.0))().log_prob(z).detach()
    each = stats.norm.logpdf(z.numpy(), 1.5 * x.numpy().T, np.exp(-0.5))
    np.testing.assert_allclose(ours, special.logsumexp(each, axis=1) - np.log(50), rtol=1e-12)


def test_the_aggregate_posterior_costs_the_mutual_information_and_no_prior_costs_less():
    # x has four values, equally likely; the rate is then log 4 less what z leaves open.
    x, encoder = torch.tensor([[-9.0], [-3.0], [3.0], [9.0]]).double(), linear(2.0, 0.0)
    q = encoder(x)
    z = q.rsample((5000,))
    aggregate = kl(q, VampPrior(x, encoder)(), z).mean().item()
    assert aggregate == pytest.approx(np.log(4), abs=0.01)
    assert kl(q, StandardNormal(1).double()(), z).mean().item() > aggregate + 10


def test_one_pseudo_input_is_the_posterior_there():
    encoder = MLPEncoder((4,), 2)
    u, z = X[:1], torch.randn(6, 2)
    torch.testing.assert_close(VampPrior(u, encoder)().log_prob(z), encoder(u).log_prob(z).sum(1))


class FullCovariance(nn.Module):
    def forward(self, x):
        return MultivariateNormal(x[:, :2], torch.eye(2))


class Wrapped(nn.Module):
    def forward(self, x):
        return Independent(torch.distributions.Normal(x[:, :2], 1.0), 1)


@pytest.mark.parametrize("encoder", [FullCovariance(), Wrapped()])
def test_posteriors_of_any_family_mix(encoder):
    p, z = VampPrior(X, encoder)(), torch.randn(6, 2)
    assert (p.batch_shape, p.event_shape) == ((), (2,))
    each = stats.norm.logpdf(z[:, None], X[None, :, :2]).sum(2)
    truth = special.logsumexp(each, axis=1) - np.log(12)
    np.testing.assert_allclose(p.log_prob(z).detach(), truth, rtol=1e-5)


# --- the encoder is the VAE's


def test_the_encoder_is_registered_once():
    module = vae()
    names = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    assert [name for name in names if name.startswith("prior")] == ["prior.pseudo_inputs"]
    assert [k for k in module.state_dict() if k.startswith("prior")] == ["prior.pseudo_inputs"]
    assert not any(isinstance(m, MLPEncoder) for m in module.prior.modules())


def test_every_parameter_is_optimised_once(fit_with):
    module = vae()
    trainer = fit_with(max_steps=1)
    trainer.fit(module, DataLoader(X, 4))
    (group,) = trainer.optimizers[0].param_groups
    assert len(group["params"]) == len(set(group["params"])) == len(list(module.parameters()))
    assert {*group["params"]} == {*module.parameters()}


@pytest.mark.parametrize("remake", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_shares_its_own_encoder(remake):
    module = vae()
    twin = remake(module)
    assert twin.prior.encoder is twin.encoder is not module.encoder
    nn.init.zeros_(twin.encoder.linears[-1].weight)
    assert twin.prior().component_distribution.mean.allclose(twin.encoder.linears[-1].bias[:2])


@pytest.mark.parametrize("move", [{"dtype": torch.float64}, {"device": "meta"}])
def test_what_moves_the_vae_moves_the_prior_and_its_encoder(move):
    module = vae().to(**move)
    parameters = [*module.prior.parameters(), *module.prior.encoder.parameters()]
    assert {(p.device.type, p.dtype) for p in parameters} == {(module.device.type, module.dtype)}
    assert module.sample(3).shape == (3, 4)


def test_the_state_is_loaded_strictly():
    module, other = vae(), vae()
    other.load_state_dict(module.state_dict())
    z = torch.randn(3, 2)
    assert torch.equal(other.prior().log_prob(z), module.prior().log_prob(z))


class Subclassed(VAEModule):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.heads = nn.Linear(4, 8), MLPEncoder((8,), 2)
        self.out = MLPDecoder((4,), 2)
        self.prior = VampPrior(X[:3], self.encode)

    def encode(self, x):
        return self.heads(self.body(x).relu())

    def decode(self, z):
        return self.out(z)


@pytest.mark.parametrize("remake", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_subclass_passes_its_encode(fit_with, remake):
    module = Subclassed()
    fit_with(max_steps=2).fit(module, DataLoader(X, 4))
    twin = remake(module)
    assert twin.prior.encoder.__self__ is twin
    assert sum(name.startswith("prior") for name in twin.state_dict()) == 1
    assert twin.sample(3).shape == (3, 4)


def test_gradients_reach_the_encoder_by_way_of_the_prior_and_every_pseudo_input():
    module = vae()
    z = torch.randn(64, 2)
    module.prior().log_prob(z).sum().backward()
    trained = [module.prior.pseudo_inputs, *module.encoder.parameters()]
    assert all(p.grad is not None and p.grad.any() for p in trained)
    assert module.prior.pseudo_inputs.grad.any(1).all()


def test_the_data_that_pseudo_inputs_start_from_stay_as_they_are(fit_with):
    encoder, start = MLPEncoder((4,), 2), X[:5].clone()
    prior = VampPrior(start, encoder)
    assert torch.equal(prior.pseudo_inputs, X[:5])
    fit_with(max_steps=3).fit(VAEModule(encoder, MLPDecoder((4,), 2), prior), DataLoader(X, 4))
    assert torch.equal(start, X[:5])
    assert not torch.equal(prior.pseudo_inputs, start)


def test_the_authors_range_is_a_layer_before_the_encoder():
    encoder = MLPEncoder((4,), 2)
    held = VampPrior(3 * torch.randn(50, 4), nn.Sequential(nn.Hardtanh(0, 1), encoder))
    plain = VampPrior(held.pseudo_inputs.clamp(0, 1), encoder)
    z = torch.randn(6, 2)
    assert torch.equal(held().log_prob(z), plain().log_prob(z))


# --- the encoder is lent


def test_the_module_lends_its_encoder():
    encoder, decoder = MLPEncoder((4,), 2), MLPDecoder((4,), 2)
    module = VAEModule(encoder, decoder, VampPrior((5, 4)))
    assert module.prior.encoder is encoder
    assert VAEModule(encoder, decoder, [VampPrior((5, 4))]).prior.groups[0].encoder is encoder
    assert module.sample(3).shape == (3, 4)


def test_an_encoder_of_its_own_stays_unless_nothing_would_train_it():
    encoder, other = MLPEncoder((4,), 2), MLPEncoder((4,), 2)
    held = nn.Sequential(nn.Hardtanh(0, 1), encoder)
    for own in (encoder, held, encoder.forward):
        prior = VampPrior((5, 4), own)
        assert VAEModule(encoder, MLPDecoder((4,), 2), prior).prior.encoder == own
    with pytest.raises(ValueError, match=r"not the VAE's, so that nothing would train them"):
        VAEModule(encoder, MLPDecoder((4,), 2), VampPrior((5, 4), other))
    prior = VampPrior((5, 4), other.requires_grad_(False))
    assert VAEModule(encoder, MLPDecoder((4,), 2), prior).prior.encoder is other


def test_without_an_encoder_it_says_what_to_write():
    with pytest.raises(RuntimeError, match=r"no encoder; .* VampPrior\(pseudo_inputs, encoder\)"):
        VampPrior((5, 4))()


CONFIG = """
trainer: {fast_dev_run: 2, accelerator: cpu}
model:
  class_path: lightning_vae.VAEModule
  init_args:
    encoder: {class_path: lightning_vae.networks.MLPEncoder, init_args: {shape: [5], latent: 5}}
    decoder: {class_path: lightning_vae.networks.MLPDecoder, init_args: {shape: [5], latent: 5}}
    prior: {class_path: lightning_vae.priors.VampPrior, init_args: {pseudo_inputs: [7, 5]}}
data: {class_path: lightning_vae.data.Arrays, init_args: {train: x.npy, val: x.npy, batch_size: 4}}
"""


def test_the_command_line_makes_it_and_its_checkpoint_loads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).random((12, 5), dtype=np.float32))
    Path("vamp.yaml").write_text(CONFIG)
    cli = run(["fit", "-c", "vamp.yaml"])
    assert cli.model.prior.encoder is cli.model.encoder
    cli.trainer.save_checkpoint("vamp.ckpt")
    loaded = VAEModule.load_from_checkpoint("vamp.ckpt")
    assert loaded.prior.encoder is loaded.encoder
    z = torch.randn(6, 5)
    assert torch.equal(loaded.prior().log_prob(z), cli.model.prior().log_prob(z))


# --- pseudo-inputs from the training set


def started(k=5, width=4, rate=0.0):
    encoder, decoder = MLPEncoder((4,), 2, hidden=(8,)), MLPDecoder((4,), 2, hidden=(8,))
    return VAEModule(
        encoder,
        decoder,
        [VampPrior((k, width), init="data")],
        optimizer=lambda parameters: torch.optim.SGD(parameters, rate),
    )


class Seen(Callback):
    """The first element of every example that is trained on."""

    def __init__(self):
        self.first = []

    def on_train_batch_start(self, trainer, vae, batch, batch_idx):
        self.first += batch[:, 0].tolist()


def test_pseudo_inputs_start_at_training_examples_once(fit_with, tmp_path):
    made = started()
    (prior,) = made.prior.groups
    assert not torch.equal(prior.pseudo_inputs, X[:5])
    trainer = fit_with(max_epochs=1)
    trainer.fit(made, DataLoader(X, 4))
    assert torch.equal(prior.pseudo_inputs, X[:5])
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    fit_with(max_epochs=1).fit(made, DataLoader(X.flip(0), 4))
    assert torch.equal(prior.pseudo_inputs, X[:5])
    # What is loaded stays, whether the fit is resumed or a new one.
    weights = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    assert "prior.groups.0.pseudo_inputs" in weights
    loaded = started()
    loaded.load_state_dict(weights)
    fit_with(max_epochs=1).fit(loaded, DataLoader(X.flip(0), 4))
    resumed = started()
    fit_with(max_epochs=2).fit(resumed, DataLoader(X.flip(0), 4), ckpt_path=tmp_path / "a.ckpt")
    for one in (loaded, resumed):
        assert torch.equal(one.prior.groups[0].pseudo_inputs, X[:5])


def test_looking_at_the_data_changes_no_order(fit_with):
    orders = []
    for make in (started, vae):
        seen = Seen()
        loader = Batches(Stored(X), 4, shuffle=True, seed=1)
        fit_with(max_epochs=2, callbacks=[seen]).fit(make(), loader)
        orders.append(seen.first)
    assert orders[0] == orders[1]
    assert len(orders[0]) == 24


@pytest.mark.parametrize(
    ("k", "width", "message"),
    [
        (20, 4, r"pseudo_inputs has shape \(20, 4\), but the training set gives \(12, 4\)"),
        (5, 3, r"pseudo_inputs has shape \(5, 3\), but the training set gives \(5, 4\)"),
    ],
)
def test_examples_that_are_too_few_or_others_are_refused(k, width, message, fit_with):
    with pytest.raises(ValueError, match=message):
        fit_with(max_epochs=1).fit(started(k, width), DataLoader(X, 4))


def test_an_init_that_is_none_is_refused():
    with pytest.raises(ValueError, match="init must be 'uniform' or 'data', got 'zero'"):
        VampPrior((5, 4), init="zero")
    with pytest.raises(ValueError, match=r"init='data' is for .* write pseudo_inputs=\(12, 4\)"):
        VampPrior(X, init="data")


# --- what is refused


@pytest.mark.parametrize(
    ("pseudo_inputs", "message"),
    [
        (torch.zeros(5), r"batch of floating-point examples, got shape \(5,\)"),
        (torch.zeros(5, 4, dtype=torch.uint8), r"torch.uint8; write pseudo_inputs=x_train"),
        (torch.zeros(0, 4), r"got shape \(0, 4\)"),
        (torch.full((5, 4), torch.nan), "pseudo_inputs must be finite"),
        (torch.full((5, 4), torch.inf), "pseudo_inputs must be finite"),
        ((5,), r"got shape \(5,\)"),
        ((5, -4), r"positive whole numbers, got \(5, -4\)"),
    ],
)
def test_what_is_no_batch_of_examples_is_refused(pseudo_inputs, message):
    with pytest.raises(ValueError, match=message):
        VampPrior(pseudo_inputs, MLPEncoder((4,), 2))


def test_several_latent_spaces_need_an_encoder_each():
    both = VampPrior(X, lambda x: (MLPEncoder((4,), 2)(x),) * 2)
    with pytest.raises(TypeError, match=r"returned a tuple, not one distribution"):
        both()
