"""DIP-VAE's penalties on covariances that are given."""

import numpy as np
import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal
from torch.nn.functional import normalize

from lightning_vae.distributions import RelaxedCategorical, StandardGaussian, VonMisesFisher
from lightning_vae.latents import Latent
from lightning_vae.objectives import DIP
from lightning_vae.objectives.dip import aggregate_covariance, identity_penalties
from tests.objectives.outputs import latent, leaves, output, refuse_unlike_one


def with_covariance(covariance, examples=1000, offset=0.0):
    """Means whose covariance over the batch is exactly this, at a distance from the origin."""
    x = np.random.default_rng(0).standard_normal((examples, len(covariance)))
    x -= x.mean(0)
    x = np.linalg.solve(np.linalg.cholesky(x.T @ x / examples), x.T).T
    return torch.from_numpy(x @ np.linalg.cholesky(covariance).T + offset)


COVARIANCES = {
    "identity": (np.eye(3), 0.0, 0.0),
    "diagonal": (np.diag([1.0, 2.0, 0.5]), 0.0, 1.25),
    "correlated": (np.array([[1.0, 0.5, 0.0], [0.5, 1.0, -0.2], [0.0, -0.2, 2.0]]), 0.58, 1.0),
    "one": (np.array([[3.0]]), 0.0, 4.0),
}


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize(("covariance", "off", "on"), COVARIANCES.values(), ids=COVARIANCES)
def test_the_penalties_of_given_covariances(covariance, off, on, offset):
    loc = with_covariance(covariance, offset=offset)
    parts = DIP(lambda_od=3.0, lambda_d=7.0, beta=0.0)(output(latent(loc, torch.zeros_like(loc))))
    assert parts["off_diagonal"].item() == pytest.approx(off, abs=1e-9)
    assert parts["diagonal"].item() == pytest.approx(on, abs=1e-9)
    assert parts["loss"].item() == pytest.approx(3 * off + 7 * on, abs=1e-8)


def test_under_two_the_variances_count():
    covariance, s = COVARIANCES["correlated"][0], np.array([0.5, 0.25, 1.0])
    loc = with_covariance(covariance)
    group = latent(loc, torch.from_numpy(np.log(s)).expand(loc.shape))
    whole = covariance + np.diag(s)
    np.testing.assert_allclose(aggregate_covariance(group.posterior, "II"), whole, atol=1e-12)
    np.testing.assert_allclose(aggregate_covariance(group.posterior, "I"), covariance, atol=1e-12)
    parts = DIP(variant="II")(output(group))
    assert parts["diagonal"].item() == pytest.approx(((np.diag(whole) - 1) ** 2).sum())


def test_draws_have_the_covariance_of_two():
    loc, s, _ = (tensor.detach() for tensor in leaves(examples=500))
    q = latent(loc, s).posterior
    z = q.sample((2000,)).flatten(0, 1)
    np.testing.assert_allclose(np.cov(z.T), aggregate_covariance(q, "II"), atol=0.02)


def test_the_sum_of_squares_in_the_wild_is_no_covariance():
    """PyTorch-VAE leaves the division by the batch out, and adds one variance to every entry."""
    loc = with_covariance(np.eye(3), examples=100)
    theirs = (loc - loc.mean(0)).T @ (loc - loc.mean(0)) + torch.zeros_like(loc).exp().mean()
    ours = aggregate_covariance(Normal(loc, 1.0), "I")
    torch.testing.assert_close(ours, torch.eye(3).double())
    assert identity_penalties(theirs)[1] > 1e4
    assert identity_penalties(ours)[1] < 1e-12


def test_the_gradient_is_that_of_the_formula():
    loc, s, _ = leaves()
    loss = DIP(lambda_od=2.0, lambda_d=3.0, variant="II", beta=0.0)(output(latent(loc, s)))["loss"]
    centred = loc - loc.mean(0)
    C = centred.T @ centred / 8 + s.exp().mean(0).diag()
    truth = 2 * (C - C.diag().diag()).square().sum() + 3 * (C.diag() - 1).square().sum()
    D = torch.zeros(8)
    assert loss.item() == pytest.approx(truth.item() + D.mean().item())
    for ours, theirs in zip(
        torch.autograd.grad(loss, [loc, s]), torch.autograd.grad(truth, [loc, s]), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_images_of_latents_and_independents_are_flattened():
    loc, s, _ = (tensor.detach() for tensor in leaves(factors=(2, 3)))
    q = Normal(loc, s.exp())
    flat = aggregate_covariance(Normal(loc.flatten(1), s.exp().flatten(1)), "II")
    torch.testing.assert_close(aggregate_covariance(Independent(q, 2), "II"), flat)


def test_tuples_apply_to_one_group_each():
    groups = [latent(*(t.detach() for t in leaves(factors=f)[:2])) for f in ((3,), (2,))]
    alone = [DIP(beta=0.0)(output(group)) for group in groups]
    both = DIP(lambda_od=(1.0, 2.0), lambda_d=(3.0, 0.0), beta=0.0)(output(*groups))["loss"]
    truth = alone[0]["off_diagonal"] + 2 * alone[1]["off_diagonal"] + 3 * alone[0]["diagonal"]
    torch.testing.assert_close(both, truth)


@pytest.mark.parametrize("variant", ["III", "i", None])
def test_an_unknown_variant_is_refused(variant):
    with pytest.raises(ValueError, match="variant must be 'I' or 'II', got"):
        DIP(variant=variant)


def test_dependent_latents_are_refused_under_two():
    q = MultivariateNormal(torch.zeros(4, 3), torch.eye(3))
    terms = output(Latent(q, StandardGaussian((3,)), q.sample(), torch.zeros(4, 1)))
    with pytest.raises(ValueError, match=r"MultivariateNormal is not elementwise.*variant='I'"):
        DIP(variant="II")(terms)
    assert DIP(variant="I")(terms)["diagonal"] == 3


def test_a_posterior_without_a_mean_is_refused():
    class Meanless(Normal):
        @property
        def mean(self):
            raise NotImplementedError

    group = latent(torch.zeros(4, 3), torch.zeros(4, 3))
    q = Meanless(torch.zeros(4, 3), 1.0)
    with pytest.raises(ValueError, match="posterior Meanless has no mean, which DIP needs; give"):
        DIP()(output(Latent(q, group.prior, group.z, group.rate)))


def test_a_batch_of_one_has_no_covariance():
    parts = DIP()(output(latent(torch.ones(1, 2), torch.zeros(1, 2))))
    assert (parts["off_diagonal"], parts["diagonal"]) == (0, 2)


def test_two_ranks_are_one(tmp_path):
    refuse_unlike_one(["DIP(variant='I')", "DIP(variant='II', lambda_od=2.0)"], tmp_path)


def test_dependent_latents_are_seen_beneath_independent_and_without_a_covariance_matrix():
    normal = MultivariateNormal(torch.zeros(4, 3, 2), torch.eye(2))
    sphere = VonMisesFisher(normalize(torch.ones(4, 3), dim=1), torch.full((4,), 5.0))
    for posterior in (Independent(normal, 1), sphere, RelaxedCategorical(torch.zeros(4, 3), 1.0)):
        with pytest.raises(ValueError, match=r"is not elementwise, .* write variant='I'"):
            aggregate_covariance(posterior, "II")
