"""The metrics of collapse on constructed encoders, against direct sums, in bf16 and by parts."""

import math

import pytest
import torch
from torch.distributions import Independent, Laplace, MultivariateNormal, Normal

from lightning_vae import DiagonalGaussian, Latent, StandardNormal, VAEModule, VAEOutput
from lightning_vae.distributions import StandardGaussian
from lightning_vae.divergences import kl
from lightning_vae.likelihoods import distortion
from lightning_vae.metrics import (
    ActiveUnits,
    ELBODecomposition,
    MarginalLikelihood,
    MutualInformation,
    RateSpectrum,
    ShuffledGap,
    VarianceSaturation,
    active_units,
    aggregate_posterior,
    log_aggregate,
    log_marginals,
)
from lightning_vae.metrics.marginal_likelihood import NUMBERS, passes
from lightning_vae.metrics.mutual_information import mutual_information
from lightning_vae.networks import LSTMDecoder, LSTMEncoder
from lightning_vae.objectives import decompose
from lightning_vae.objectives.densities import pairwise
from tests.metrics.linear import data, optimum


def output_of(*posteriors, x=None) -> VAEOutput:
    """What a pass yields with these posteriors, and a decoder that says nothing."""
    latents = []
    for q in posteriors:
        z = q.rsample()
        prior = StandardGaussian(z.shape[1:], like=z)
        latents.append(Latent(q, prior, z, kl(q, prior, z)))
    x = torch.zeros(len(latents[0].z), 4) if x is None else x
    return VAEOutput(x, Normal(x, 1.0), tuple(latents), torch.zeros(len(x)))


def healthy(n: int = 500, d: int = 4) -> DiagonalGaussian:
    return DiagonalGaussian(0.9 * torch.randn(n, d), torch.full((n, d), 0.19).log())


def collapsed(n: int = 500, d: int = 4) -> DiagonalGaussian:
    return DiagonalGaussian(torch.zeros(n, d), torch.zeros(n, d))


def value_of(metric, output, name=None, *args):
    metric.update(output, *args)
    value = metric.compute()
    return (value if name is None else value[name]).item()


def test_a_collapsed_encoder_has_nothing_and_a_healthy_one_all():
    dead, alive = output_of(collapsed()), output_of(healthy())
    assert value_of(ActiveUnits(), dead) == 0
    assert value_of(ActiveUnits(), alive) == 4
    assert value_of(RateSpectrum(), output_of(collapsed(d=1))) == 0
    for output, low, high in ((dead, -1e-6, 1e-6), (alive, 2.5, 3.4)):  # 4 halves of log 1/.19
        drawn = MutualInformation(entropy="drawn")
        assert low < value_of(drawn, output, "mutual_information") < high
    assert value_of(VarianceSaturation(), dead, "at_prior") == 1
    assert value_of(VarianceSaturation(), alive, "at_prior") == 0


def test_a_rate_held_at_a_floor_without_information_is_seen():
    """Free bits pay for a mean away from zero, the same for every x."""
    fake = output_of(DiagonalGaussian(torch.full((500, 4), 1.0), torch.zeros(500, 4)))
    assert value_of(ActiveUnits(of="rates"), fake) == 4
    assert value_of(ActiveUnits(), fake) == 0
    found = value_of(MutualInformation(entropy="drawn"), fake, "mutual_information")
    assert found == pytest.approx(0, abs=1e-5)


def test_a_variance_at_zero_is_that_of_an_autoencoder():
    narrow = DiagonalGaussian(torch.randn(100, 4), torch.full((100, 4), 1e-4).log())
    assert value_of(VarianceSaturation(), output_of(narrow), "at_zero") == 1


def test_the_threshold_is_on_the_unbiased_variance():
    means = torch.tensor([[0.0], [0.14142]])  # unbiased 0.01 - 1e-7, biased half of it
    assert not active_units(means)
    assert active_units(means * 1.001)


def test_a_large_mean_leaves_the_variance_its_digits():
    metric = ActiveUnits()
    torch.manual_seed(0)
    noise = torch.randn(10_000, 2) * torch.tensor([0.105, 0.095])
    for part in (1000 + noise).split(100):
        metric.update(output_of(DiagonalGaussian(part, torch.zeros_like(part))))
    assert metric.active().tolist() == [True, False]


def test_counts_stay_whole_and_sums_stay_exact_in_bfloat16():
    """A sum in bfloat16 stops growing at 256, and a mean keeps three digits."""
    torch.manual_seed(0)
    kinds = (ActiveUnits, RateSpectrum, VarianceSaturation, ELBODecomposition, MutualInformation)
    metrics, exact = ([make() for make in kinds] for _ in range(2))
    for metric in metrics:
        metric.to(torch.bfloat16)
    for _ in range(20):
        q = healthy(100)
        low = DiagonalGaussian(q.loc.bfloat16(), q.log_variance.bfloat16())
        out = output_of(low)
        wide = output_of(DiagonalGaussian(low.loc.float(), low.log_variance.float()))
        shared = Latent(
            wide.latents[0].posterior,
            wide.latents[0].prior,
            out.latents[0].z.float(),
            wide.latents[0].rate,
        )
        for metric, other in zip(metrics, exact, strict=True):
            metric.update(out)
            other.update(VAEOutput(wide.x, wide.likelihood, (shared,), wide.distortion))
        metrics[1].to(torch.bfloat16)  # in mid-stream
    for metric, other in zip(metrics, exact, strict=True):
        found, truth = metric.compute(), other.compute()
        if isinstance(found, dict):
            found, truth = (torch.stack(list(v.values())) for v in (found, truth))
        torch.testing.assert_close(found, truth, atol=2e-3, rtol=2e-3)
        for name in metric._defaults:
            states = getattr(metric, name)
            assert all(s.dtype in (torch.float32, torch.int64) for s in states), name


def decoded_draws(x, loc, noise) -> VAEOutput:
    """Of several draws, at the precision of what is given; a decoder that hands z on."""
    q = DiagonalGaussian(loc, torch.full_like(loc, -2.0))
    z = loc + noise * q.scale
    prior = StandardGaussian(loc.shape[1:], like=loc)
    likelihood = Normal(z.flatten(0, 1), 1.0)
    distortions = distortion(x.repeat(len(z), 1), likelihood).view(z.shape[:2])
    return VAEOutput(x, likelihood, (Latent(q, prior, z, kl(q, prior, z, 2)),), distortions)


def test_likelihoods_and_gaps_in_bfloat16_are_summed_exactly():
    found = {}
    for dtype in (torch.bfloat16, torch.float32):
        gap, likelihood = ShuffledGap(), MarginalLikelihood(samples=3)
        generator = torch.Generator().manual_seed(0)
        for _ in range(400):
            loc, *noise = torch.randn(4, 2, 4, generator=generator).bfloat16().to(dtype)
            output = decoded_draws(loc, loc, torch.stack(noise))
            gap.update(output, lambda z: Normal(z, 1.0))
            likelihood.update(output)
            for metric in (gap, likelihood):
                metric.to(dtype)  # as a module in mid-stream
        assert gap.total.dtype == likelihood.bounds[0].dtype == torch.float32
        assert gap.examples == 800
        found[dtype] = [gap.compute(), *likelihood.compute().values()]
    low, exact = (torch.stack(values) for values in found.values())
    assert exact[0] > 4
    # What 800 passes in three digits leave: a sum in bfloat16 would stop at 256.
    torch.testing.assert_close(low, exact, atol=2e-3, rtol=2e-3)


def test_parts_of_a_stream_merge_to_the_whole():
    q = DiagonalGaussian(torch.randn(300, 4) * torch.tensor([0.0, 0.09, 0.11, 1.0]), torch.zeros(4))
    rows = [q.loc[a:b] for a, b in ((0, 10), (10, 11), (11, 300))]
    whole, parts = ActiveUnits(), [ActiveUnits() for _ in rows]
    whole.update(output_of(DiagonalGaussian(q.loc, torch.zeros_like(q.loc))))
    for metric, loc in zip(parts, rows, strict=True):
        metric.update(output_of(DiagonalGaussian(loc, torch.zeros_like(loc))))
    first, *others = parts
    for other in others:
        first.merge_state(other)
    assert first.compute() == whole.compute() == int((q.loc.var(0) > 0.01).sum())


POSTERIORS = {
    "diagonal": lambda: healthy(200),
    "torch's normal": lambda: Normal(torch.randn(200, 4), 0.3),
    "independent": lambda: Independent(Normal(torch.randn(200, 4), torch.rand(200, 4) + 0.1), 1),
    "an image of latents": lambda: DiagonalGaussian(torch.randn(200, 2, 3, 3), -torch.ones(1)),
    "narrow": lambda: DiagonalGaussian(torch.randn(200, 4), torch.full((200, 4), -14.0)),
    "narrow, and close to others": lambda: DiagonalGaussian(
        torch.randn(200, 1).sign() * 3 + 1e-3 * torch.randn(200, 1), torch.full((200, 1), -14.0)
    ),
    "laplace": lambda: Laplace(torch.randn(200, 4), 0.3),
    "full covariance": lambda: MultivariateNormal(
        torch.randn(200, 4), torch.diag(torch.rand(4) + 0.1) + 0.05
    ),
}


@pytest.mark.parametrize("block", [1 << 10, 1 << 22])
@pytest.mark.parametrize("family", POSTERIORS)
def test_the_aggregate_is_the_direct_sum_in_blocks_of_any_size(family, block):
    q = POSTERIORS[family]()
    z = q.rsample()
    direct = q.log_prob(z.unsqueeze(1)).reshape(200, 200, -1).sum(2)
    direct = direct.logsumexp(1) - math.log(200)
    torch.testing.assert_close(log_aggregate([q], [z], block), direct, atol=2e-4, rtol=1e-5)
    if family != "full covariance":
        marginals = pairwise(q, z).logsumexp(1) - math.log(200)
        torch.testing.assert_close(log_marginals(q, z, block), marginals, atol=2e-4, rtol=1e-5)


def test_where_there_is_no_float64_its_own_term_is_exact_still(monkeypatch):
    monkeypatch.setattr(aggregate_posterior, "_product_dtype", lambda *_: torch.float32)
    q = POSTERIORS["narrow"]()
    z = q.rsample()
    own = q.log_prob(z).sum(1) - math.log(200)  # no other comes near
    torch.testing.assert_close(log_aggregate([q], [z]), own, atol=1e-5, rtol=1e-6)


def test_a_grid_gives_the_marginals_that_the_direct_sum_does():
    q = DiagonalGaussian(torch.randn(4000, 3), torch.rand(4000, 3) - 2)
    z = q.rsample()
    direct = DiagonalGaussian(q.loc.double(), q.log_variance.double())
    exact = pairwise(direct, z.double()).logsumexp(1) - math.log(4000)
    assert (log_marginals(q, z) - exact).abs().max() < 1e-4


def test_the_decomposition_is_that_of_a_batch_with_the_weights_of_a_data_set():
    output = output_of(healthy(100))
    metric = ELBODecomposition()
    metric.update(output)
    weights = torch.full((100, 100), -math.log(100))
    batch = decompose(output.latents[0], weights)
    found = metric.compute()
    for name, term in batch._asdict().items():
        torch.testing.assert_close(found[name], term.mean(), atol=1e-4, rtol=1e-4)


def test_several_groups_are_one_code():
    """Two groups of two latents know what one of four does; one of them half of it."""
    q = healthy(400)
    z = q.rsample()
    halves = [
        DiagonalGaussian(p, s)
        for p, s in zip(q.loc.split(2, 1), q.log_variance.split(2, 1), strict=True)
    ]
    whole = mutual_information([q], [z])
    both = mutual_information(halves, list(z.split(2, 1)))
    torch.testing.assert_close(both.mutual_information, whole.mutual_information)
    output = output_of(*halves)
    assert value_of(ActiveUnits(), output) == 4
    assert value_of(ActiveUnits(group=1), output) == 2
    assert len(output.latents) == 2
    metric = RateSpectrum(group=0)
    metric.update(output)
    assert metric.compute().shape == (2,)
    total, one = ELBODecomposition(), ELBODecomposition(group=0)
    total.update(output)
    one.update(output)
    assert total.compute()["mutual_information"] > one.compute()["mutual_information"] + 1


def test_the_estimate_is_bounded_by_log_n():
    q = DiagonalGaussian(torch.randn(50, 20) * 5, torch.full((50, 20), -6.0))
    found = mutual_information([q], [q.rsample()], entropy="drawn")
    assert found.mutual_information == pytest.approx(math.log(50))
    assert found.ceiling == pytest.approx(math.log(50))


def drawn_information(*posteriors):
    draws = [q.rsample() for q in posteriors]
    return mutual_information(posteriors, draws, entropy="drawn").mutual_information.item()


def test_information_at_the_draw_is_none_of_a_collapsed_batch_and_a_bit_of_two_apart():
    assert drawn_information(collapsed(64, 3)) == pytest.approx(0, abs=1e-5)
    apart = torch.tensor([[-9.0, 0.0], [9.0, 0.0]])
    halves = DiagonalGaussian(apart, torch.zeros(2, 2))
    assert drawn_information(halves) == pytest.approx(math.log(2))
    quarters = [
        DiagonalGaussian(loc, torch.zeros(4, 2))
        for loc in (apart.repeat(2, 1), apart.repeat_interleave(2, 0))
    ]
    assert drawn_information(*quarters) == pytest.approx(math.log(4))


def test_the_information_of_a_batch_is_the_linear_models_own():
    """z = x + e: I(x; z) = ½ log(1 + 1/s²), for x standard normal."""
    x = torch.randn(4000, 1)
    q = DiagonalGaussian(x, torch.full_like(x, math.log(0.25)))
    assert drawn_information(q) == pytest.approx(0.5 * math.log(1 + 4), abs=0.06)  # 4 errors


def test_the_decoder_that_ignores_z_has_no_gap():
    vae = VAEModule(prior=StandardNormal(4))
    vae.encode = lambda x: healthy(len(x))
    vae.decode = lambda z: Normal(torch.zeros(len(z), 4), 1.0)
    assert value_of(ShuffledGap(), vae(torch.randn(16, 4)), None, vae.decode) == 0


def test_outputs_of_several_draws_are_taken_too():
    vae = optimum(1.0)
    many, one = vae(data(1000), samples=3), vae(data(1000))
    for make in (ActiveUnits, RateSpectrum):
        found, expected = make(), make()
        found.update(many)
        expected.update(one)
        torch.testing.assert_close(found.compute(), expected.compute())
    assert value_of(VarianceSaturation(), many, "at_prior") == pytest.approx(0.4)
    found = value_of(ELBODecomposition(), many, "mutual_information")
    assert found == pytest.approx(value_of(ELBODecomposition(), one, "mutual_information"), abs=0.2)
    assert value_of(ShuffledGap(), many, None, vae.decode) > 5


def test_only_so_many_examples_are_kept():
    metric = MutualInformation(examples=150)
    for _ in range(3):
        metric.update(output_of(healthy(100)))
    assert metric.compute()["ceiling"] == pytest.approx(math.log(150))


def test_bits_per_dimension_are_those_of_the_conversion():
    vae, x = optimum(1.0), data(50)
    metric = MarginalLikelihood(samples=2, levels=256)
    metric.update(vae(x, samples=2))
    found = metric.compute()
    expected = found["nll"] / (5 * math.log(2)) + 8
    torch.testing.assert_close(found["bits_per_dimension"], expected)


def knowing_nothing(vocabulary: int) -> VAEModule:
    """Of sentences: every word is as likely, and the posterior is the prior."""
    decoder = LSTMDecoder(vocabulary, latent=2, embedding=4, hidden=4)
    vae = VAEModule(LSTMEncoder(vocabulary, latent=2, embedding=4, hidden=4), decoder)
    for linear in (vae.encoder.linear, vae.decoder.linear):
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    return vae


def test_the_perplexity_of_a_model_that_knows_nothing_is_the_vocabulary():
    metric, vae = MarginalLikelihood(samples=3), knowing_nothing(37)
    for x in (torch.tensor([[7, 8, 9, 2], [9, 2, 0, 0]]), torch.tensor([[5, 2]])):
        metric.update(passes(vae, x, 3))
    found = metric.compute()
    assert set(found) == {"nll", "standard_error", "perplexity"}
    assert found["perplexity"].item() == pytest.approx(37, rel=1e-4)
    assert found["nll"].item() == pytest.approx((4 + 2 + 2) / 3 * math.log(37), rel=1e-4)


def test_draws_of_sentences_are_decoded_as_the_vocabulary_lets_them():
    x = torch.tensor([[7, 8, 9, 2]] * 4)
    outputs = passes(knowing_nothing(50_000), x, 30)
    counts = [len(output.distortion) for output in outputs]
    at_once = NUMBERS // (16 * 50_000)
    assert counts == [1, at_once, at_once, 30 - 1 - 2 * at_once]


def test_mistakes_are_refused_by_name():
    with pytest.raises(ValueError, match=r"of must be 'means' or 'rates', got 'kl'"):
        ActiveUnits(of="kl")
    with pytest.raises(ValueError, match="entropy must be"):
        MutualInformation(entropy="closed")
    with pytest.raises(ValueError, match="examples must be a whole number of at least 2"):
        ELBODecomposition(examples=1)
    with pytest.raises(ValueError, match="zero must be above 0"):
        VarianceSaturation(zero=1.0)
    with (
        pytest.warns(UserWarning, match="before the ``update``"),
        pytest.raises(ValueError, match="no example has been given another's z"),
    ):
        ShuffledGap().compute()
    with pytest.raises(ValueError, match="group=2 of 1 groups"):
        RateSpectrum(group=2).update(output_of(healthy(4)))
    full = output_of(POSTERIORS["full covariance"]())
    with pytest.raises(ValueError, match=r"does not split.*of='means'"):
        ActiveUnits(of="rates").update(full)
    with pytest.raises(ValueError, match="no log-density for every latent"):
        value_of(ELBODecomposition(), full, "total_correlation")
    with pytest.raises(ValueError, match="50 draws an example for samples=500"):
        MarginalLikelihood(500).update(passes(optimum(), data(8), 50))
    with pytest.raises(ValueError, match="write vae\\(x, samples=50\\)"):
        MarginalLikelihood(1).update(optimum()(data(8)))
    with pytest.raises(ValueError, match="one example has no other"):
        ShuffledGap().update(optimum()(data(8)[:1]), optimum().decode)
    with pytest.raises(RuntimeError, match="has seen no example"):
        MutualInformation().collected()
