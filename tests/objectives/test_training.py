"""Every objective through the Trainer, and the gradients that reach a module's own networks."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from lightning_vae import VAEModule
from lightning_vae.data.batches import Batches, Stored
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.objectives import ImportanceWeighted, TotalCorrelation
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


class Endless(IterableDataset):
    """A data set whose length nobody knows."""

    def __iter__(self):
        return iter(torch.rand(24, 4))


WARNING = r"The objective has size={} but the training set 24 examples.*write size=24"


def fitted(fit_with, loader, size=100):
    vae = made(TotalCorrelation(size))
    fit_with(max_epochs=1).fit(vae, loader, DataLoader(torch.rand(16, 4), 8))
    return vae


@pytest.mark.parametrize("size", [100, 23])
def test_a_size_that_is_not_the_training_set_s_is_said_once(fit_with, size):
    with pytest.warns(UserWarning, match=WARNING.format(size)) as said:
        fitted(fit_with, DataLoader(torch.rand(24, 4), 8), size)
    assert sum(f"size={size}" in str(one.message) for one in said) == 1
    with pytest.warns(UserWarning, match=WARNING.format(size)):
        fitted(fit_with, Batches(Stored(torch.rand(24, 4)), 8), size)


def test_a_size_is_taken_as_it_is_where_it_fits_or_nothing_is_known(fit_with, recwarn):
    vae = fitted(fit_with, DataLoader(torch.rand(24, 4), 8), size=24)
    fitted(fit_with, DataLoader(Endless(), 8))
    fitted(fit_with, [DataLoader(torch.rand(24, 4), 8)] * 2)
    # Another set than the one trained on is measured as it comes.
    fit_with().validate(vae, DataLoader(torch.rand(16, 4), 8), verbose=False)
    assert not [one for one in recwarn if "size=" in str(one.message)]
