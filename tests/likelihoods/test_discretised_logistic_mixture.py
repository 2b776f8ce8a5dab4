"""The discretised logistic mixture: every digit of every level, and all of them sum to one."""

import itertools

import mpmath
import numpy as np
import pytest
import torch
from scipy import special, stats

from lightning_vae.conversions import bits_per_dimension
from lightning_vae.distributions.discretised_logistic_mixture import DiscretisedLogisticMixture
from lightning_vae.likelihoods import DiscretisedLogisticMixture as Head
from lightning_vae.likelihoods import distortion

LEVELS = torch.arange(256).double()[:, None, None] / 255


def one(loc, log_scale, dtype=torch.float64):
    """One component, one element."""
    parameters = torch.tensor([loc, log_scale], dtype=dtype).view(2, 1, 1, 1, 1)
    return DiscretisedLogisticMixture(torch.zeros(1, 1, 1, dtype=dtype), *parameters)


def exact(level, loc, log_scale):
    """log-mass with as many digits as the smallest needs, e^-2700."""
    with mpmath.workdps(1300):

        def cdf(x):
            return 1 / (1 + mpmath.exp(-(x - mpmath.mpf(loc)) / mpmath.exp(log_scale)))

        x, half = mpmath.mpf(level) * 2 / 255 - 1, mpmath.mpf(1) / 255
        low = 0 if level == 0 else cdf(x - half)
        above = 1 - low if level == 255 else cdf(x + half) - low
        return float(mpmath.log(above))


@pytest.mark.parametrize("log_scale", [-6.5, -3.0, 0.0, 5.0, 30.0, 60.0])
@pytest.mark.parametrize("loc", [-3.0, -1.0, 0.1, 0.9])
@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
def test_the_mass_of_a_level_has_its_digits_at_every_scale(level, loc, log_scale):
    truth = exact(level, loc, log_scale)
    for dtype, digits in ((torch.float64, 1e-9), (torch.float32, 2e-4)):
        x = torch.full((1, 1), level / 255, dtype=dtype)
        ours = one(loc, log_scale, dtype).log_prob(x).item()
        assert ours == pytest.approx(truth, rel=digits, abs=digits)


def random(colours, mixtures=3, groups=1, pixels=(), batch=1):
    shape = (batch, groups, colours, *pixels, mixtures)
    pairs = (batch, groups, colours * (colours - 1) // 2, *pixels, mixtures)
    logits = torch.randn(batch, groups, *pixels, mixtures).double()
    loc, log_scale = torch.randn(2, *shape).double()
    return logits, 0.5 * loc, log_scale - 2, torch.randn(pairs).double().tanh()


def test_a_channel_alone_is_scipys_mixture_of_logistics():
    logits, loc, log_scale, _ = random(1, groups=2, pixels=(3,), batch=4)
    x = torch.randint(0, 256, (4, 2, 3)).double() / 255
    ours = DiscretisedLogisticMixture(logits, loc, log_scale).log_prob(x)
    level, half = 2 * x.numpy()[..., None] - 1, 1 / 255
    truth = stats.logistic(loc[:, :, 0].numpy(), log_scale[:, :, 0].exp().numpy())
    high = np.where(level > 0.999, 1, truth.cdf(level + half))
    low = np.where(level < -0.999, 0, truth.cdf(level - half))
    share = special.softmax(logits.numpy(), -1)
    np.testing.assert_allclose(ours, np.log((share * (high - low)).sum(-1)), rtol=1e-8)


@pytest.mark.parametrize("log_scale", [-6.9, -2.0, 3.0])
@pytest.mark.parametrize("loc", [-1.5, 0.0, 0.998])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_levels_sum_to_one(loc, log_scale, dtype):
    total = one(loc, log_scale, dtype).log_prob(LEVELS.to(dtype)).exp().sum().item()
    assert total == pytest.approx(1, abs=2e-5 if dtype == torch.float32 else 1e-11)


def colours_of(levels, count):
    grid = itertools.product(range(levels), repeat=count)
    return torch.tensor(list(grid)).double() / (levels - 1)


def test_the_colours_sum_to_one_and_each_is_given_those_before():
    p = DiscretisedLogisticMixture(*random(3), levels=6)
    x = colours_of(6, 3)
    conditional = p.log_prob(x[:, None])[:, 0]  # with a leading dimension of samples
    joint = conditional.sum(1).exp()
    assert joint.sum().item() == pytest.approx(1, abs=1e-12)
    first, second = x[:, 0] == 0.4, x[:, 1] == 0.8
    of_first, of_both = joint[first].sum(), joint[first & second].sum()
    at = conditional[first & second]
    torch.testing.assert_close(at[:, 0].exp(), of_first.expand(6))
    torch.testing.assert_close(at[:, 1].exp(), (of_both / of_first).expand(6))


def test_the_joint_mass_of_the_colours_is_the_sum_over_components():
    logits, loc, log_scale, pairs = random(3, mixtures=2)
    p = DiscretisedLogisticMixture(logits, loc, log_scale, pairs)
    x = torch.tensor([[10.0, 200.0, 77.0]]).double() / 255
    red, green, blue = (2 * x[0] - 1).tolist()
    total = 0
    for k in range(2):
        (m_red, m_green, m_blue), (a, b, c) = loc[0, 0, :, k].tolist(), pairs[0, 0, :, k].tolist()
        means = [m_red, m_green + a * red, m_blue + b * red + c * green]
        mass = logits[0, 0].softmax(-1)[k].item()
        for value, mean, scale in zip(
            (red, green, blue), means, log_scale[0, 0, :, k], strict=True
        ):
            truth = stats.logistic(mean, scale.exp().item())
            mass *= truth.cdf(value + 1 / 255) - truth.cdf(value - 1 / 255)
        total += mass
    assert p.log_prob(x).sum().item() == pytest.approx(np.log(total), rel=1e-9)


def test_the_mean_of_a_channel_is_exact():
    p = DiscretisedLogisticMixture(*random(1))
    truth = (LEVELS * p.log_prob(LEVELS).exp()).sum(0)
    torch.testing.assert_close(p.mean, truth)


def test_the_mean_of_colours_is_near_but_for_the_edges():
    logits, loc, _, pairs = random(3)
    p = DiscretisedLogisticMixture(
        logits, 0.2 * loc, torch.full_like(loc, -3.5), 0.3 * pairs, levels=32
    )
    x = colours_of(32, 3)
    truth = (x * p.log_prob(x[:, None])[:, 0].sum(1, keepdim=True).exp()).sum(0)
    torch.testing.assert_close(p.mean[0, 0], truth[0])
    torch.testing.assert_close(p.mean[0], truth, atol=2e-3, rtol=0)


def test_draws_have_the_masses_of_their_levels():
    p = DiscretisedLogisticMixture(*random(3), levels=4)
    draws = p.sample((40_000,))[:, 0]
    x = colours_of(4, 3)
    seen = torch.stack([(draws - each).abs().lt(1e-9).all(1).double().mean() for each in x])
    truth = p.log_prob(x[:, None])[:, 0].sum(1).exp()
    assert seen.sum() == 1
    assert ((seen - truth).abs() < 5 * (truth / 40_000).sqrt() + 1e-4).all()


def test_gradients_are_those_of_finite_differences():
    parameters = [p.requires_grad_() for p in random(3, mixtures=2)]
    for x in ([0.0, 1.0, 0.4], [1.0, 0.0, 0.0]):
        x = (torch.tensor([x]).double() * 255).round() / 255
        assert torch.autograd.gradcheck(
            lambda *p, x=x: DiscretisedLogisticMixture(*p).log_prob(x), parameters
        )


@pytest.mark.parametrize("loc", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("log_scale", [-7.0, 0.0, 200.0])
@pytest.mark.parametrize("level", [0, 100, 255])
def test_extremes_have_finite_masses_and_gradients(level, loc, log_scale):
    parameters = torch.tensor([loc, log_scale], requires_grad=True)
    p = DiscretisedLogisticMixture(torch.zeros(1, 1, 1), *parameters.view(2, 1, 1, 1, 1))
    value = p.log_prob(torch.full((1, 1), level / 255))
    assert value.isfinite().all()
    assert torch.autograd.grad(value.sum(), parameters)[0].isfinite().all()


# --- the head


def test_features_are_logits_means_scales_and_coefficients_in_this_order():
    features = torch.randn(2, 10 * 3, 4, 4).double()
    of_ten = features.view(2, 10, 3, 4, 4)  # [B, n, K, H, W]
    p = Head(mixtures=3, colours=3, floor=1e-12)(features)
    torch.testing.assert_close(p.logits[:, 0].movedim(-1, 1), of_ten[:, 0])
    torch.testing.assert_close(p.loc[:, 0].movedim(-1, 2), of_ten[:, 1:4])
    torch.testing.assert_close(p.log_scale[:, 0].movedim(-1, 2), of_ten[:, 4:7])
    torch.testing.assert_close(p.coefficients[:, 0].movedim(-1, 2), of_ten[:, 7:].tanh())
    assert p.batch_shape == (2, 3, 4, 4)


def test_channels_alone_are_each_their_own():
    features = torch.randn(2, 3 * 5 * 2, 4).double()
    both = Head(mixtures=5)(features)
    x = torch.randint(0, 256, (2, 2, 4)).double() / 255
    apart = features.view(2, 15, 2, 4)
    for channel in range(2):
        alone = Head(mixtures=5)(apart[:, :, channel])
        torch.testing.assert_close(
            both.log_prob(x)[:, channel], alone.log_prob(x[:, channel : channel + 1])[:, 0]
        )


def test_a_scale_stays_above_its_floor():
    p = Head(mixtures=2, floor=0.01)(torch.full((1, 6), -50.0))
    assert (p.log_scale.exp() >= 0.0099).all()


def test_an_untrained_head_costs_about_the_eight_bits_of_a_level():
    x = torch.randint(0, 256, (1, 1, 16, 16)) / 255
    nats = distortion(x, Head(mixtures=2)(torch.zeros(1, 6, 16, 16)))
    assert 7 < bits_per_dimension(nats, 256).item() < 10


def test_features_that_are_no_whole_number_a_colour_are_refused():
    assert Head(mixtures=9, colours=3).features == 30
    with pytest.raises(ValueError, match=r"10 mixtures of 3 colours have 100 features"):
        Head(mixtures=10, colours=3).features  # noqa: B018


@pytest.mark.parametrize("value", [0.5, 1.1, -1 / 255])
def test_what_is_no_level_is_refused(value):
    x = torch.tensor([[0.0, value]])
    with pytest.raises(ValueError, match="the multiples of 1/255 from 0 to 1"):
        distortion(x, Head()(torch.zeros(1, 60)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_every_level_is_one_in_every_precision_that_holds_them(dtype):
    x = LEVELS[..., 0].to(dtype)
    assert distortion(x, Head()(torch.zeros(256, 30))).isfinite().all()


def test_levels_that_bfloat16_has_rounded_away_are_refused():
    x = LEVELS[..., 0].bfloat16()
    with pytest.raises(ValueError, match="x lies outside the support"):
        distortion(x, Head()(torch.zeros(256, 30)))


@pytest.mark.parametrize("name", ["log_scale", "logits", "coefficients"])
def test_shapes_that_do_not_fit_are_refused(name):
    shapes = dict(zip(("logits", "loc", "log_scale", "coefficients"), random(3), strict=True))
    shapes[name] = shapes[name][..., :1]
    with pytest.raises(ValueError, match=f"{name} must have shape"):
        DiscretisedLogisticMixture(**shapes)


@pytest.mark.parametrize("name", ["mixtures", "colours", "levels", "floor"])
def test_bad_arguments_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be"):
        Head(**{name: 0})
