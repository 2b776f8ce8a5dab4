"""What is wrong in other packages: each formula, written anew here, misses a truth that ours meets.

Tested beside the objective that they belong to:

- the stratified matrix of rtqichen, disvae, pythae and PyTorch-VAE, disvae's weights counted once a
  dimension, the constants that disentanglement_lib leaves out: test_total_correlation.py
- PyTorch-VAE's importance weights of the wrong sign and its one divergence for all draws:
  test_importance.py; its discrepancy of another scale: test_mmd.py; its covariance that is a sum of
  squares: test_dip.py
- disvae's discriminator loss that trains the encoder: test_factor.py
- pythae's capacity of every example: tests/test_objectives.py
- PyTorch-VAE's counter of steps that validation moves and a resume forgets, scvi-tools' two clocks:
  tests/callbacks/test_annealing.py
"""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.utils.data import DataLoader

from lightning_vae import Exponential, Linear, VAEModule
from lightning_vae.conversions import beta_from_normalised
from lightning_vae.data.linear_gaussian import whitened
from lightning_vae.distributions import DiagonalGaussian
from lightning_vae.likelihoods import Gaussian, Laplace, distortion
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.objectives import ELBO, RateGate, TotalCorrelation, importance_bound
from lightning_vae.priors import VampPrior
from tests.objectives.outputs import latent, leaves, output

# --- scales: what β of the ELBO a loss trains at

PIXELS, LATENTS, M_N = 3 * 64 * 64, 128, 0.00025


def pytorch_vae(x, mean, rate, weight=M_N):
    """The squared error averaged over pixels, a weight "of the minibatch" on the summed rate."""
    return (x - mean).square().mean() + weight * rate.sum(1).mean()


def bolts(x, mean, rate):
    """Both averaged over all there is, and the rate times 0.1."""
    return (x - mean).square().mean() + 0.1 * rate.mean()


def disent(x, mean, rate):
    """Both averaged, and the β of the configuration."""
    return (x - mean).square().mean() + 0.003 * rate.mean()


def trained_at(loss, pixels, latents):
    """β, by the gradients to rate and to distortion under a variance of one."""
    x, mean = torch.rand(4, pixels).double(), torch.rand(4, pixels).double().requires_grad_()
    rate = torch.rand(4, latents).double().requires_grad_()
    to_mean, to_rate = torch.autograd.grad(loss(x, mean, rate), [mean, rate])
    D = distortion(x, Gaussian()(mean)).mean()
    share = to_mean / torch.autograd.grad(D, mean)[0]
    assert share.std() < 1e-9 * share.mean(), "one factor for all pixels"
    return (4 * to_rate.mean() / share.mean()).item()


def ours(x, mean, rate):
    D = distortion(x, Gaussian()(mean))
    return ELBO()(output(latent_of(rate), D=D))["loss"]


def latent_of(rate):
    group = latent(torch.zeros_like(rate), torch.zeros_like(rate))
    return type(group)(group.posterior, group.prior, group.z, rate)


@pytest.mark.parametrize(
    ("loss", "pixels", "latents", "beta"),
    [
        (pytorch_vae, PIXELS, LATENTS, 1.536),
        (lambda *terms: pytorch_vae(*terms, weight=1.0), PIXELS, LATENTS, 6144),  # in validation
        (bolts, 3 * 32 * 32, 256, 0.6),
        (disent, PIXELS, 9, 2.048),
        (ours, PIXELS, LATENTS, 1.0),
    ],
    ids=["PyTorch-VAE", "PyTorch-VAE in validation", "bolts", "disent", "ours"],
)
def test_losses_of_means_train_at_another_beta(loss, pixels, latents, beta):
    assert trained_at(loss, pixels, latents) == pytest.approx(beta, rel=1e-6)
    if loss in (bolts, disent):
        weight = 0.1 if loss is bolts else 0.003
        # Half, as their squared error has no ½.
        assert beta_from_normalised(weight / 2, latents, pixels) == pytest.approx(beta)


def test_a_checkpoint_chosen_by_their_validation_loss_is_the_worse():
    """PyTorch-VAE trains at one weight and validates at 4000 times it."""
    sharp, collapsed = {"error": 40.0, "rate": 30.0}, {"error": 900.0, "rate": 0.1}
    elbos, theirs = [], []
    for model in (sharp, collapsed):
        mean = torch.full((1, PIXELS), (model["error"] / PIXELS) ** 0.5)
        x, rate = torch.zeros(1, PIXELS), torch.full((1, 1), model["rate"])
        elbos.append(-ours(x, mean, rate).item())
        theirs.append(pytorch_vae(x, mean, rate, weight=1.0).item())
    assert elbos[0] > elbos[1] + 100
    assert theirs[0] > theirs[1]


def test_their_scale_of_the_capacity_is_another():
    """The paper's γ on a rate times M_N, beside a mean over pixels."""
    gamma = 1000

    def loss(x, mean, rate):
        return (x - mean).square().mean() + gamma * M_N * (rate.sum(1).mean() - 25).abs()

    assert abs(trained_at(loss, PIXELS, LATENTS)) == pytest.approx(1536)

    def ours(x, mean, rate):
        D = distortion(x, Gaussian()(mean))
        return ELBO(beta=gamma, capacity=25.0)(output(latent_of(rate), D=D))["loss"]

    assert abs(trained_at(ours, PIXELS, LATENTS)) == pytest.approx(gamma)


def test_a_mean_of_batch_means_is_not_the_mean(fit_with):
    """pythae averages batches, of which the last is shorter."""
    x = torch.cat([torch.zeros(6, 4), torch.ones(1, 4)])

    class Certain(VAEModule):
        def encode(self, x):
            return DiagonalGaussian(torch.zeros(len(x), 2), torch.zeros(len(x), 2))

        def decode(self, z):
            return Gaussian()(torch.zeros(len(z), 4))

    each = distortion(x, Gaussian()(torch.zeros(7, 4)))
    theirs = torch.stack([batch.mean() for batch in each.split(3)]).mean()
    found = fit_with().validate(Certain(), DataLoader(x, 3), verbose=False)[0]
    assert found["val/elbo"] == pytest.approx(-each.mean().item())
    assert -theirs.item() != pytest.approx(-each.mean().item(), rel=0.02)


def test_their_rate_is_negative_in_the_log():
    """PyTorch-VAE logs minus what it adds."""
    loc, s, _ = (tensor.detach() for tensor in leaves())
    theirs = 0.5 * (1 + s - loc.square() - s.exp()).sum(1).mean()
    rate = ELBO()(output(latent(loc, s)))["rate"]
    torch.testing.assert_close(rate, -theirs)
    assert rate > 0 > theirs


# --- densities: exp(-loss) of one pixel has to integrate to one


def disvae_gaussian(x, mean):
    return (255 * x - 255 * mean) ** 2 / 255


def disvae_laplace(x, mean):
    loss = 3 * abs(x - mean)
    return loss * (loss != 0)


def pythae_normal(x, mean):
    return 0.5 * (x - mean) ** 2


def head(likelihood):
    def loss(x, mean):
        pixel, at = (torch.tensor([[value]], dtype=torch.float64) for value in (x, mean))
        return distortion(pixel, likelihood(at)).item()

    return loss


@pytest.mark.parametrize(
    ("theirs", "mass", "same"),
    [
        (disvae_gaussian, math.sqrt(math.pi / 255), Gaussian((1 / 510) ** 0.5)),
        (disvae_laplace, 2 / 3, Laplace(1 / 3)),
        (pythae_normal, math.sqrt(2 * math.pi), Gaussian()),
    ],
    ids=["disvae's Gaussian", "disvae's Laplace", "pythae's normal"],
)
def test_likelihoods_without_their_constant_are_no_densities(theirs, mass, same):
    def integral(loss):
        density = lambda x: math.exp(-loss(x, 0.3))
        return integrate.quad(density, -12, 12, points=[0.3, 0.2, 0.4], limit=300)[0]

    assert integral(theirs) == pytest.approx(mass, rel=1e-6)
    assert integral(head(same)) == pytest.approx(1.0, rel=1e-6)
    # The same but for that constant, which no choice of β undoes.
    gap = [head(same)(x, 0.3) - theirs(x, 0.3) for x in (0.0, 0.25, 0.9)]
    np.testing.assert_allclose(gap, math.log(mass), rtol=1e-6)


@pytest.mark.parametrize("log_variance", [-2.0, 1.0])
def test_the_vampprior_of_pytorch_vae_is_no_density(log_variance):
    """Its variance divides the log-variance too."""

    def theirs(z):
        exponent = -0.5 * (log_variance + z**2) / math.exp(log_variance)
        return math.exp(exponent) / math.sqrt(2 * math.pi)

    class Encoder(torch.nn.Module):
        def forward(self, x):
            return DiagonalGaussian(torch.zeros(len(x), 1), torch.full((len(x), 1), log_variance))

    prior = VampPrior(torch.rand(3, 2), Encoder())()

    def ours(z):
        return prior.log_prob(torch.tensor([z])).exp().item()

    assert integrate.quad(ours, -30, 30, points=[0.0])[0] == pytest.approx(1, rel=1e-5)
    mass = integrate.quad(theirs, -30, 30, points=[0.0])[0]
    truth = math.exp(0.5 * log_variance * (1 - math.exp(-log_variance)))
    assert mass == pytest.approx(truth, rel=1e-6)
    assert abs(mass - 1) > 0.3


# --- importance weights


def test_weights_that_carry_gradients_are_those_of_another_bound():
    """PyTorch-VAE does not detach them: its gradient is not that of the bound."""
    log_w = torch.tensor([[-3.0], [-1.0], [-2.5]]).double().requires_grad_()
    attached = (log_w.softmax(0) * log_w).sum()
    theirs = torch.autograd.grad(attached, log_w)[0]
    ours = torch.autograd.grad(importance_bound(log_w).sum(), log_w)[0]
    bound = lambda w: math.log(np.mean(np.exp(w)))
    at, h = log_w.detach().numpy().ravel(), 1e-6
    truth = [(bound(at + h * e) - bound(at - h * e)) / (2 * h) for e in np.eye(3)]
    np.testing.assert_allclose(ours.ravel(), truth, atol=1e-8)
    assert (theirs.ravel() - torch.tensor(truth)).abs().max() > 0.1


def test_noise_by_the_log_variance_is_not_the_noise():
    """PyTorch-VAE finds ε = (z - μ) / log σ² for its weights."""
    s = torch.full((20_000, 1), 2.0)
    q = DiagonalGaussian(torch.ones_like(s), s)
    z = q.rsample()
    theirs = (z - q.loc) / s
    assert stats.kstest(((z - q.loc) / q.scale).ravel(), "norm").pvalue > 1e-3
    assert theirs.var().item() == pytest.approx(math.exp(2) / 4, rel=0.05)


# --- the total correlation


def test_the_size_of_the_data_is_not_the_batch_over_a_weight():
    """PyTorch-VAE: N = B / M_N. Of posteriors that do not meet, the information is log N."""
    loc, far = torch.arange(8.0)[:, None] * 100, torch.full((8, 1), -2.0)
    terms = output(latent(loc, far))
    ours, theirs = (
        TotalCorrelation(size=size, beta=1.0)(terms)["mutual_information"].item()
        for size in (8, round(8 / M_N))
    )
    assert ours == pytest.approx(math.log(8), rel=1e-5)
    assert theirs == pytest.approx(math.log(8 / M_N), rel=1e-5)


def test_weights_once_a_dimension_make_the_total_correlation_negative():
    """disvae's, on data whose total correlation is zero."""
    eigenvalues, noise = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.2]), 0.5
    x, share = whitened(eigenvalues.tolist(), 1000), (noise / eigenvalues).clamp(max=1)
    loc, s = x * ((1 - share) / eigenvalues).sqrt(), share.log().expand(1000, 5)
    group = latent(loc, s)
    ours = TotalCorrelation(size=1000)(output(group))["total_correlation"].item()
    W = torch.full((1000, 1000), 1 / 999)
    W.view(-1)[::1000] = 1 / 1000
    log_q = stats.norm.logpdf(group.z[:, None], loc[None], (0.5 * s).exp()[None])
    weighted = torch.from_numpy(log_q) + W.log().unsqueeze(2)
    theirs = (weighted.sum(2).logsumexp(1) - weighted.logsumexp(1).sum(1)).mean().item()
    assert ours == pytest.approx(0, abs=0.1)
    assert theirs == pytest.approx(-4 * math.log(999), abs=0.1)


# --- schedules of theirs


def test_a_capacity_is_reached_when_it_is_said_to_be():
    """pythae: C · min(epoch / (warmup + 1), 1)."""
    theirs = 25 * min(10 / (10 + 1), 1)
    assert Linear(0, 25, over=10)(10) == 25
    assert theirs == pytest.approx(22.727, abs=1e-3)


def test_a_temperature_does_not_depend_on_how_steps_make_epochs():
    """PyTorch-VAE counts batches within the epoch: four epochs of 100 are not one of 400."""

    def theirs(epochs, batches):
        temperature = 1.0
        for _ in range(epochs):
            for batch_idx in range(batches):
                if batch_idx % 100 == 0:
                    temperature = max(math.exp(-0.003 * batch_idx), 0.1)
        return temperature

    assert theirs(4, 100) == 1.0
    assert theirs(1, 400) == pytest.approx(math.exp(-0.9))
    ours = Exponential(1.0, math.exp(-0.9), over=300)
    assert ours(300) == pytest.approx(math.exp(-0.9))


def test_a_ramp_may_fall():
    """disvae asserts that the end is above the start."""
    assert [Linear(4, 1, over=3)(t) for t in range(5)] == [4, 3, 2, 1, 1]


def test_an_embedding_is_not_a_draw():
    """pythae's embed draws: two calls disagree."""
    vae, x = VAEModule(MLPEncoder((4,), 2), MLPDecoder((4,), 2)), torch.rand(5, 4)
    assert torch.equal(vae.embed(x), vae.embed(x))
    torch.testing.assert_close(vae.embed(x), vae.encode(x).mean)
    theirs = [vae.encode(x).rsample() for _ in range(2)]
    assert not torch.equal(*theirs)


# --- the multi-rate VAE's own code


def test_their_gate_has_no_finite_slope_where_it_closes():
    """A root of what is cut off at zero, of an exponential that may be infinite."""
    for logit, slope in ((100.0, math.nan), (-1e-7, 1000)):
        bias = torch.tensor([logit], requires_grad=True)
        theirs = torch.sqrt(torch.relu(1 - torch.exp(bias))).sum()
        found = torch.autograd.grad(theirs, bias)[0].item()
        assert math.isnan(found) if math.isnan(slope) else abs(found) > slope
        gate = RateGate(1, side="decoder")
        torch.nn.init.zeros_(gate.linear.weight)
        torch.nn.init.constant_(gate.linear.bias, logit)
        loss = gate(torch.ones(1, 1), torch.ones(1)).sum()
        assert abs(torch.autograd.grad(loss, gate.linear.bias)[0].item()) <= 500
