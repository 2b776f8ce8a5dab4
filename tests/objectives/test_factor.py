"""FactorVAE: an honest discriminator, trained apart from the encoder."""

import math
import re

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from lightning_vae import VAEModule
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.objectives import FactorVAE
from lightning_vae.objectives.factor import permuted
from tests.objectives.outputs import latent, leaves, output


def test_every_latent_is_shuffled_by_itself():
    z = torch.arange(3000.0).view(1000, 3)
    shuffled = permuted(z)
    assert shuffled.sort(0).values.equal(z)
    rows = (shuffled - torch.arange(3)) / 3
    # Of a shared permutation all columns would agree, of none all rows.
    agreeing = (rows[:, 0] == rows[:, 1]) | (rows[:, 1] == rows[:, 2])
    staying = (rows[:, 0] == torch.arange(1000)).sum()
    assert agreeing.sum() < 15
    assert staying < 10


def test_shuffled_draws_have_the_marginals_and_no_correlation():
    z = torch.randn(20_000, 2) @ torch.tensor([[1.0, 0.9], [0.0, 0.4]])
    correlation = torch.corrcoef(permuted(z).T)[0, 1]
    assert torch.corrcoef(z.T)[0, 1] > 0.8
    assert correlation.abs() < 0.03


def test_the_trained_discriminator_finds_the_total_correlation():
    rho = 0.8
    truth = -0.5 * math.log(1 - rho**2)
    objective = FactorVAE(latents=2, hidden=(32, 32))
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    mixing = torch.tensor([[1.0, rho], [0.0, math.sqrt(1 - rho**2)]])

    def terms(examples):
        z = torch.randn(examples, 2) @ mixing
        return objective(output(latent(torch.zeros_like(z), torch.zeros_like(z), z)))

    for _ in range(300):
        optimizer.zero_grad()
        terms(512)["own_loss"].backward()
        optimizer.step()
        decay.step()
    found = terms(50_000)
    assert found["total_correlation"].item() == pytest.approx(truth, rel=0.15)
    # The optimal cross-entropy is log 2 less the Jensen-Shannon divergence.
    assert found["own_loss"] < math.log(2) - 0.05


def test_an_ignorant_discriminator_says_nothing():
    objective = FactorVAE(latents=3, hidden=(8,))
    for parameter in objective.parameters():
        nn.init.zeros_(parameter)
    loc, s, _ = (tensor.detach().float() for tensor in leaves())
    terms = output(latent(loc, s), D=torch.ones(8))
    found = objective(terms)
    torch.testing.assert_close(found["loss"], 1 + terms.rate.mean())
    assert found["own_loss"].item() == pytest.approx(math.log(2))
    assert found["total_correlation"] == 0


def test_the_loss_is_its_formula():
    loc, s, _ = (tensor.detach().float() for tensor in leaves())
    terms, objective = output(latent(loc, s), D=torch.ones(8)), FactorVAE(3, 7.0, hidden=(8,))
    found = objective(terms)
    odds = objective.discriminator(terms.latents[0].z).softmax(1)
    tc = (odds[:, 0] / odds[:, 1]).log().mean()
    torch.testing.assert_close(found["total_correlation"], tc.detach())
    torch.testing.assert_close(found["loss"], 1 + terms.rate.mean() + 7 * tc)
    torch.manual_seed(4)
    own_loss = objective(terms)["own_loss"]
    torch.manual_seed(4)
    logits = torch.cat(
        [objective.discriminator(z) for z in (terms.latents[0].z, permuted(terms.latents[0].z))]
    )
    labels = torch.cat([torch.zeros(8), torch.ones(8)]).long()
    torch.testing.assert_close(own_loss, nn.functional.cross_entropy(logits, labels))


def test_neither_loss_leaks_into_the_other_s_networks():
    loc, s, noise = (tensor.detach().float() for tensor in leaves())
    loc.requires_grad_()
    z = loc + noise * (0.5 * s).exp()
    objective = FactorVAE(latents=3, hidden=(8,))
    found = objective(output(latent(loc, s, z)))
    own = list(objective.parameters())
    reached = torch.autograd.grad(found["own_loss"], [loc, *own], allow_unused=True)
    assert reached[0] is None
    assert all(gradient.abs().sum() > 0 for gradient in reached[1:-1])
    reached = torch.autograd.grad(found["loss"], [loc, *own], allow_unused=True)
    assert reached[0].abs().sum() > 0
    assert all(gradient is None for gradient in reached[1:])
    # disvae leaves the draws attached, and so trains its encoder to help the discriminator.
    attached = objective._cross_entropy(z)
    assert torch.autograd.grad(attached, loc)[0].abs().sum() > 0


def test_groups_are_taken_together():
    groups = [latent(torch.zeros(8, *f), torch.zeros(8, *f)) for f in ((3,), (2, 2))]
    assert FactorVAE(latents=7, hidden=(8,))(output(*groups))["loss"].isfinite()
    with pytest.raises(ValueError, match="latents=3 but an example has 7 latents in all; write"):
        FactorVAE(latents=3)(output(*groups))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latents": 0}, "latents must be a whole number of at least 1, got 0"),
        ({"latents": 2.0}, "latents must be a whole number of at least 1, got 2.0"),
        ({"latents": 2, "gamma": -1}, "gamma must be a finite number >= 0"),
    ],
)
def test_what_makes_no_sense_is_refused_at_construction(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        FactorVAE(**arguments)


def test_several_draws_are_refused():
    with pytest.raises(ValueError, match="holds 3 draws of z an example"):
        FactorVAE(2)(output(latent(torch.zeros(4, 2), torch.zeros(4, 2)), D=torch.zeros(3, 4)))


def test_it_trains_both_networks_by_the_trainer_and_keeps_the_discriminator(fit_with, tmp_path):
    objective = FactorVAE(latents=2, hidden=(8,))
    before = [p.detach().clone() for p in objective.parameters()]
    vae = VAEModule(MLPEncoder((4,), 2), MLPDecoder((4,), 2), objective=objective)
    trainer = fit_with(max_epochs=2, callbacks=[ModelCheckpoint(tmp_path, "run")])
    trainer.fit(vae, DataLoader(torch.rand(32, 4), 8), DataLoader(torch.rand(8, 4), 8))
    assert all((p != b).any() for p, b in zip(objective.parameters(), before, strict=True))
    first, second = vae.optimizers()
    assert len(first.param_groups[0]["params"]) == 8
    assert second.param_groups[0]["betas"] == (0.5, 0.9)
    assert {"val/own_loss", "val/total_correlation"} <= set(trainer.callback_metrics)
    saved = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert "objective.discriminator.0.weight" in saved["state_dict"]
    assert len(saved["optimizer_states"]) == 2
