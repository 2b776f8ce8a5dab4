"""The rate: its shape, its value, and that nothing is broadcast in silence."""

import numpy as np
import pytest
import torch
from scipy import integrate, spatial, stats
from torch.autograd import gradcheck
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    StudentT,
    kl_divergence,
)

from lightning_vae.distributions import (
    DiagonalGaussian,
    RelaxedCategorical,
    StableGaussian,
    StandardGaussian,
    Uniform,
    VonMisesFisher,
)
from lightning_vae.divergences import centre, jensen_shannon, kl
from lightning_vae.priors import StandardNormal
from tests.references import probability as oracles
from tests.references import recorded

B, d = 4, 3
LOC = torch.linspace(-2, 2, B * d, dtype=torch.float64).view(B, d)
LOG_VARIANCE = torch.linspace(-3, 1, B * d, dtype=torch.float64).view(B, d)
RATE = oracles.normal_kl(LOC.numpy(), LOG_VARIANCE.numpy())


def standard(*shape):
    return StandardGaussian(shape, like=LOC)


def close(ours, truth):
    np.testing.assert_allclose(ours.detach().numpy(), truth, rtol=1e-9, atol=1e-9)


# --- closed forms


@pytest.mark.parametrize("prior", [standard(d), standard(B, d), Independent(standard(d), 1)])
@pytest.mark.parametrize("wrap", [lambda q: q, lambda q: Independent(q, 1)])
def test_a_factorised_posterior_has_a_rate_for_every_latent(prior, wrap):
    q = wrap(DiagonalGaussian(LOC, LOG_VARIANCE))
    close(kl(q, prior, q.rsample()), RATE)


@pytest.mark.parametrize("factors", [(), (3,), (2, 3), (2, 3, 4)])
def test_independent_is_unwrapped_on_both_sides_at_any_depth(factors):
    q = DiagonalGaussian(torch.ones(B, *factors), torch.zeros(B, *factors))
    for _ in factors:
        q = Independent(q, 1)
    rate = kl(q, StandardNormal(factors)(), q.rsample())
    assert torch.equal(rate, torch.full((B, *factors), 0.5))


def test_draws_lead_and_share_a_closed_form():
    q = DiagonalGaussian(LOC, LOG_VARIANCE)
    for prior in (standard(d), standard(B, d)):
        close(kl(q, prior, q.rsample((5,))), np.broadcast_to(RATE, (5, B, d)))


def covariances():
    factor = torch.randn(B, d, 2, dtype=torch.float64)
    return factor, torch.rand(B, d, dtype=torch.float64) + 0.5


def gaussian_kl(m, S, n, T):
    """KL(N(m, S) ‖ N(n, T)), by the textbook."""
    inverse = np.linalg.inv(T)
    logs = np.linalg.slogdet(T)[1] - np.linalg.slogdet(S)[1]
    return 0.5 * (np.trace(inverse @ S) + (n - m) @ inverse @ (n - m) - len(m) + logs)


@pytest.mark.parametrize("draws", [(), (5,)])
@pytest.mark.parametrize("low_rank", [True, False])
def test_a_full_covariance_has_one_rate_an_example(low_rank, draws):
    factor, diagonal = covariances()
    covariance = factor @ factor.mT + torch.diag_embed(diagonal)
    prior = MultivariateNormal(LOC[0], covariance[0])
    if low_rank:
        q = LowRankMultivariateNormal(LOC, factor, diagonal)
    else:
        q = MultivariateNormal(LOC, covariance)
    ours = kl(q, prior, q.rsample(draws))
    example = [
        gaussian_kl(m, S, LOC[0].numpy(), covariance[0].numpy())
        for m, S in zip(LOC.numpy(), covariance.numpy(), strict=True)
    ]
    close(ours, np.broadcast_to(np.reshape(example, (B, 1)), (*draws, B, 1)))


def test_dimensions_that_do_not_split_are_summed():
    q = MultivariateNormal(torch.zeros(B, 2, d), torch.eye(d))
    p = MultivariateNormal(torch.ones(2, d), torch.eye(d))
    assert torch.equal(kl(q, p, q.rsample()), torch.full((B, 1), d * 2 / 2))


def test_a_posterior_over_draws_meets_a_prior_over_the_same():
    q = DiagonalGaussian(LOC.expand(5, B, d), LOG_VARIANCE.expand(5, B, d))
    close(kl(q, standard(5, B, d), q.rsample(), 2), np.broadcast_to(RATE, (5, B, d)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_rate_of_a_low_precision_posterior_has_the_digits_of_float32(dtype):
    loc, log_variance = LOC.to(dtype), (LOG_VARIANCE + 11).to(dtype)
    q = DiagonalGaussian(loc, log_variance)
    truth = oracles.normal_kl(loc.double().numpy(), log_variance.double().numpy())
    rate = kl(q, StandardGaussian((d,), like=loc), q.rsample())
    np.testing.assert_allclose(rate.numpy(), truth, rtol=1e-6)


@pytest.mark.parametrize("draws", [(), (5,)])
@pytest.mark.parametrize("low_rank", [True, False])
@pytest.mark.parametrize("p", ["standard", "standard normal", "diagonal", "torch"])
def test_a_full_covariance_against_a_factorised_prior(p, low_rank, draws):
    factor, diagonal = covariances()
    covariance = factor @ factor.mT + torch.diag_embed(diagonal)
    made = {
        "standard": standard(d),
        "standard normal": StandardNormal(d).double()(),
        "diagonal": DiagonalGaussian(LOC[0], LOG_VARIANCE[0]),
        "torch": Normal(LOC[0], LOG_VARIANCE[0].exp()),
    }[p]
    n, T = made.mean.numpy(), np.diag(made.variance.numpy())
    if low_rank:
        q = LowRankMultivariateNormal(LOC, factor, diagonal)
    else:
        q = MultivariateNormal(LOC, covariance)
    example = [
        gaussian_kl(m, S, n, T) for m, S in zip(LOC.numpy(), covariance.numpy(), strict=True)
    ]
    ours = kl(q, made, q.rsample(draws))
    close(ours, np.broadcast_to(np.reshape(example, (B, 1)), (*draws, B, 1)))


def test_full_covariance_gradients_and_zero():
    loc, tril = LOC[0].clone().requires_grad_(), torch.eye(d).double().requires_grad_()
    s = LOG_VARIANCE[0].clone().requires_grad_()
    assert gradcheck(
        lambda m, L, s: kl_divergence(
            MultivariateNormal(m, scale_tril=L, validate_args=False), DiagonalGaussian(-m, s)
        ),
        [loc, tril, s],
    )
    q = MultivariateNormal(LOC, torch.diag_embed(LOG_VARIANCE.exp()))
    zero = kl_divergence(q, DiagonalGaussian(LOC, LOG_VARIANCE))
    close(zero, np.zeros(B))


# --- Monte Carlo, where no closed form is registered


class Logistic:
    """A distribution with nothing but rsample and log_prob."""

    def __init__(self, elementwise):
        self.elementwise = elementwise

    def rsample(self, sample_shape=()):
        u = torch.rand(*sample_shape, B, d, dtype=torch.float64)
        return torch.logit(u)

    def log_prob(self, z):
        terms = -z - 2 * torch.nn.functional.softplus(-z)
        return terms if self.elementwise else terms.sum(-1)


class StatelessLogistic(Logistic, Distribution):
    """The same as a Distribution that states no shapes."""

    def __init__(self, elementwise):
        Logistic.__init__(self, elementwise)
        Distribution.__init__(self, validate_args=False)


def mixture():
    components = Independent(Normal(torch.zeros(2, d, dtype=torch.float64), 1.0), 1)
    return MixtureSameFamily(torch.distributions.Categorical(torch.ones(2).double()), components)


# What it is, the distribution, whether its log_prob splits, and its likeness in scipy.
UNREGISTERED = [
    ("logistic", Logistic(True), True, stats.logistic()),
    ("summed logistic", Logistic(False), False, stats.logistic()),
    ("shapeless Distribution", StatelessLogistic(True), True, stats.logistic()),
    ("summed shapeless Distribution", StatelessLogistic(False), False, stats.logistic()),
    ("Student's t", StudentT(5 * torch.ones(B, d).double()), True, stats.t(5)),
    (
        "Independent Student's t",
        Independent(StudentT(5 * torch.ones(B, d).double()), 1),
        True,
        stats.t(5),
    ),
]
PRIORS = [
    ("standard", standard(d), True),
    ("standard normal", Independent(standard(d), 1), True),
    ("whole batch", standard(B, d), True),
    ("mixture", mixture(), False),
    ("full covariance", MultivariateNormal(torch.zeros(d).double(), torch.eye(d).double()), False),
]


@pytest.mark.parametrize(("p", "p_splits"), [p[1:] for p in PRIORS], ids=[p[0] for p in PRIORS])
@pytest.mark.parametrize(
    ("q", "q_splits", "likeness"), [q[1:] for q in UNREGISTERED], ids=[q[0] for q in UNREGISTERED]
)
def test_an_unregistered_pair_takes_log_q_minus_log_p_at_the_draw(
    q, q_splits, likeness, p, p_splits
):
    z = q.rsample()
    difference = likeness.logpdf(z) - stats.norm.logpdf(z)
    if not (q_splits and p_splits):
        difference = difference.sum(1, keepdims=True)
    close(kl(q, p, z), difference)


@pytest.mark.parametrize(("p", "splits"), [p[1:] for p in PRIORS], ids=[p[0] for p in PRIORS])
def test_every_draw_has_its_own_monte_carlo_rate(p, splits):
    q = StudentT(5 * torch.ones(B, d).double())
    z = q.rsample((6,))
    difference = stats.t(5).logpdf(z) - stats.norm.logpdf(z)
    close(kl(q, p, z), difference if splits else difference.sum(2, keepdims=True))


def test_the_monte_carlo_rate_is_the_divergence_on_average():
    truth = oracles.quadrature_kl(stats.logistic(), stats.norm(0, 1))
    rate = kl(q := Logistic(True), standard(d), q.rsample((10_000,))[:, 0])
    assert rate.mean().item() == pytest.approx(truth, abs=4 * rate.std().item() / 30_000**0.5)


def test_the_monte_carlo_rate_carries_gradients():
    loc = LOC.clone().requires_grad_()
    q = StudentT(5.0, loc, torch.ones_like(loc))
    z = q.rsample()
    gradient = torch.autograd.grad(kl(q, standard(d), z).sum(), loc)[0]
    # log q(z) does not move with loc when z does; -log p(z) moves by z.
    close(gradient, z.detach())


# --- mismatches


@pytest.mark.parametrize(
    "shape", [(), (1,), (B,), (d + 1,), (B, 1), (1, d), (B + 1, d), (2, B, d), (d, B), (1, 1)]
)
@pytest.mark.parametrize(
    "family", [lambda shape: standard(*shape), lambda s: StudentT(torch.ones(s))]
)
@pytest.mark.parametrize("draws", [(), (2,)])
def test_a_prior_of_another_shape_is_refused(shape, family, draws):
    q = DiagonalGaussian(LOC, LOG_VARIANCE)
    with pytest.raises(ValueError, match=r"prior has shape .* write prior=StandardNormal\(3\)"):
        kl(q, family(shape), q.rsample(draws))


def test_a_batch_of_one_does_not_widen_to_its_prior():
    q = DiagonalGaussian(LOC[:1], LOG_VARIANCE[:1])
    for prior in (standard(7, d), StudentT(torch.ones(7, d))):
        with pytest.raises(ValueError, match=r"prior has shape \(7, 3\)"):
            kl(q, prior, q.rsample())


@pytest.mark.parametrize("q_batch", [1, B + 1])
@pytest.mark.parametrize("family", [DiagonalGaussian, StudentT])
def test_a_draw_of_another_posterior_is_refused(q_batch, family):
    q = family(torch.ones(q_batch, d), torch.ones(q_batch, d))
    for shape in ((B, d), (q_batch, 1), (d,), (5, B, d)):
        with pytest.raises(ValueError, match=r"z has shape .* write z = q.rsample\(\)"):
            kl(q, StandardGaussian((d,)), torch.zeros(shape))


def test_the_remedy_names_an_image_of_latents_in_full():
    q = DiagonalGaussian(torch.zeros(B, 2, 5, 5), torch.zeros(B, 2, 5, 5))
    with pytest.raises(ValueError, match=r"write prior=StandardNormal\(\(2, 5, 5\)\)"):
        kl(q, StandardNormal(50)(), q.rsample())


def test_full_covariances_of_different_sizes_are_refused():
    q = MultivariateNormal(torch.zeros(B, d), torch.eye(d))
    with pytest.raises(ValueError, match="prior has shape"):
        kl(q, MultivariateNormal(torch.zeros(2), torch.eye(2)), q.rsample())


def test_kl_is_torchs_own_where_torch_has_one():
    q = torch.distributions.Gamma(LOC.abs() + 1, LOC.abs() + 0.5)
    p = torch.distributions.Gamma(torch.ones(d).double(), torch.ones(d).double())
    assert torch.equal(kl(q, p, q.rsample()), kl_divergence(q, p))


# --- between posteriors, and on part of a latent


def test_any_two_posteriors_have_a_divergence():
    q, p = DiagonalGaussian(LOC, LOG_VARIANCE), DiagonalGaussian(LOC.flip(0), LOG_VARIANCE.flip(1))
    truth = oracles.normal_kl(*(t.numpy() for t in (q.loc, q.log_variance, p.loc, p.log_variance)))
    close(kl(q, p, q.rsample()), truth)
    close(kl(Independent(q, 1), Independent(p, 1), q.rsample((2,))), np.stack([truth, truth]))


def test_part_of_a_latent_has_that_part_of_the_rate():
    q = DiagonalGaussian(LOC, LOG_VARIANCE)
    part = DiagonalGaussian(LOC[:, :2], LOG_VARIANCE[:, :2])
    z = q.rsample()
    close(kl(q, standard(d), z)[:, :2], RATE[:, :2])
    close(kl(part, standard(2), z[:, :2]), RATE[:, :2])


@pytest.mark.parametrize("case", recorded("careamics", "kl-metrics"))
def test_recorded_rates_by_sample_channel_place_and_centre(case):
    case = recorded("careamics")[case]
    given = {key: torch.tensor(x, dtype=torch.float64) for key, x in case["inputs"].items()}
    q, p = (StableGaussian(given[f"{k}_mu"], given[f"{k}_raw_logvar"]) for k in "qp")
    z, analytic = given["z"], case["params"]["analytical_kl"]
    rate = kl(q, p, z) if analytic else q.log_prob(z) - p.log_prob(z)
    ours = {
        "kl_elementwise": rate,
        "kl_samplewise": rate.sum((1, 2, 3)),
        "kl_channelwise": rate.sum((2, 3)),
        "kl_spatial": rate.sum(1),
        "kl_samplewise_restricted": centre(rate, case["params"]["vanilla_latent_hw"]).sum(
            (1, 2, 3)
        ),
    }
    for name, value in case["outputs"].items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [0, -1, 4])
def test_a_centre_that_does_not_fit_is_refused(size):
    with pytest.raises(ValueError, match="size must be from 1 to 3 for 3x5"):
        centre(torch.zeros(2, 3, 5), size)


# --- Jensen-Shannon


def quadrature_js(q, p):
    def half(a, b, x):
        return a.pdf(x) * (a.logpdf(x) - np.logaddexp(a.logpdf(x), b.logpdf(x)) + np.log(2))

    x = np.linspace(-60, 60, 400_001)
    return integrate.simpson(0.5 * (half(q, p, x) + half(p, q, x)), x=x)


@pytest.mark.parametrize("loc", [0.0, 1.0, 30.0])
def test_jensen_shannon_is_the_integral_on_average(loc):
    q, p = Normal(torch.tensor(loc).double(), 1.0), Normal(torch.tensor(0.0).double(), 2.0)
    estimates = jensen_shannon(q.expand((200,)), p, samples=100)
    assert estimates.shape == (200,)
    error = 4 * estimates.std().item() / 200**0.5 + 1e-9
    truth = quadrature_js(stats.norm(loc, 1), stats.norm(0, 2))
    assert estimates.mean().item() == pytest.approx(truth, abs=error)


def test_jensen_shannon_is_symmetric_and_bounded():
    q, p = DiagonalGaussian(LOC, LOG_VARIANCE), DiagonalGaussian(LOC + 50, LOG_VARIANCE)
    assert torch.equal(jensen_shannon(q, q, 3), torch.zeros(B, d).double())
    close(jensen_shannon(q, p, 3), np.full((B, d), np.log(2)))
    close(jensen_shannon(p, q, 3), np.full((B, d), np.log(2)))
    outside = Uniform(torch.tensor([5.0, -0.5]).double(), torch.tensor([6.0, 0.5]).double())
    close(jensen_shannon(outside, Uniform(-0.5, 0.5), 3), [np.log(2), 0])


def test_jensen_shannon_of_an_event_is_not_the_sum_over_its_elements():
    q, p = Independent(Normal(LOC, 0.1), 1), Independent(Normal(LOC + 9, 0.1), 1)
    close(jensen_shannon(q, p, 2), np.full(B, np.log(2)))
    close(jensen_shannon(q.base_dist, p.base_dist, 2), np.full((B, d), np.log(2)))


@pytest.mark.parametrize("kind", [Categorical, OneHotCategorical, RelaxedCategorical])
def test_jensen_shannon_of_categories_is_exact(kind):
    q, p = (kind(logits=x) for x in (LOC, LOG_VARIANCE))
    truth = spatial.distance.jensenshannon(q.probs.numpy(), p.probs.numpy(), axis=1) ** 2
    close(jensen_shannon(q, p), truth)
    logits = LOC.clone().requires_grad_()
    assert gradcheck(lambda x: jensen_shannon(kind(logits=x), p), logits)


@pytest.mark.parametrize("shape", [(1,), (B, 1), (1, d), (d, B), (2, B, d)])
def test_jensen_shannon_broadcasts_nothing(shape):
    q, p = Normal(torch.zeros(B, d), 1.0), Normal(torch.zeros(shape), 1.0)
    with pytest.raises(ValueError, match=r"q and p have batch shapes \(4, 3\) and"):
        jensen_shannon(q, p)
    assert jensen_shannon(q, Normal(torch.zeros(d), 1.0)).shape == (B, d)


def test_jensen_shannon_where_a_category_is_impossible():
    q = Categorical(logits=torch.tensor([0.0, -torch.inf, -torch.inf]))
    p = Categorical(logits=torch.tensor([0.0, 0.0, -torch.inf]))
    truth = spatial.distance.jensenshannon([1, 0, 0], [0.5, 0.5, 0]) ** 2
    assert jensen_shannon(q, p).item() == pytest.approx(truth, rel=1e-6)


def test_jensen_shannon_carries_gradients():
    loc = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    one, two = (Normal(loc.expand(4000), 1.0), Normal(torch.zeros(()).double(), 1.0))
    ours = torch.autograd.grad(jensen_shannon(one, two, 20).mean(), loc)[0]
    step = [quadrature_js(stats.norm(0.5 + h, 1), stats.norm()) for h in (1e-3, -1e-3)]
    assert ours.item() == pytest.approx((step[0] - step[1]) / 2e-3, rel=0.05)


def test_jensen_shannon_refuses_other_events_and_no_draws():
    q, p = Normal(LOC, 1.0), Independent(Normal(LOC, 1.0), 1)
    with pytest.raises(ValueError, match="wrap both in Independent, or neither"):
        jensen_shannon(q, p)
    with pytest.raises(ValueError, match="samples must be a whole number of at least 1, got 0"):
        jensen_shannon(q, q, samples=0)


def test_probabilities_and_densities_have_no_ratio():
    q, p = RelaxedCategorical(torch.zeros(4, 3)), StandardGaussian((3,))
    for divergence in (
        lambda: kl(q, p, q.rsample()),
        lambda: kl(q, Independent(p, 1), q.rsample()),
    ):
        with pytest.raises(
            ValueError, match=r"are not both over classes; .*=priors.UniformCategorical"
        ):
            divergence()
    with pytest.raises(ValueError, match="are not both over classes"):
        jensen_shannon(q, Independent(Normal(torch.zeros(4, 3), 1.0), 1))
    sphere = VonMisesFisher(torch.eye(3), torch.full((3,), 5.0))
    with pytest.raises(ValueError, match="are not both over directions"):
        jensen_shannon(sphere, Independent(Normal(torch.zeros(3, 3), 1.0), 1))


def test_jensen_shannon_has_a_gradient_where_a_category_is_impossible_to_both():
    logits = torch.tensor([0.0, 1.0, -torch.inf], dtype=torch.float64)
    p = Categorical(logits=torch.tensor([1.0, 0.0, -torch.inf], dtype=torch.float64))
    leaf = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(jensen_shannon(Categorical(logits=leaf), p), leaf)
    possible = logits[:2].clone().requires_grad_()
    without = jensen_shannon(Categorical(logits=possible), Categorical(logits=p.logits[:2]))
    (truth,) = torch.autograd.grad(without, possible)
    close(gradient[:2], truth.numpy())


def test_jensen_shannon_says_what_it_cannot_estimate_by():
    q = Independent(Bernoulli(torch.full((2, 3), 0.5)), 1)
    with pytest.raises(TypeError, match="Independent has no rsample"):
        jensen_shannon(q, q)
    with pytest.raises(ValueError, match=r"samples must be a whole number of at least 1, got 1\.5"):
        jensen_shannon(Normal(0.0, 1.0), Normal(0.0, 1.0), samples=1.5)
