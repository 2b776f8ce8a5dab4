"""Which codes are drawn: traversals, quantiles, ranks, components, and the examples they come from."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Independent, Normal

from lightning_vae import StandardNormal, priors
from lightning_vae.pictures import Examples, most_active, principal, quantiles, traversal
from lightning_vae.pictures.ranking import activity
from lightning_vae.pictures.thinning import thinned


def test_one_latent_walks_and_the_others_stay():
    origins = torch.randn(3, 2, 4)
    values = torch.randn(3, 5)
    codes = traversal(origins, [0, 7, -1], values)
    assert codes.shape == (3, 5, 2, 4)
    for row, latent in enumerate([0, 7, 7]):
        flat = codes[row].flatten(1)
        assert flat[:, latent].equal(values[row])
        others = [i for i in range(8) if i != latent]
        assert flat[:, others].equal(origins[row].flatten()[others].expand(5, -1))


def test_a_latent_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"latents=\[4\] do not exist: there are 4, from 0 to 3"):
        traversal(torch.zeros(2, 4), [1, 4], torch.zeros(2, 3))


PROBABILITIES = [0.025, 0.25, 0.5, 0.9, 0.975]


def test_quantiles_of_the_standard_normal_are_scipys():
    found = quantiles(StandardNormal((2, 3))(), torch.tensor(PROBABILITIES))
    exact = torch.tensor(stats.norm.ppf(PROBABILITIES)).float()
    torch.testing.assert_close(found, exact.view(-1, 1, 1).expand(5, 2, 3))


def test_quantiles_of_a_mixture_are_those_of_its_marginals():
    prior = priors.GaussianMixture(2, components=3)
    torch.nn.init.normal_(next(p for p in prior.parameters() if p.shape == (3, 2)), std=3.0)
    found = quantiles(prior(), torch.tensor(PROBABILITIES))
    draws = prior().sample((200_000,))
    cdf = (draws.unsqueeze(0) < found.unsqueeze(1)).float().mean(1)
    torch.testing.assert_close(
        cdf, torch.tensor(PROBABILITIES).unsqueeze(1).expand(5, 2), atol=0.03, rtol=0
    )


def test_quantiles_of_a_prior_conditioned_on_a_batch_are_over_all_of_it():
    prior = Independent(Normal(torch.tensor([[-5.0], [5.0]]), 1.0), 1)
    (low,), (high,) = quantiles(prior, torch.tensor([0.25, 0.75])).tolist()
    assert low == pytest.approx(-5, abs=0.1)
    assert high == pytest.approx(5, abs=0.1)


def test_ranks_go_over_all_spaces_and_stop_at_all_there_are():
    rates = [torch.tensor([[0.1, 3.0], [0.2, 0.0]]), torch.tensor([2.0, 0.15])]
    assert most_active(rates, 3) == [(0, 1), (1, 0), (0, 2)]
    assert len(most_active(rates, 99)) == 6


def test_where_the_rate_does_not_split_the_variance_of_means_ranks():
    means = torch.randn(1000, 3) * torch.tensor([0.1, 2.0, 1.0])
    found = activity(torch.rand(1000, 1), means)
    np.testing.assert_allclose(found, means.numpy().var(0, ddof=1), rtol=1e-4)
    rate = torch.rand(1000, 3)
    torch.testing.assert_close(activity(rate, means), rate.mean(0))


def test_principal_components_are_those_of_the_covariance():
    codes = torch.randn(500, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    points = principal(codes).double().numpy()
    variances = np.linalg.eigvalsh(np.cov(codes.numpy().T))[::-1][:2]
    np.testing.assert_allclose(points.var(0, ddof=1), variances, rtol=1e-4)
    assert np.corrcoef(points.T)[0, 1] == pytest.approx(0, abs=1e-4)
    assert principal(-codes)[:, 0].std().item() == pytest.approx(points[:, 0].std(ddof=1))


def test_fewer_latents_than_components_leave_zeros():
    assert principal(torch.randn(9, 1)).shape == (9, 2)
    assert (principal(torch.randn(9, 1))[:, 1] == 0).all()


def test_examples_keep_their_context_and_labels_beside_them():
    context = {
        "label": torch.arange(3),
        "inner": {"mask": torch.eye(3)},
        "scale": torch.tensor(2.0),
    }
    examples = Examples(torch.arange(3) * 10, context, torch.arange(3))
    taken = examples.take([2, 0]).repeated(2)
    assert taken.x.tolist() == [20, 20, 0, 0]
    assert taken.context["label"].tolist() == taken.labels.tolist() == [2, 2, 0, 0]
    assert taken.context["inner"]["mask"].equal(torch.eye(3)[[2, 2, 0, 0]])
    assert taken.context["scale"] == 2
    both = examples + examples.take([1])
    assert both.x.tolist() == [0, 10, 20, 10]
    assert both.context["label"].tolist() == both.labels.tolist() == [0, 1, 2, 1]
    assert both.context["inner"]["mask"].shape == (4, 3)
    assert examples.cycled(5).x.tolist() == [0, 10, 20, 0, 10]


def test_a_curve_never_has_more_than_twice_its_points_and_keeps_its_last():
    steps, values = [], []
    for step in range(10_000):
        steps, values = thinned([*steps, step], [*values, step / 2], points=100)
        assert len(steps) <= 200
        assert steps[-1] == step
    assert values == [step / 2 for step in steps]
    assert steps == sorted(set(steps))
