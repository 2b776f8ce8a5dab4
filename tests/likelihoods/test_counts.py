"""Likelihoods of counts against scipy, mpmath and sums over the support."""

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import NegativeBinomial as TorchNegativeBinomial
from torch.distributions import Poisson as TorchPoisson

from lightning_vae.distributions.negative_binomial import NegativeBinomial
from lightning_vae.distributions.poisson import Poisson
from lightning_vae.distributions.zero_inflated import ZeroInflated
from lightning_vae.likelihoods import NegativeBinomial as NegativeBinomialHead
from lightning_vae.likelihoods import ZeroInflatedNegativeBinomial, distortion


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


MEANS, DISPERSIONS = (1e-3, 0.5, 3.0, 80.0), (1e-2, 0.7, 9.99, 10.01, 400.0)


def grid():
    mean, theta = torch.meshgrid(double(*MEANS), double(*DISPERSIONS), indexing="ij")
    return mean.flatten(), theta.flatten()


def scipys(mean, theta):
    return stats.nbinom(theta.numpy(), (theta / (theta + mean)).numpy())


# --- the negative binomial


@pytest.mark.parametrize("x", [0.0, 1.0, 2.0, 7.0, 300.0])
def test_negative_binomial_is_scipys(x):
    mean, theta = grid()
    ours = NegativeBinomial(mean.log(), theta.log())
    value = torch.full_like(mean, x)
    truth = scipys(mean, theta)
    np.testing.assert_allclose(ours.log_prob(value), truth.logpmf(x), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.mean, truth.mean(), rtol=1e-9)
    np.testing.assert_allclose(ours.variance, truth.var(), rtol=1e-9)


@pytest.mark.parametrize("theta", [0.7, 400.0])
def test_negative_binomial_sums_to_one(theta):
    x = torch.arange(3000).double()
    p = NegativeBinomial(double(80.0).log(), double(theta).log())
    assert p.log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-9)


def exact_log_prob(x, log_mean, log_theta):
    """With eighty digits."""
    with mpmath.workdps(80):
        log_theta = min(log_theta, 100)  # where 80 digits hold the difference of log-gammas
        x, mean, theta = mpmath.mpf(x), mpmath.exp(log_mean), mpmath.exp(log_theta)
        rising = mpmath.loggamma(theta + x) - mpmath.loggamma(theta) - mpmath.loggamma(x + 1)
        total = theta + mean
        return float(rising + theta * mpmath.log(theta / total) + x * mpmath.log(mean / total))


@pytest.mark.parametrize("log_theta", [-200.0, -90.0, -5.0, 2.3, 2.31, 9.0, 14.0, 25.0, 59.0, 1e4])
@pytest.mark.parametrize("log_mean", [-150.0, -2.0, 0.0, 4.0])
@pytest.mark.parametrize("x", [0.0, 1.0, 30.0])
def test_float32_keeps_the_digits_at_every_dispersion(log_theta, log_mean, x):
    truth = exact_log_prob(x, log_mean, log_theta)
    parameters = [torch.tensor(p, requires_grad=True) for p in (log_mean, log_theta)]
    ours = NegativeBinomial(*parameters).log_prob(torch.tensor(x))
    assert ours.item() == pytest.approx(truth, rel=2e-6, abs=3e-5)
    exact = [double(p).squeeze().requires_grad_() for p in (log_mean, log_theta)]
    wide = NegativeBinomial(*exact).log_prob(double(x).squeeze())
    gradients = torch.autograd.grad(ours, parameters), torch.autograd.grad(wide, exact)
    for narrow, truth in zip(*gradients, strict=True):
        assert narrow.item() == pytest.approx(truth.item(), rel=1e-4, abs=1e-4)


def test_gradients_are_those_of_finite_differences():
    mean, theta = grid()
    for x in (0.0, 1.0, 30.0):
        value = torch.full_like(mean, x)
        parameters = [p.log().requires_grad_() for p in (mean, theta)]
        assert torch.autograd.gradcheck(
            lambda m, t, x=value: NegativeBinomial(m, t).log_prob(x), parameters
        )


def test_negative_binomial_without_overdispersion_is_poisson():
    x, log_mean = torch.arange(20.0), torch.tensor(1.5)
    ours = NegativeBinomial(log_mean, torch.tensor(40.0)).log_prob(x)
    torch.testing.assert_close(ours, TorchPoisson(log_mean.exp()).log_prob(x))


def test_torchs_own_loses_the_digits_where_this_does_not():
    log_theta, log_mean, x = torch.tensor(1e6).log().requires_grad_(), torch.tensor(3.0), 3.0
    theirs = TorchNegativeBinomial(log_theta.exp(), logits=log_mean - log_theta)
    density = theirs.log_prob(torch.tensor(x))
    assert abs(density.item() - exact_log_prob(x, 3.0, log_theta.item())) > 0.1
    assert abs(torch.autograd.grad(density, log_theta)[0].item()) > 0.1


def test_draws_of_the_negative_binomial_are_scipys():
    p = NegativeBinomial(double(3.0, 20.0).log(), double(0.7, 50.0).log())
    draws, truth = p.sample((40_000,)).numpy(), scipys(double(3.0, 20.0), double(0.7, 50.0))
    error = 5 * truth.std() / 200
    assert (np.abs(draws.mean(0) - truth.mean()) < error).all()
    assert (np.abs((draws == 2).mean(0) - truth.pmf(2)) < 5 * 0.5 / 200).all()


# --- Poisson


def test_poisson_is_scipys_and_lives_where_its_rate_underflows():
    log_rate, x = double(-3.0, 0.0, 4.0), double(2.0, 0.0, 70.0)
    truth = stats.poisson.logpmf(x.numpy(), log_rate.exp().numpy())
    np.testing.assert_allclose(Poisson(log_rate).log_prob(x), truth, rtol=1e-12)
    tiny = torch.tensor(-500.0, requires_grad=True)
    value = Poisson(tiny).log_prob(torch.tensor(3.0))
    assert value.item() == pytest.approx(-1500 - np.log(6))
    assert torch.autograd.grad(value, tiny)[0] == 3


# --- zero inflation


@pytest.mark.parametrize("logit", [-40.0, -1.0, 0.0, 3.0])
def test_zero_inflation_moves_mass_to_zero(logit):
    mean, theta = double(3.0, 20.0), double(0.7, 50.0)
    base, x = NegativeBinomial(mean.log(), theta.log()), torch.arange(2000).double()[:, None]
    ours = ZeroInflated(base, torch.full_like(mean, logit))
    dropped, pmf = 1 / (1 + np.exp(-logit)), scipys(mean, theta).pmf(x.numpy())
    truth = (1 - dropped) * pmf + dropped * (x.numpy() == 0)
    np.testing.assert_allclose(ours.log_prob(x).exp(), truth, rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(truth.sum(0), 1, rtol=1e-9)
    np.testing.assert_allclose(ours.mean, (truth * x.numpy()).sum(0), rtol=1e-7)
    second = (truth * x.numpy() ** 2).sum(0)
    np.testing.assert_allclose(ours.variance, second - ours.mean.numpy() ** 2, rtol=1e-6)


def test_draws_are_zero_as_often_as_they_should_be():
    base = NegativeBinomial(torch.zeros(2), torch.zeros(2))
    p = ZeroInflated(base, torch.tensor([2.0, -2.0]))
    zeros = (p.sample((40_000,)) == 0).double().mean(0)
    torch.testing.assert_close(
        zeros, p.log_prob(torch.zeros(2)).exp().double(), atol=0.0125, rtol=0
    )


@pytest.mark.parametrize("logit", [-500.0, 500.0])
@pytest.mark.parametrize("x", [0.0, 4.0])
def test_an_extreme_logit_has_a_finite_density_and_gradient(logit, x):
    logits = torch.tensor(logit, requires_grad=True)
    base = NegativeBinomial(torch.tensor(1.0), torch.tensor(1.0))
    value = ZeroInflated(base, logits).log_prob(torch.tensor(x))
    assert value.isfinite()
    assert torch.autograd.grad(value, logits)[0].isfinite()


def test_logits_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"logits must have the base's shape \(2,\), got \(1,\)"):
        ZeroInflated(TorchPoisson(torch.ones(2)), torch.zeros(1))


# --- the heads


@pytest.mark.parametrize("head", [NegativeBinomialHead(), ZeroInflatedNegativeBinomial()])
def test_features_are_log_mean_log_dispersion_and_logit_in_this_order(head):
    features = torch.randn(4, head.features, 5).double()
    x = torch.randint(0, 9, (4, 5)).double()
    log_mean, log_theta, *logit = features.unbind(1)
    truth = scipys(log_mean.exp(), log_theta.exp()).pmf(x.numpy())
    if logit:
        dropped = torch.sigmoid(logit[0]).numpy()
        truth = (1 - dropped) * truth + dropped * (x.numpy() == 0)
    ours = distortion(x, head(features.flatten(1)))
    np.testing.assert_allclose(ours, -np.log(truth).sum(1), rtol=1e-9)


def test_a_library_size_enters_by_the_decoder():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.likelihood = nn.Linear(2, 2 * 6), NegativeBinomialHead()

        def forward(self, z, library):
            share, log_theta = self.linear(z).chunk(2, dim=1)
            log_mean = share.log_softmax(1) + library.log()
            return self.likelihood(torch.cat([log_mean, log_theta], 1))

    library = torch.tensor([[100.0], [4000.0]])
    likelihood = Decoder()(torch.randn(2, 2), library)
    torch.testing.assert_close(likelihood.mean.sum(1, keepdim=True), library)


@pytest.mark.parametrize("value", [-1.0, 0.5])
@pytest.mark.parametrize("head", [NegativeBinomialHead(), ZeroInflatedNegativeBinomial()])
def test_what_is_no_count_is_refused(head, value):
    x = torch.tensor([[0.0, value]])
    with pytest.raises(ValueError, match="x lies outside the support of"):
        distortion(x, head(torch.zeros(1, 2 * head.features)))
