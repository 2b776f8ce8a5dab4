"""Every prior as an argument of the module: it trains, is saved, and refuses what it must."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from lightning_vae import ELBO, VAEModule
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.priors import DiagonalNormal, GaussianMixture, RealNVP, VampPrior

X = torch.rand(24, 4, generator=torch.Generator().manual_seed(3))

# Each made of the encoder; those of the second table do not split over latents.
SPLIT = {"DiagonalNormal": lambda encoder: DiagonalNormal(3)}
WHOLE = {
    "GaussianMixture": lambda encoder: GaussianMixture(3, components=4),
    "VampPrior": lambda encoder: VampPrior(X[:5], encoder),
    "RealNVP": lambda encoder: RealNVP(3, layers=2, hidden=(8,)),
}
EVERY = SPLIT | WHOLE
every = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
whole = pytest.mark.parametrize("make", WHOLE.values(), ids=WHOLE)


def module(make, **kwargs):
    return VAEModule(**parts(make), **kwargs)


def parts(make):
    encoder, decoder = MLPEncoder((4,), 3, hidden=(8,)), MLPDecoder((4,), 3, hidden=(8,))
    return {"encoder": encoder, "decoder": decoder, "prior": make(encoder)}


@every
def test_it_trains_is_saved_and_loaded(fit_with, tmp_path, make):
    vae, saving = module(make), ModelCheckpoint(tmp_path, "saved")
    start = [p.clone() for p in vae.parameters()]
    fit_with(max_epochs=3, callbacks=[saving]).fit(vae, DataLoader(X, 8), DataLoader(X, 8))
    assert all(not torch.equal(a, b) for a, b in zip(start, vae.parameters(), strict=True))
    loaded = VAEModule.load_from_checkpoint(tmp_path / "saved.ckpt", **parts(make))
    z = torch.randn(6, 3)
    assert torch.equal(loaded.prior().log_prob(z), vae.prior().log_prob(z))
    assert loaded.sample(5).shape == (5, 4)


class SameNoise(Callback):
    """The draws of a step are the same in every run."""

    def on_train_batch_start(self, trainer, *_):
        torch.manual_seed(trainer.global_step)


@every
def test_a_resumed_fit_is_the_uninterrupted_one_to_the_bit(fit_with, tmp_path, make):
    def fit(**kwargs):
        torch.manual_seed(1)
        vae, saving = module(make), ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
        trainer = fit_with(max_epochs=3, callbacks=[saving, SameNoise()])
        trainer.fit(vae, DataLoader(X, 8), **kwargs)
        assert {*trainer.optimizers[0].state} == {*vae.parameters()}
        return vae.state_dict()

    whole, resumed = fit(), fit(ckpt_path=tmp_path / "epoch=0.ckpt")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_works_in_every_precision(make, dtype):
    vae = module(make).to(dtype)
    output = vae(X.to(dtype))
    assert output.rate.dtype == (torch.float64 if dtype is torch.float64 else torch.float32)
    (-output.elbo.mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.parameters())
    assert vae.sample(2).shape == (2, 4)


@every
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_it_trains_in_every_precision(fit_with, make, precision):
    vae = module(make)
    trainer = fit_with(max_epochs=1, precision=precision)
    trainer.fit(vae, DataLoader(X, 8), DataLoader(X, 8))
    assert trainer.callback_metrics["val/elbo"].isfinite()
    assert all(p.isfinite().all() for p in vae.parameters())


@every
@pytest.mark.parametrize("batch", [1, 24])
def test_a_batch_of_one_and_a_batch_of_equals(make, batch):
    vae = module(make)
    output = vae(X[:1].expand(batch, 4), samples=2)
    assert output.rate.shape == (2, batch)
    assert output.elbo.isfinite().all()


@whole
def test_the_rate_is_one_an_example(make):
    vae = module(make)
    latent = vae(X).latents[0]
    assert latent.rate.shape == (24, 1)
    truth = latent.posterior.log_prob(latent.z).sum(1) - vae.prior().log_prob(latent.z)
    torch.testing.assert_close(latent.rate.squeeze(1), truth)


@whole
@pytest.mark.parametrize("per", ["latent", "channel"])
def test_free_bits_per_latent_are_refused_with_the_reason(make, per):
    vae = module(make, objective=ELBO(free_bits=0.1, per=per))
    reason = rf"free_bits per {per} needs .* does not split over latents; write per='group'"
    with pytest.raises(ValueError, match=reason):
        vae.training_step(X, 0)


@every
@pytest.mark.parametrize("per", ["group", "total"])
def test_free_bits_per_group_are_taken(make, per):
    vae = module(make, objective=ELBO(free_bits=50.0, per=per))
    parts = vae.objective(vae(X))
    torch.testing.assert_close(parts["loss"] - parts["distortion"], torch.tensor(50.0))


def test_free_bits_per_latent_are_taken_where_the_rate_splits():
    vae = module(SPLIT["DiagonalNormal"], objective=ELBO(free_bits=5.0))
    parts = vae.objective(vae(X))
    torch.testing.assert_close(parts["loss"] - parts["distortion"], torch.tensor(15.0))


@every
def test_data_that_are_not_finite_are_named(make):
    vae = module(make)
    with pytest.raises(ValueError, match="x has entries that are NaN"):
        vae.training_step(torch.full((3, 4), torch.nan), 0)
    torch.nn.init.constant_(next(vae.prior.parameters()), torch.inf)
    with pytest.raises(ValueError, match="not finite in rate of group 0"):
        vae.training_step(X, 0)


WRONG = EVERY | {
    "VampPrior": lambda encoder: VampPrior((5, 4), MLPEncoder((4,), 3).requires_grad_(False))
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_a_prior_of_another_shape_is_refused(make):
    vae = VAEModule(MLPEncoder((4,), 2), MLPDecoder((4,), 2), make(None))
    with pytest.raises(
        ValueError, match=r"prior has shape \(3,\) but .* latents have shape \(2,\)"
    ):
        vae(X)
