"""Every objective at the edges: one example, one latent, equal data, no numbers, other shapes."""

import copy
import re

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_vae import VAEModule
from lightning_vae.divergences import kl
from lightning_vae.latents import Latent, VAEOutput
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.objectives import FactorVAE
from lightning_vae.posteriors import draw
from lightning_vae.terms import terms
from tests.objectives.test_training import Told
from tests.test_objectives import EXAMPLES

every = pytest.mark.parametrize("objective", EXAMPLES.values(), ids=EXAMPLES)


def made(objective, latent=3):
    """A VAE of four numbers and so many latents."""
    objective = copy.deepcopy(objective)
    if isinstance(objective, FactorVAE):
        objective = FactorVAE(latents=latent, hidden=(8,))
    networks = Told(MLPEncoder((4,), latent, (8,))), Told(MLPDecoder((4,), latent, (8,)))
    return VAEModule(*networks, objective=objective)


# Those that are of several examples by their nature, with what they say.
REFUSED = {
    "MMD": r"two draws or more of one shape, got \(1, 3\).*drop_last=True",
    "TotalCorrelation": r"two examples in a batch, got 1; write estimator='mws', or drop_last=True",
    "Regularised": r"a batch of 1 does not divide into repeats=2.*drop_last=True",
}


@every
def test_a_batch_of_one_has_its_value_or_is_refused_with_the_remedy(objective):
    vae, x, name = made(objective), torch.rand(1, 4), type(objective).__name__
    if name in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name]):
            vae.training_step(x, 0)
        return
    parts = vae.training_step(x, 0)
    assert all(value.isfinite() for value in parts.values())
    if name in ("ELBO", "Balanced"):  # of one group there is nothing to balance
        beta = vae.objective.beta
        expected = parts["distortion"] + beta * parts["rate"]
        torch.testing.assert_close(parts["loss"].detach(), expected)


@every
def test_a_latent_of_one_is_enough(objective):
    parts = made(objective, latent=1).training_step(torch.rand(8, 4), 0)
    assert all(value.isfinite() for value in parts.values())
    for nothing in ("off_diagonal", "total_correlation_between"):
        assert parts.get(nothing, torch.zeros(())).abs() < 1e-5
    if type(objective).__name__ in ("TotalCorrelation", "Regularised"):
        assert parts["total_correlation"].abs() < 1e-5, "one latent is independent of no other"


@every
def test_equal_data_train(objective, fit_with):
    vae, x = made(objective), torch.full((16, 4), 0.3)
    trainer = fit_with(max_epochs=3)
    trainer.fit(vae, DataLoader(x, 8), DataLoader(x, 8))
    assert all(value.isfinite() for value in trainer.callback_metrics.values())
    assert all(p.isfinite().all() for p in vae.parameters())


@every
@pytest.mark.parametrize(("value", "kind"), [(torch.nan, "NaN"), (torch.inf, "infinite")])
def test_data_that_are_no_numbers_are_named(objective, value, kind):
    x = torch.rand(8, 4)
    x[3, 2] = value
    with pytest.raises(ValueError, match=f"x has entries that are {kind}; replace or drop them"):
        made(objective).training_step(x, 0)


@every
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_name_the_first_term(objective, value):
    vae = made(objective)
    torch.nn.init.constant_(vae.encoder.network.linears[-1].bias, value)
    with pytest.raises(ValueError, match=r"not finite in (distortion|rate of group 0)"):
        vae.training_step(torch.rand(8, 4), 0)


def unlike(objective, rows):
    """A pass over eight examples with a group of another batch."""
    vae, x = made(objective), torch.rand(8, 4)
    context = vae.objective.context(x)
    output = vae(x, samples=vae.objective.samples, **context)
    group = output.latents[0]
    q = type(group.posterior)(group.posterior.loc[:rows], group.posterior.log_variance[:rows])
    z = draw(q, vae.objective.samples)
    batch_dims = 1 if vae.objective.samples is None else 2
    other = Latent(q, group.prior, z, kl(q, group.prior, z, batch_dims))
    return vae.objective, VAEOutput(x, output.likelihood, (other,), output.distortion, context)


@every
@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("how", ["objective", "terms"])
def test_a_group_of_another_batch_is_refused_never_broadcast(objective, rows, how):
    objective, output = unlike(objective, rows)
    shapes = (rows, 3), (8,)
    if objective.samples:
        shapes = tuple((objective.samples, *shape) for shape in shapes)
    message = re.escape(f"group 0 has shape {shapes[0]} for a distortion of shape {shapes[1]}")
    with pytest.raises(ValueError, match=message):
        objective(output) if how == "objective" else terms(objective, output)
