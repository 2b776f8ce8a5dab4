"""CollapseMonitor: what it says of known latents, what it does, and that it changes nothing else."""

import math
import re
import warnings

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.distributions import MultivariateNormal, Normal
from torch.utils.data import DataLoader

from lightning_vae import (
    ELBO,
    Anneal,
    BetaAnnealing,
    CapacityAnnealing,
    Constant,
    CyclicalAnnealing,
    DiagonalGaussian,
    FreeBitsAnnealing,
    Latent,
    Linear,
    Piecewise,
    StandardNormal,
    VAEModule,
    VAEOutput,
)
from lightning_vae.callbacks import (
    GECO,
    REWO,
    CollapseMonitor,
    LowerBeta,
    MinimumRate,
    Plateau,
    RaiseFloor,
    RateController,
    RestartCycle,
    SoftFreeBits,
)
from lightning_vae.callbacks.measures import Measures
from lightning_vae.callbacks.verdict import verdict
from lightning_vae.distributions import StandardGaussian
from lightning_vae.divergences import kl
from lightning_vae.metrics import ActiveUnits, ELBODecomposition, ShuffledGap
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.objectives import ImportanceWeighted
from tests.metrics.linear import data, optimum

KEYS = {
    "active_units",
    "mutual_information",
    "total_correlation",
    "dimension_wise_kl",
    "shuffled_gap",
    "variance_at_prior",
    "variance_at_zero",
}


class Known(VAEModule):
    """Latents of a width and a spread that are given, and a decoder that uses a share of them."""

    def __init__(self, spread=0.9, width=0.44, uses=1.0, latents=4, objective=None) -> None:
        super().__init__(prior=StandardNormal(latents), objective=objective)
        self.spread, self.width, self.uses = spread, width, uses
        self.weight = nn.Parameter(torch.ones(()))

    def encode(self, x):
        spread = torch.as_tensor(self.spread) * self.weight
        return DiagonalGaussian(x * spread, torch.full_like(x, 2 * math.log(self.width)))

    def decode(self, z):
        return Normal(self.uses * z, 1.0)


class Dead(Known):
    def __init__(self, objective=None) -> None:
        super().__init__(spread=0.0, width=1.0, objective=objective)


class Held(Known):
    """Means away from zero, the same for every x but for a little: half a nat a latent."""

    def __init__(self) -> None:
        super().__init__(spread=0.2, width=0.95)

    def encode(self, x):
        q = super().encode(x)
        return DiagonalGaussian(q.loc + 1, q.log_variance)


def loader(n: int = 256, d: int = 4, size: int = 64) -> DataLoader:
    return DataLoader(torch.randn(n, d, generator=torch.Generator().manual_seed(3)), size)


def said(fit_with, vae, **kwargs) -> CollapseMonitor:
    monitor = CollapseMonitor(**kwargs)
    fit_with(callbacks=[monitor]).validate(vae, loader(), verbose=False)
    return monitor


# ---- the verdict ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vae", "kind", "word"),
    [
        (Known(), "healthy", "nothing to change"),
        (Dead(), "collapsed", "lower beta"),
        (Known(uses=0.0), "collapsed", "another example's z"),
        (Held(), "collapsed", "as under a floor"),
        (Known(spread=[0.9, 0.9, 0.0, 0.0]), "partly dead", "2 of 4 latents"),
        (Known(spread=1.0, width=0.01), "unregularised", "raise beta"),
        (Known(spread=30.0, width=0.5), "unregularised", "raise beta"),
    ],
    ids=["healthy", "dead", "unused", "held", "partly", "narrow", "far"],
)
def test_known_latents_get_the_verdict_they_deserve(fit_with, vae, kind, word):
    monitor = said(fit_with, vae)
    assert monitor.verdict.kind == kind
    assert word in monitor.verdict.advice
    assert len(re.findall(r"\.(?: |$)", monitor.verdict.advice)) == 1, "one sentence"


def test_a_rate_held_by_a_floor_without_information_is_collapsed():
    held = Measures(latents=4, active_units=4, rate=2.0, mutual_information=0.01)
    assert verdict(held).kind == "collapsed"
    assert "floor" in verdict(held).advice


@pytest.mark.parametrize("information", [0.06, 0.3, 0.49])
def test_a_rate_of_which_next_to_nothing_is_information_is_collapsed(information):
    """Half a nat of free bits a latent: 16 nats, paid whether or not they say anything."""
    held = Measures(32, 32, 16.0, mutual_information=information, ceiling=math.log(10_000))
    assert verdict(held).kind == "collapsed"
    assert "per='total'" in verdict(held).advice
    assert f"{information:.2g} of information" in verdict(held).advice


def test_a_rate_of_which_little_is_information_is_not_healthy_but_no_alarm():
    held = Measures(32, 32, 16.0, mutual_information=3.0, ceiling=math.log(10_000))
    assert verdict(held).kind == "partly dead"
    assert "3 of the 16 nats" in verdict(held).advice


@pytest.mark.parametrize(
    ("rate", "information", "examples"),
    [
        (2.5, 2.2, 10_000),  # He et al.'s on OMNIGLOT
        (3.8, 2.2, 10_000),  # and on Yahoo
        (25.0, math.log(10_000), 10_000),  # all that so many examples can show
        (200.0, 4.9, 256),  # nearly that, and no weight on the rate
        (1.3, 0.69, 10_000),  # two clusters have no more to say
        (0.3, 0.2, 10_000),  # a small rate is a small rate
    ],
)
def test_a_rate_that_is_mostly_information_is_healthy(rate, information, examples):
    said = verdict(Measures(4, 4, rate, (), information, math.log(examples)))
    assert said.kind == "healthy", said


def test_posteriors_without_a_width_are_unregularised_whatever_little_there_is_to_know():
    """A rare label under no weight at all: 0.2 nats is everything."""
    narrow = Measures(4, 4, 200.0, (), 0.2, math.log(10_000), variance_at_zero=1.0)
    assert verdict(narrow).kind == "unregularised"


def test_what_is_not_known_says_nothing():
    assert verdict(Measures(latents=4, active_units=4, rate=2.0)).kind == "healthy"


def test_a_healthy_set_too_small_to_show_it_says_so():
    near = Measures(4, 4, 20.0, mutual_information=math.log(100), ceiling=math.log(100))
    assert "so few examples" in verdict(near).advice


# ---- what is measured ------------------------------------------------------------------------------------


def test_what_is_logged_is_what_the_metrics_find(fit_with):
    vae, monitor = optimum(1.5), CollapseMonitor(samples=20)
    trainer = fit_with(callbacks=[monitor])
    logged = trainer.validate(vae, DataLoader(data(2000), 500), verbose=False)[0]
    assert {f"val/{key}" for key in KEYS | {"nll", "bits_per_dimension"}} <= set(logged)
    active, parts, gap = ActiveUnits(), ELBODecomposition(), ShuffledGap()
    for i, x in enumerate(data(2000).split(500)):
        with torch.random.fork_rng():
            torch.manual_seed(i)
            output = vae(x)
        active.update(output)
        parts.update(output)
        gap.update(output, vae.decode)
    assert logged["val/active_units"] == active.compute() == 3
    for name in ("mutual_information", "total_correlation", "dimension_wise_kl"):
        assert logged[f"val/{name}"] == pytest.approx(parts.compute()[name].item(), abs=1e-5)
    assert logged["val/shuffled_gap"] == pytest.approx(gap.compute().item(), rel=1e-5)
    assert logged["val/nll"] == pytest.approx(vae.nll(data(2000)).mean().item(), abs=0.05)
    assert monitor.measures.rate == pytest.approx(vae.true_rate, abs=1e-3)
    assert list(monitor.measures.spectrum) == sorted(monitor.measures.spectrum, reverse=True)
    assert monitor.measures.ceiling == pytest.approx(math.log(2000))


def test_a_test_is_measured_under_its_own_keys(fit_with):
    trainer = fit_with(callbacks=[CollapseMonitor()])
    logged = trainer.test(Known(), loader(), verbose=False)[0]
    assert {f"test/{key}" for key in KEYS} <= set(logged)


def test_only_the_first_validation_set_is_measured(fit_with):
    both, one = CollapseMonitor(), CollapseMonitor()
    fit_with(callbacks=[both]).validate(Known(), [loader(), loader(64)], verbose=False)
    fit_with(callbacks=[one]).validate(Known(), loader(), verbose=False)
    assert both.measures == one.measures


def test_a_table_is_printed_on_demand(fit_with, capsys):
    monitor = CollapseMonitor()
    with pytest.raises(RuntimeError, match="validate first"):
        monitor.show()
    fit_with(callbacks=[monitor]).validate(Known(), loader(), verbose=False)
    capsys.readouterr()
    monitor.show()
    out = capsys.readouterr().out
    assert "4 of 4" in out
    assert "mutual information" in out
    assert "healthy: 4 of 4 latents are active" in out
    said(fit_with, Known(), table=True)
    assert "shuffled gap" in capsys.readouterr().out


def test_several_draws_and_their_objective_are_measured_too(fit_with):
    monitor = said(fit_with, Known(objective=ImportanceWeighted(samples=5)))
    assert monitor.verdict.kind == "healthy"
    assert monitor.measures.active_units == 4


class TwoSpaces(Known):
    def __init__(self) -> None:
        super().__init__()
        self.prior = None

    def encode(self, x):
        q = super().encode(x)
        return tuple(
            DiagonalGaussian(loc, s)
            for loc, s in zip(q.loc.split(2, 1), q.log_variance.split(2, 1), strict=True)
        )

    def decode(self, z):
        return super().decode(torch.cat(z, 1))


def test_several_latent_spaces_are_one_code(fit_with):
    one, two = said(fit_with, Known()).measures, said(fit_with, TwoSpaces()).measures
    assert (two.latents, two.active_units) == (4, 4)
    assert two.mutual_information == pytest.approx(one.mutual_information, abs=0.3)


class Ladder(Known):
    """z₂ from x, z₁ from z₂: its prior moves with z₂, and its posterior adds nothing."""

    def infer(self, x, samples=None, **context):
        top = super().encode(x[:, :2])
        z = top.rsample()
        below = DiagonalGaussian(z, torch.full_like(z, -1.0))
        prior = StandardGaussian((2,), like=z)
        u = below.rsample()
        return (
            Latent(top, prior, z, kl(top, prior, z)),
            Latent(below, below, u, kl(below, below, u)),
        )

    def decode(self, z):
        return super().decode(torch.cat(z, 1))


def test_a_hierarchy_is_judged_by_its_rates(fit_with):
    monitor = said(fit_with, Ladder())
    assert monitor.measures.active_units == 2, "the means of the lower group move, but with z₂"
    assert monitor.measures.mutual_information is None
    assert monitor.verdict.kind == "partly dead"


class Full(Known):
    def encode(self, x):
        q = super().encode(x)
        return MultivariateNormal(q.loc, torch.diag_embed(q.variance))


def test_a_posterior_that_does_not_split_has_its_mutual_information(fit_with):
    full, split = said(fit_with, Full()).measures, said(fit_with, Known()).measures
    assert full.mutual_information == pytest.approx(split.mutual_information, abs=0.2)
    assert full.total_correlation is None
    assert (full.active_units, full.latents) == (4, 4)


class Unnamed(Known):
    """A posterior of only a draw and a density, which is enough to train."""

    class Posterior(torch.distributions.Distribution):
        arg_constraints = {}  # noqa: RUF012

        def __init__(self, q):
            self.q = q
            super().__init__(q.batch_shape, validate_args=False)

        def rsample(self, shape=()):
            return self.q.rsample(shape)

        def log_prob(self, z):
            return self.q.log_prob(z)

    def encode(self, x):
        return self.Posterior(super().encode(x))


def test_what_a_posterior_cannot_tell_is_left_out_and_said_once(fit_with):
    with pytest.warns(UserWarning, match="leaves .* out") as record:
        monitor = said(fit_with, Unnamed())
    reasons = [str(w.message) for w in record if "leaves" in str(w.message)]
    assert len(reasons) == 3
    assert monitor.measures.mutual_information is None
    assert monitor.measures.active_units == 4, "by their rates"
    assert monitor.measures.shuffled_gap > 1


def test_batches_of_one_example_have_no_gap_and_say_so_once(fit_with):
    monitor = CollapseMonitor()
    trainer = fit_with(callbacks=[monitor])
    with pytest.warns(UserWarning, match="leaves ShuffledGap out: every batch held one") as record:
        logged = [trainer.validate(Known(), loader(6, size=1), verbose=False) for _ in range(2)]
    assert sum("leaves" in str(w.message) for w in record) == 1
    assert not any("before the ``update``" in str(w.message) for w in record)
    assert "val/mutual_information" in logged[1][0]
    assert "val/shuffled_gap" not in logged[1][0]
    assert monitor.measures.shuffled_gap is None
    trainer.validate(Known(), loader(7, size=3), verbose=False)
    assert monitor.measures.shuffled_gap > 0, "the last batch alone has none"


def test_bfloat16_is_measured_in_float32(fit_with):
    torch.manual_seed(0)
    logged = {}
    for precision in ("32-true", "bf16-true", "bf16-mixed"):
        trainer = fit_with(callbacks=[CollapseMonitor()], precision=precision)
        x = data(2000).to(torch.bfloat16 if precision == "bf16-true" else torch.float32)
        batches = DataLoader(x, 500)
        logged[precision] = trainer.validate(optimum(1.5), batches, verbose=False)[0]
    for precision in ("bf16-true", "bf16-mixed"):
        for key in KEYS:
            assert logged[precision][f"val/{key}"] == pytest.approx(
                logged["32-true"][f"val/{key}"], rel=0.03, abs=0.03
            ), key


# ---- someone else's module -----------------------------------------------------------------------------


class Foreign(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.vae, self.kl_weight = Known(), 1.0

    def training_step(self, batch, batch_idx):
        output = self.vae(batch)
        return (output.distortion + self.kl_weight * output.rate).mean()

    def validation_step(self, batch, batch_idx) -> VAEOutput:
        return self.vae(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Unsaid(Foreign):
    def validation_step(self, batch, batch_idx):
        return self.vae(batch)


class Lying(Foreign):
    def validation_step(self, batch, batch_idx) -> VAEOutput:
        return self.vae(batch).elbo.mean()


def test_someone_elses_module_is_measured_by_the_output_it_returns(fit_with):
    monitor = CollapseMonitor()
    anneal = Anneal("kl_weight", Constant(0.0, over=1) >> Linear(0, 1, over=1))
    trainer = fit_with(callbacks=[monitor, anneal], max_epochs=2)
    trainer.fit(Foreign(), loader(), loader())
    assert monitor.measures.active_units == 4
    assert monitor.measures.shuffled_gap is None, "it has no decode"
    assert trainer.callback_metrics["val/active_units"] == 4


def test_a_module_that_does_not_say_what_it_returns_is_refused(fit_with):
    trainer = fit_with(callbacks=[CollapseMonitor()], max_epochs=1)
    with pytest.raises(ValueError, match=r"-> VAEOutput"):
        trainer.fit(Unsaid(), loader(), loader())
    assert trainer.global_step == 0


def test_other_mistakes_are_refused_before_the_first_batch(fit_with):
    with pytest.raises(TypeError, match="not a VAEOutput"):
        fit_with(callbacks=[CollapseMonitor()]).validate(Lying(), loader(), verbose=False)
    with pytest.raises(ValueError, match="needs a VAEModule"):
        fit_with(callbacks=[CollapseMonitor(samples=5)]).validate(Foreign(), loader())
    with pytest.raises(ValueError, match="give validation data"):
        fit_with(callbacks=[CollapseMonitor()], max_epochs=1).fit(Known(), loader())
    for kwargs in ({"examples": 1}, {"patience": 0}, {"samples": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(kwargs))} must be at least"):
            CollapseMonitor(**kwargs)


# ---- alarms --------------------------------------------------------------------------------------------


def alarms(fit_with, vae, *callbacks, epochs=3, monitor=None) -> list[str]:
    monitor = monitor or CollapseMonitor()
    trainer = fit_with(callbacks=[monitor, *callbacks], max_epochs=epochs, num_sanity_val_steps=2)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        trainer.fit(vae, loader(), loader())
    return [str(w.message) for w in record if "the latents are" in str(w.message)]


def test_an_alarm_is_raised_once_and_only_after_patience(fit_with):
    assert alarms(fit_with, Dead(), epochs=1) == []
    raised = alarms(fit_with, Dead(), epochs=5)
    assert len(raised) == 1
    assert "collapsed: no latent says anything of x" in raised[0]
    assert alarms(fit_with, Known(), epochs=3) == []


def narrow(objective=None):
    return Known(spread=1.0, width=0.01, objective=objective)


def test_a_planned_phase_at_beta_0_is_no_alarm(fit_with):
    planned = BetaAnnealing(Constant(0.0, over=9) >> Linear(0, 1, over=1))
    monitor = CollapseMonitor()
    assert alarms(fit_with, narrow(), planned, epochs=4, monitor=monitor) != [], "never in this fit"
    planned = BetaAnnealing(Constant(0.0, over=4) >> Constant(1.0))
    monitor = CollapseMonitor()
    assert alarms(fit_with, narrow(), planned, epochs=5, monitor=monitor) == []
    assert monitor.verdict == (*verdict(monitor.measures)[:2], False), "at the end none is to come"
    cycles = CyclicalAnnealing(cycles=2, unit="epoch", period=3)
    assert alarms(fit_with, narrow(), cycles, epochs=6) == []
    assert len(alarms(fit_with, narrow(ELBO(beta=0.0)), epochs=4)) == 1


def test_a_beta_that_falls_excuses_nothing(fit_with):
    falls = BetaAnnealing(Linear(1, 0, over=2))
    assert len(alarms(fit_with, narrow(), falls, epochs=4)) == 1
    assert len(alarms(fit_with, Dead(), BetaAnnealing(Linear(0, 1, over=4)), epochs=4)) == 1


def test_a_controller_that_is_going_to_raise_beta_is_a_plan(fit_with):
    planned = [
        RateController(9.0, warmup=Constant(0.0, over=3) >> Linear(0, 1, over=1), unit="epoch"),
        RateController(9.0, warmup=Constant(1e-3, over=4), unit="epoch"),  # and then by the rate
        RateController(9.0),
        REWO(tolerance=-100.0),  # small, until a tolerance is met
    ]
    for controller in planned:
        monitor = CollapseMonitor()
        assert alarms(fit_with, narrow(), controller, epochs=4, monitor=monitor) == [], controller
        assert monitor.verdict.kind == "unregularised"
        assert monitor.verdict.planned
    assert alarms(fit_with, narrow(ELBO(beta=0.0)), MinimumRate(5.0), epochs=4) == []


def test_a_controller_that_is_not_excuses_nothing(fit_with):
    too_low = RateController(99.0)  # of the rate, which is 18 nats
    at_its_bound = RateController(9.0, maximum=1.0)
    after_warmup = RateController(99.0, warmup=Constant(0.5, over=1), unit="epoch")
    for controller in (too_low, at_its_bound, after_warmup, GECO(tolerance=-100.0)):
        raised = alarms(fit_with, narrow(), controller, epochs=4)
        assert len(raised) == 1, controller
        assert "unregularised" in raised[0]
    off = RateController(9.0, enabled=False)
    assert len(alarms(fit_with, narrow(), off, epochs=4)) == 1


def test_a_set_point_that_still_asks_for_more_rate_is_a_plan(fit_with):
    rates = Linear(0.1, 25, over=4)
    for controller in (
        RateController(rates, unit="epoch"),
        SoftFreeBits(rates, unit="epoch"),
        GECO(Linear(90, 9, over=4), unit="epoch"),
    ):
        assert alarms(fit_with, Dead(), controller, epochs=4) == [], controller
    for controller in (
        RateController(25.0),
        RateController(Linear(25, 0.1, over=4), unit="epoch"),
        GECO(Linear(9, 90, over=4), unit="epoch"),
        RateController(Constant(5.0, over=4) >> Constant(25.0), unit="epoch"),  # after the fit
    ):
        assert len(alarms(fit_with, Dead(), controller, epochs=4)) == 1, controller


def test_a_schedule_that_waits_or_began_late_is_a_plan_too(fit_with):
    """Up and down again: by the fit's own clock it would be over."""
    hill = Piecewise([(0, 0.0), (2, 1.0), (3, 0.0)])
    waits = Anneal("objective.beta", hill, after=Plateau("val/elbo", patience=9, mode="max"))
    assert alarms(fit_with, narrow(), waits, epochs=6) == []
    began = Anneal("objective.beta", hill, after=Plateau("val/elbo", patience=3, mode="max"))
    module = narrow()
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=0.0)
    assert alarms(fit_with, module, began, epochs=6) == []


def test_a_capacity_that_still_rises_holds_the_rate_down_as_planned(fit_with):
    dead = Dead(objective=ELBO(beta=10.0, capacity=0.0))
    assert alarms(fit_with, dead, CapacityAnnealing(Linear(0, 25, over=4)), epochs=4) == []
    assert len(alarms(fit_with, dead, CapacityAnnealing(0.0), epochs=4)) == 1


# ---- actions -------------------------------------------------------------------------------------------


class Seen(Dead):
    def __init__(self, objective=None) -> None:
        super().__init__(objective)
        self.seen = {}

    def training_step(self, batch, batch_idx):
        coefficients = self.objective.coefficients
        self.seen[self.current_epoch] = (coefficients["beta"], coefficients["free_bits"])
        return super().training_step(batch, batch_idx)


def acted(fit_with, action, *callbacks, epochs=7, ckpt_path=None, objective=None):
    vae, monitor = Seen(objective), CollapseMonitor(action=action, patience=2)
    trainer = fit_with(callbacks=[monitor, *callbacks], max_epochs=epochs)
    trainer.fit(vae, loader(), loader(), ckpt_path=ckpt_path)
    return vae, monitor, trainer


@pytest.mark.parametrize(
    ("action", "objective", "expected"),
    [
        (LowerBeta(0.5, least=0.6), {"beta": 4.0}, [(b, 0.0) for b in (4, 4, 2, 2, 1, 1, 0.6)]),
        (RaiseFloor(0.2, most=0.5), {}, [(1.0, f) for f in (0, 0, 0.2, 0.2, 0.4, 0.4, 0.5)]),
    ],
    ids=["lower beta", "raise the floor"],
)
def test_an_action_is_done_at_a_collapse_and_resumed(
    fit_with, tmp_path, action, objective, expected
):
    """The coefficient is given explicitly, which a checkpoint's value does not overrule."""
    saves = ModelCheckpoint(tmp_path / "saved", "{epoch}", save_top_k=-1, every_n_epochs=1)
    whole, monitor, trainer = acted(fit_with, action, saves, objective=ELBO(**objective))
    for found, truth in zip(whole.seen.values(), expected, strict=True):
        assert found == pytest.approx(truth)
    assert trainer.callback_metrics["collapse/actions"] == 3
    for epoch in range(6):
        path = tmp_path / "saved" / f"epoch={epoch}.ckpt"
        assert torch.load(path, weights_only=True)
        resumed, *_ = acted(fit_with, action, ckpt_path=path, objective=ELBO(**objective))
        assert resumed.seen == {e: v for e, v in whole.seen.items() if e > epoch}
    assert monitor.verdict.kind == "collapsed"


def test_a_restarted_cycle_is_the_owners_and_resumes(fit_with, tmp_path):
    def cycles():
        return CyclicalAnnealing(cycles=1, unit="epoch", period=2, ratio=1.0)

    saves = ModelCheckpoint(tmp_path / "saved", "{epoch}", save_top_k=-1, every_n_epochs=1)
    whole, *_ = acted(fit_with, RestartCycle(), cycles(), saves, epochs=9)
    betas = [beta for beta, _ in whole.seen.values()]
    assert betas[:4] == [0.0, 0.5, 1.0, 1.0]
    assert betas.count(0.0) > 1, "started anew"
    for epoch in range(8):
        path = tmp_path / "saved" / f"epoch={epoch}.ckpt"
        resumed, *_ = acted(fit_with, RestartCycle(), cycles(), epochs=9, ckpt_path=path)
        assert resumed.seen == {e: v for e, v in whole.seen.items() if e > epoch}


def test_a_new_fit_begins_without_the_actions_of_the_last(fit_with):
    vae, monitor = Seen(ELBO(beta=4.0)), CollapseMonitor(action=LowerBeta(), patience=2)
    fit_with(callbacks=[monitor], max_epochs=2).fit(vae, loader(), loader())
    assert vae.objective.beta == 2.0
    vae.objective.beta = 4.0
    fit_with(callbacks=[monitor], max_epochs=1).fit(vae, loader(), loader())
    assert vae.objective.beta == 4.0


def test_a_floor_leaves_one_alone_that_is_higher(fit_with):
    vae, *_ = acted(fit_with, RaiseFloor(0.1, most=0.5), epochs=3, objective=ELBO(free_bits=0.7))
    assert vae.objective.free_bits == 0.7


def test_actions_that_cannot_be_done_are_refused_before_the_first_batch(fit_with):
    for action, owner in (
        (LowerBeta(), BetaAnnealing(Linear(0, 1, over=2))),
        (RaiseFloor(), FreeBitsAnnealing(0.1)),
    ):
        with pytest.raises(ValueError, match="owns it and sets it at every step"):
            acted(fit_with, action, owner)
    with pytest.raises(ValueError, match="add CyclicalAnnealing"):
        acted(fit_with, RestartCycle(), BetaAnnealing(1.0))
    with pytest.raises(ValueError, match="did you mean"):
        acted(fit_with, LowerBeta(target="objective.betta"))
    with pytest.raises(ValueError, match="factor must be in"):
        LowerBeta(factor=1.0)
    with pytest.raises(ValueError, match="least must be 0 or more"):
        LowerBeta(least=-1.0)
    with pytest.raises(ValueError, match="by must be above 0"):
        RaiseFloor(by=1.0)


def test_no_action_is_taken_while_all_is_well(fit_with):
    vae, monitor = Known(objective=ELBO(beta=4.0)), CollapseMonitor(action=LowerBeta(), patience=1)
    fit_with(callbacks=[monitor], max_epochs=3).fit(vae, loader(), loader())
    assert vae.objective.beta == 4.0


# ---- it changes nothing --------------------------------------------------------------------------------


class Dropping(VAEModule):
    def __init__(self) -> None:
        encoder, decoder = MLPEncoder((4,), 2, (8,)), MLPDecoder((4,), 2, (8,))
        super().__init__(nn.Sequential(nn.Dropout(0.3), encoder), decoder)
        self.modes = []

    def on_train_batch_start(self, batch, batch_idx):
        super().on_train_batch_start(batch, batch_idx)
        self.modes.append([module.training for module in self.modules()])


@pytest.mark.parametrize("samples", [None, 10])
def test_training_with_it_is_training_without_it_to_the_bit(fit_with, samples):
    def trained(*callbacks):
        torch.manual_seed(0)
        vae = Dropping()
        vae.decoder.eval()  # as someone who freezes it would
        shuffled = DataLoader(torch.rand(64, 4), 8, shuffle=True)
        trainer = fit_with(callbacks=list(callbacks), max_epochs=3, val_check_interval=3)
        trainer.fit(vae, shuffled, DataLoader(torch.rand(32, 4), 8))
        return vae, torch.get_rng_state(), trainer.callback_metrics["val/elbo"]

    monitored, state, elbo = trained(CollapseMonitor(samples=samples))
    plain, other_state, other_elbo = trained()
    for one, two in zip(monitored.parameters(), plain.parameters(), strict=True):
        assert one.equal(two)
    assert state.equal(other_state)
    assert elbo.equal(other_elbo)
    assert monitored.modes == plain.modes
