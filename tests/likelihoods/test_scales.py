"""Gaussian heads that find their scale: what it is, what it converges to, and what holds it."""

import copy
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from lightning_vae import VAEModule
from lightning_vae.data.linear_gaussian import whitened
from lightning_vae.distributions.profile_normal import ProfileNormal
from lightning_vae.likelihoods import (
    Gaussian,
    HeteroscedasticGaussian,
    LearnedGaussian,
    OptimalGaussian,
    at_floor,
    distortion,
)
from lightning_vae.networks import MLPDecoder, MLPEncoder

ONE_SCALE = [LearnedGaussian, OptimalGaussian]
EIGENVALUES = (4.0, 2.0, 1.0, 0.5, 0.2)


def random(*shape):
    return torch.randn(shape, dtype=torch.float64)


# --- densities


def test_the_heteroscedastic_density_is_scipys():
    x, loc, log_scale = random(4, 3, 2), random(4, 3, 2), random(4, 3, 2)
    ours = HeteroscedasticGaussian(floor=1e-12)(torch.cat([loc, log_scale], 1))
    truth = stats.norm.logpdf(x, loc, log_scale.exp())
    np.testing.assert_allclose(ours.log_prob(x), truth, rtol=1e-9)
    np.testing.assert_allclose(ours.stddev, log_scale.exp(), rtol=1e-9)


def test_a_scale_stays_above_its_floor_and_keeps_a_gradient():
    raw = torch.tensor([[0.0, -6.0, -20.0, -1e4]], requires_grad=True)
    likelihood = HeteroscedasticGaussian(floor=0.01)(torch.cat([torch.zeros(1, 4), raw], 1))
    assert (likelihood.stddev >= 0.01 * (1 - 1e-6)).all()
    assert at_floor(likelihood.stddev, 0.01).tolist() == [[False, False, True, True]]
    likelihood.log_prob(torch.zeros(1, 4)).sum().backward()
    assert (raw.grad[0, :3] < 0).all()


def test_the_learned_density_is_scipys_at_its_scale():
    head, x, loc = LearnedGaussian().double(), random(4, 3), random(4, 3)
    nn.init.constant_(head.log_scale, -1.3)
    truth = -stats.norm.logpdf(x, loc, head.scale.item()).sum(1)
    np.testing.assert_allclose(distortion(x, head(loc)).detach(), truth, rtol=1e-12)
    assert head.scale.item() == pytest.approx(math.exp(-1.3), rel=0.01)


def test_the_optimal_density_is_the_best_of_all_scales():
    x, loc = random(4, 3, 2), random(4, 3, 2)
    ours = distortion(x, OptimalGaussian()(loc))
    best = ours.sum().item()
    variance = (x - loc).square().mean().item()
    truth = -stats.norm.logpdf(x, loc, variance**0.5).reshape(4, -1).sum(1)
    np.testing.assert_allclose(ours, truth, rtol=1e-12)
    assert best == pytest.approx(12 * (math.log(2 * math.pi * variance) + 1), rel=1e-12)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert distortion(x, Gaussian(variance**0.5 * factor)(loc)).sum() > best


def test_the_gradient_of_the_optimal_density_is_that_of_the_logarithm_of_the_error():
    x, loc = random(4, 3), random(4, 3).requires_grad_()
    (ours,) = torch.autograd.grad(distortion(x, OptimalGaussian()(loc)).sum(), loc)
    truth = 6 * torch.log(2 * math.pi * (x - loc).square().mean())
    torch.testing.assert_close(ours, torch.autograd.grad(truth, loc)[0])


def test_gradients_flow_through_the_scale_where_examples_are_weighed():
    x, loc = random(4, 3), random(4, 3).requires_grad_()
    example = torch.tensor([3.0, 1.0, 0.0, 0.5]).double()

    def weighed(loc):
        return (example * distortion(x, ProfileNormal(loc, 1.0, floor=1e-3))).sum()

    assert torch.autograd.gradcheck(weighed, [loc])
    variance = (x - loc).square().mean().item()
    fixed = (example * distortion(x, Gaussian(variance**0.5)(loc))).sum()
    ours, theirs = (torch.autograd.grad(loss, loc)[0] for loss in (weighed(loc), fixed))
    assert (ours - theirs).abs().max() > 0.1


# --- the scale in evaluation


def test_the_scale_of_evaluation_is_the_weighted_mean_of_what_training_saw():
    head, seen = OptimalGaussian(decay=0.9), []
    for step in range(7):
        x = (1 + step) * torch.randn(5, 3)
        head(torch.zeros(5, 3)).log_prob(x)
        seen.append(x.square().mean().item())
        weights = 0.9 ** np.arange(len(seen))[::-1]
        assert head.scale.item() ** 2 == pytest.approx(np.average(seen, weights=weights), rel=1e-5)
    head.eval()
    before = head.scale.clone()
    x = torch.randn(2, 3)
    ours = distortion(x, head(torch.zeros(2, 3)))
    assert torch.equal(distortion(x[:1], head(torch.zeros(1, 3))), ours[:1])
    truth = -stats.norm.logpdf(x, 0, before.item()).sum(1)
    np.testing.assert_allclose(ours, truth, rtol=1e-5)
    assert torch.equal(head.scale, before)


def test_before_the_first_batch_the_scale_is_one():
    assert OptimalGaussian().eval()(torch.zeros(2, 3)).stddev.eq(1).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_error_that_is_not_finite_is_left_out(bad):
    head, other = OptimalGaussian(), OptimalGaussian()
    for x in (torch.full((2, 2), bad), torch.full((2, 2), 3.0), torch.full((2, 2), 4.0)):
        head(torch.zeros(2, 2)).log_prob(x)
        if x.isfinite().all():
            other(torch.zeros(2, 2)).log_prob(x)
        assert torch.equal(head.scale, other.scale)


def remember(head):
    head(torch.zeros(2, 2)).log_prob(torch.full((2, 2), 3.3))
    return head


@pytest.mark.parametrize("remake", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_and_checkpoints_keep_the_scale(remake):
    head = remember(OptimalGaussian())
    assert remake(head).scale == head.scale
    loaded = OptimalGaussian()
    loaded.load_state_dict(head.state_dict())
    assert torch.equal(remember(loaded).variance, remember(head).variance)
    assert loaded.batches == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_change_of_type_does_not_round_the_scale(dtype):
    head = remember(OptimalGaussian())
    truth = head.scale.item()
    assert head.to(dtype).scale.item() == pytest.approx(truth, rel=1e-7)
    assert head.variance.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    likelihood = head(torch.zeros(2, 2, dtype=dtype))
    assert distortion(torch.ones(2, 2, dtype=dtype), likelihood).isfinite().all()


# --- several ranks


def on_a_rank(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(0)
    x, loc, example = random(4, 3), random(4, 3), torch.tensor([3.0, 1.0, 0.2, 0.5])
    mine, head = slice(2 * rank, 2 * rank + 2), OptimalGaussian()
    loc.requires_grad_()
    costs = example[mine] * distortion(x[mine], head(loc[mine]))
    (gradient,) = torch.autograd.grad(costs.mean(), loc)
    torch.distributed.all_reduce(gradient)  # what DDP does, which then halves it
    torch.save((costs.detach(), gradient / 2, head.scale), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_have_the_scale_and_the_gradient_of_one(tmp_path):
    torch.manual_seed(0)
    x, loc, example = random(4, 3), random(4, 3), torch.tensor([3.0, 1.0, 0.2, 0.5])
    head = OptimalGaussian()
    costs = example * distortion(x, head(loc.requires_grad_()))
    (gradient,) = torch.autograd.grad(costs.mean(), loc)
    torch.multiprocessing.spawn(on_a_rank, (str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    torch.testing.assert_close(torch.cat([c for c, _, _ in ranks]), costs.detach())
    for _, theirs, scale in ranks:
        torch.testing.assert_close(theirs, gradient)
        torch.testing.assert_close(scale, head.scale)


# --- the floor


def test_data_without_error_are_held_at_the_floor_which_says_so():
    head = OptimalGaussian(floor=0.01)
    loc = torch.ones(4, 3, requires_grad=True)
    assert not head.at_floor
    value = distortion(torch.ones(4, 3), head(loc))
    np.testing.assert_allclose(value.detach(), -3 * stats.norm.logpdf(0, 0, 0.01), rtol=1e-6)
    assert torch.autograd.grad(value.sum(), loc)[0].isfinite().all()
    assert head.at_floor
    assert head.scale.item() == pytest.approx(0.01)
    with pytest.warns(UserWarning, match=r"scale of OptimalGaussian is held at its floor of 0\.01"):
        head.eval()


def test_a_learned_scale_at_its_floor_says_so():
    head = LearnedGaussian(floor=0.01)
    assert head.scale.item() == pytest.approx(1.01)
    nn.init.constant_(head.log_scale, -12.0)
    assert head.at_floor
    with pytest.warns(UserWarning, match="scale of LearnedGaussian is held at its floor"):
        head.eval()


@pytest.mark.parametrize("head", ONE_SCALE)
def test_a_scale_above_its_floor_is_silent_and_evaluation_warns_once(head):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = head().eval()
        made.train().eval()
        made.eval()


@pytest.mark.parametrize("head", [*ONE_SCALE, HeteroscedasticGaussian])
@pytest.mark.parametrize("floor", [0, -1.0, math.nan, math.inf])
def test_a_bad_floor_is_refused(head, floor):
    with pytest.raises(ValueError, match="floor must be a positive finite number"):
        head(floor=floor)


@pytest.mark.parametrize("decay", [1.0, -0.1, math.nan])
def test_a_bad_decay_is_refused(decay):
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got"):
        OptimalGaussian(decay=decay)


def test_a_profile_without_a_floor_is_refused():
    with pytest.raises(ValueError, match="floor must be a positive finite number, got 0"):
        ProfileNormal(torch.zeros(2), 1.0, floor=0)


# --- the optimum on linear-Gaussian data


def trained(head, latent, steps=1000):
    torch.manual_seed(0)
    data = whitened(EIGENVALUES, size=1000)
    encoder = MLPEncoder((5,), latent, hidden=())
    vae = VAEModule(encoder, MLPDecoder((5,), latent, hidden=(), likelihood=head))
    optimizer = torch.optim.Adam(vae.parameters(), lr=0.03)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (-vae(data).elbo.mean()).backward()
        optimizer.step()
        decay.step()
    return head


@pytest.mark.parametrize("latent", [2, 4])
def test_the_variance_is_the_mean_of_the_eigenvalues_without_a_latent(latent):
    truth = math.log(np.mean(EIGENVALUES[latent:]))
    learned, optimal = (2 * trained(head(), latent).scale.log().item() for head in ONE_SCALE)
    assert optimal == pytest.approx(truth, abs=0.02)
    assert learned == pytest.approx(truth, abs=0.02)
    assert learned == pytest.approx(optimal, abs=0.02)
