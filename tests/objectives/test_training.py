"""Every objective through the Trainer, and the gradients that reach a module's own networks."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_vae import VAEModule
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.objectives import ImportanceWeighted
from tests.test_objectives import EXAMPLES


class Told(nn.Module):
    """A network that lets the context pass by."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, **context):
        return self.network(x)


def made(objective):
    torch.manual_seed(1)
    networks = Told(MLPEncoder((4,), 3)), Told(MLPDecoder((4,), 3))
    return VAEModule(*networks, objective=copy.deepcopy(objective))


@pytest.mark.parametrize("objective", EXAMPLES.values(), ids=EXAMPLES)
def test_every_objective_trains_and_validates(objective, fit_with):
    vae, x = made(objective), torch.rand(24, 4)
    before = [p.detach().clone() for p in vae.parameters()]
    trainer = fit_with(max_epochs=2)
    trainer.fit(vae, DataLoader(x, 8), DataLoader(x, 8))
    assert all((p != b).any() for p, b in zip(vae.parameters(), before, strict=True))
    metrics = trainer.callback_metrics
    parts = {f"val/{name}" for name in vae.objective(vae._pass(x[:8]))}
    assert parts | {"val/elbo", "val/rate", "val/distortion"} <= set(metrics)
    assert all(value.isfinite() for value in metrics.values())


def test_dreg_changes_the_encoder_s_gradients_alone():
    x, gradients = torch.rand(24, 4), {}
    for dreg in (False, True):
        vae = made(ImportanceWeighted(8, dreg=dreg))
        torch.manual_seed(2)
        vae.objective(vae(x, samples=8))["loss"].backward()
        networks = vae.encoder, vae.decoder
        gradients[dreg] = [torch.cat([p.grad.flatten() for p in n.parameters()]) for n in networks]
    (encoder, decoder), (doubly, same) = gradients[False], gradients[True]
    torch.testing.assert_close(decoder, same)
    assert (encoder - doubly).norm() > 0.01 * encoder.norm()
    assert nn.functional.cosine_similarity(encoder, doubly, dim=0) > 0
