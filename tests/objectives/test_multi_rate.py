"""A β per example: its distribution, its way to encoder and decoder, and what it learns."""

import math
import re

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.utils.data import DataLoader

from lightning_vae import Anneal, Linear, StandardNormal, VAEModule
from lightning_vae.data.linear_gaussian import whitened
from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.likelihoods import Gaussian
from lightning_vae.objectives import ELBO, MultiRate, RateGate
from tests.objectives.outputs import latent, leaves, output


def test_beta_is_log_uniform_between_its_bounds():
    beta = MultiRate(0.01, 10.0).context(torch.zeros(5000, 3))["beta"]
    assert beta.shape == (5000,)
    assert stats.kstest(beta.numpy(), stats.loguniform(0.01, 10.0).cdf).pvalue > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_beta_has_the_data_s_precision_and_tokens_have_the_default(dtype):
    assert MultiRate().context(torch.zeros(4, 3, dtype=dtype))["beta"].dtype == dtype
    assert MultiRate().context(torch.zeros(4, 3).long())["beta"].dtype == torch.float32


def test_in_evaluation_beta_is_one():
    assert (MultiRate(2.0, 3.0).eval().context(torch.zeros(4, 3))["beta"] == 1).all()


@pytest.mark.parametrize(("lower", "upper"), [(0.5, None), (0.0, None), (0.5, 0.5)])
def test_one_bound_gives_every_example_the_schedule_s_value(lower, upper):
    beta = MultiRate(lower, upper).context(torch.zeros(4, 3))["beta"]
    torch.testing.assert_close(beta, torch.full((4,), lower))


def test_every_example_is_weighed_by_its_own_beta():
    loc, s, _ = leaves()
    beta = torch.linspace(0.1, 5, 8).double()
    terms = output(latent(loc, s), D=torch.rand(8).double(), context={"beta": beta})
    found = MultiRate()(terms)
    truth = (terms.distortion + beta * terms.rate).mean()
    torch.testing.assert_close(found["loss"], truth)
    torch.testing.assert_close(found["penalty"], terms.rate.mean().detach())


def test_with_one_beta_for_all_it_is_the_elbo_s_loss():
    loc, s, _ = leaves()
    objective = MultiRate(4.0, None)
    terms = output(latent(loc, s), context=objective.context(loc))
    torch.testing.assert_close(objective(terms)["loss"], ELBO(4.0)(terms)["loss"])


def test_draws_lead():
    loc, s, _ = (tensor.detach() for tensor in leaves())
    beta = torch.linspace(0.1, 5, 8).double()
    group = latent(loc, s, torch.randn(5, 8, 3).double())
    terms = output(group, D=torch.rand(5, 8).double(), context={"beta": beta})
    truth = (terms.distortion + beta * terms.rate).mean()
    torch.testing.assert_close(MultiRate()(terms)["loss"], truth)


@pytest.mark.parametrize(
    ("lower", "upper", "message"),
    [
        (0.0, 1.0, "lower=0.0 and upper=1.0 must be 0 < lower <= upper; write upper=None"),
        (2.0, 1.0, "lower=2.0 and upper=1.0 must be 0 < lower <= upper"),
        (-1.0, 1.0, "lower must be a finite number >= 0"),
        (1.0, math.inf, "upper must be a finite number >= 0, or None for none"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(lower, upper, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MultiRate(lower, upper)


def test_bounds_that_a_callback_sets_are_refused_at_the_next_batch():
    objective = MultiRate()
    objective.lower = 20.0
    with pytest.raises(ValueError, match=r"lower=20.0 and upper=10.0 must be"):
        objective.context(torch.zeros(4, 3))


def test_an_output_without_beta_is_refused():
    with pytest.raises(ValueError, match="context holds no beta; write vae"):
        MultiRate()(output(latent(torch.zeros(4, 2), torch.zeros(4, 2))))


@pytest.mark.parametrize("shape", [(8, 1), (1,), (), (4,)])
def test_a_beta_of_another_shape_is_refused_not_broadcast(shape):
    loc, s, _ = leaves()
    terms = output(latent(loc, s), context={"beta": torch.ones(shape).double()})
    with pytest.raises(ValueError, match=r"for 8 examples; give one an example, beta=torch.full"):
        MultiRate()(terms)


# --- the gate


def test_the_gate_standardises_log_beta():
    gate = RateGate(1, 0.01, 10.0).double()
    nn.init.ones_(gate.linear.weight)
    nn.init.zeros_(gate.linear.bias)
    beta = torch.tensor([0.01, math.sqrt(0.1), 10.0]).double()
    s = torch.logit(gate(torch.ones(3, 1).double(), beta)).flatten()
    torch.testing.assert_close(s, torch.tensor([-math.sqrt(3), 0, math.sqrt(3)]).double())


EIGENVALUES, NOISE = np.array([4.0, 2.0, 1.0, 0.5, 0.2]), 0.5
BETAS = [0.01, 0.5, 0.9, 1.5, 3.0, 7.0, 10.0]


def amplitudes(beta):
    """Of reverse water-filling: √(1 - θ/λ), where a direction is worth its rate."""
    return np.sqrt(np.maximum(0, 1 - beta * NOISE / EIGENVALUES))


def filling(gate):
    """The decoder's gate, set to what water-filling asks of each direction at any β."""
    nn.init.constant_(gate.linear.weight, gate.deviation)
    gate.linear.bias.data = gate.centre + torch.from_numpy(np.log(NOISE / EIGENVALUES))
    return gate.double()


def test_the_decoder_s_gate_is_the_amplitude_of_water_filling():
    gate = filling(RateGate(5, side="decoder"))
    found = gate(torch.ones(7, 5).double(), torch.tensor(BETAS).double())
    truth = np.stack([amplitudes(beta) for beta in BETAS])
    np.testing.assert_allclose(found.detach(), truth, atol=1e-3)
    assert (found[truth == 0] == 0).all(), "closed is closed"


@pytest.mark.parametrize("logit", [-1e4, -1e-9, 0.0, 1e-9, 50.0, 1e4])
def test_the_slope_of_a_closing_gate_is_finite(logit):
    gate = RateGate(3, side="decoder")
    nn.init.zeros_(gate.linear.weight)
    nn.init.constant_(gate.linear.bias, logit)
    h = torch.ones(2, 3, requires_grad=True)
    loss = gate(h, torch.tensor([0.1, 10.0])).sum()
    for gradient in torch.autograd.grad(loss, [h, *gate.parameters()]):
        assert gradient.isfinite().all()
        assert gradient.abs().max() <= 2 * 500


def test_a_decoder_s_gate_starts_open_at_every_beta():
    gate = RateGate(200, side="decoder")
    found = gate(torch.ones(7, 200), torch.tensor(BETAS))
    assert found.min() > 0.8


def test_the_gate_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="side must be 'encoder' or 'decoder', got 'both'"):
        RateGate(3, side="both")
    for bounds in ((0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, math.inf)):
        with pytest.raises(ValueError, match="lower and upper must be 0 < lower < upper, got"):
            RateGate(3, *bounds)
    for shape in ((1,), (4, 1), ()):
        with pytest.raises(ValueError, match="for 4 examples; give one an example"):
            RateGate(3)(torch.zeros(4, 3), torch.ones(shape))


# --- through the module


class Linears(VAEModule):
    """A linear encoder and decoder whose latents are gated by β."""

    def __init__(self, objective, d=5):
        super().__init__(objective=objective, optimizer=lambda p: torch.optim.Adam(p, 0.02))
        self.hidden, self.out = nn.Linear(d, 32), nn.Linear(32, 2 * d)
        self.gate, self.scale = RateGate(32), RateGate(d, side="decoder")
        self.decoding, self.head = nn.Linear(d, d), Gaussian(0.5**0.5)
        self.direct = nn.Linear(1, d)
        self.seen = []

    def encode(self, x, beta):
        self.seen.append(beta)
        loc, s = self.out(self.gate(self.hidden(x), beta)).chunk(2, 1)
        return DiagonalGaussian(loc, s + self.direct(beta.log().unsqueeze(1)))

    def decode(self, z, beta):
        return self.head(self.decoding(self.scale(z, beta)))


def test_beta_reaches_encoder_and_decoder_and_is_one_in_validation(fit_with):
    vae = Linears(MultiRate(2.0, 3.0))
    loader = DataLoader(torch.randn(16, 5), 8)
    annealing = Anneal("objective.upper", Linear(3, 6, over=4), unit="step")
    fit_with(max_epochs=2, callbacks=[annealing]).fit(vae, loader, loader)
    train = [beta for beta in vae.seen if not (beta == 1).all()]
    assert len(train) == len(vae.seen) / 2 == 4
    assert all(((beta >= 2) & (beta <= 6)).all() for beta in train)
    assert vae.objective.upper == 3 + 3 * 3 / 4
    x = torch.randn(3, 5)
    ones, fours = torch.ones(3), torch.full((3,), 4.0)
    torch.testing.assert_close(vae.embed(x), vae.embed(x, beta=ones))
    assert (vae.embed(x) != vae.embed(x, beta=fours)).all()
    assert vae.sample(3, beta=fours).shape == (3, 5)


def test_one_model_has_the_rates_of_many(fit_with):
    """On the linear-Gaussian model the rate at every β is known: reverse water-filling."""
    x = whitened(EIGENVALUES.tolist(), 2000)
    vae = Linears(MultiRate(0.4, 8.0))
    vae._lr_scheduler = lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 40)
    fit_with(max_epochs=40).fit(vae, DataLoader(x, 100, shuffle=True))
    for beta in (0.5, 1.0, 2.0, 4.0):
        truth = 0.5 * np.maximum(0, np.log(EIGENVALUES / (beta * NOISE))).sum()
        with torch.no_grad():
            rate = vae(x, beta=torch.full((2000,), beta)).rate.mean().item()
        assert rate == pytest.approx(truth, rel=0.12, abs=0.2)


class Filled(VAEModule):
    """The linear-Gaussian VAE at the optimum of every β, by gates on both of its sides."""

    def __init__(self):
        super().__init__(objective=MultiRate(), prior=StandardNormal(5))
        self.encoding, self.decoding = (filling(RateGate(5, side="decoder")) for _ in range(2))
        self.head = Gaussian(NOISE**0.5)
        self.double()

    def encode(self, x, beta):
        eigenvalues = torch.from_numpy(EIGENVALUES)
        share = (beta.unsqueeze(1) * NOISE / eigenvalues).clamp(max=1.0)
        return DiagonalGaussian(self.encoding(x / eigenvalues.sqrt(), beta), share.log())

    def decode(self, z, beta):
        return self.head(torch.from_numpy(np.sqrt(EIGENVALUES)) * self.decoding(z, beta))


@pytest.mark.parametrize("beta", BETAS)
def test_gates_on_both_sides_are_the_optimum_at_any_beta_that_is_asked_for(beta):
    x = whitened(EIGENVALUES.tolist(), 2000).double()
    vae, asked = Filled(), torch.full((2000,), beta).double()
    with torch.no_grad():
        found = vae(x, samples=200, beta=asked)
        assert vae.reconstruct(x, beta=asked).shape == x.shape
    rate = 0.5 * np.maximum(0, np.log(EIGENVALUES / (beta * NOISE))).sum()
    assert found.rate.mean().item() == pytest.approx(rate, abs=0.01)
    error = np.minimum(EIGENVALUES, beta * NOISE).sum()
    distortion = error / (2 * NOISE) + 2.5 * math.log(2 * math.pi * NOISE)
    assert found.distortion.mean().item() == pytest.approx(distortion, abs=0.02)


def test_a_beta_beyond_the_bounds_has_the_gate_of_the_nearer_one():
    for side in ("encoder", "decoder"):
        gate, h = RateGate(3, 0.1, 10.0, side=side), torch.ones(2, 3)
        beyond, bounds = gate(h, torch.tensor([0.0, 99.0])), gate(h, torch.tensor([0.1, 10.0]))
        torch.testing.assert_close(beyond, bounds)
        beyond.sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in gate.parameters())
