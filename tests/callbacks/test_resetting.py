"""Resets: what begins anew at a cycle's or a phase's start, once, and exactly on a resume."""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from lightning_vae import CyclicalAnnealing, FactorVAE, VAEModule
from lightning_vae.callbacks import Reset, ResetAt
from lightning_vae.callbacks.cycling import Event, cycle
from lightning_vae.callbacks.resetting import reinitialise
from lightning_vae.data import Arrays
from lightning_vae.networks import (
    ConvEncoder,
    LSTMDecoder,
    LSTMEncoder,
    MLPDecoder,
    MLPEncoder,
    TransformerDecoder,
)
from lightning_vae.schedules import Cyclic, Linear

EPOCH = 4  # batches


class ByStep(Callback):
    """Noise as a function of the step; and what the optimizer holds before every batch."""

    def __init__(self):
        self.moments, self.rates, self.weights = [], [], []

    def on_train_batch_start(self, trainer, vae, *_):
        torch.manual_seed(trainer.global_step)

    def on_before_optimizer_step(self, trainer, vae, optimizer):
        first = next(vae.decoder.parameters())
        self.moments.append("exp_avg" in optimizer.state.get(first, {}))
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.weights.append(first.detach().clone())


def small(scheduler=True, objective=None):
    torch.manual_seed(0)
    return VAEModule(
        MLPEncoder((4,), 2, (8,)),
        MLPDecoder((4,), 2, (8,)),
        objective=None if objective is None else objective(),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        lr_scheduler=partial(CosineAnnealingLR, T_max=3) if scheduler else None,
    )


def data():
    x = torch.rand(8 * EPOCH, 4, generator=torch.Generator().manual_seed(1))
    return Arrays(train=x, batch_size=8)


def cycles(reset=None, **kwargs):
    return CyclicalAnnealing(
        **{"cycles": 2, "unit": "epoch", "period": 3, "reset": reset, **kwargs}
    )


def run(fit_with, callback, epochs=6, ckpt_path=None, saves=(), window=1, **kwargs):
    watch, vae = ByStep(), small(**kwargs)
    # It draws noise before a reset does, which must not depend on it.
    trainer = fit_with(
        max_epochs=epochs, accumulate_grad_batches=window, callbacks=[callback, watch, *saves]
    )
    trainer.fit(vae, data(), ckpt_path=ckpt_path)
    return watch, [p.detach() for p in vae.parameters()], trainer


MAKES = {"cycles": cycles, "phases": lambda reset: ResetAt(3, reset)}
every = pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)


@every
def test_nothing_begins_anew_by_default(fit_with, make):
    plain = run(fit_with, cycles() if make is cycles else Callback())
    same = run(fit_with, make(Reset()))
    assert all(torch.equal(a, b) for a, b in zip(plain[1], same[1], strict=True))


@every
def test_the_optimizer_forgets_once_at_the_start(fit_with, make):
    watch, *_ = run(fit_with, make(Reset(optimizer=True)))
    forgotten = [step for step, held in enumerate(watch.moments) if not held]
    assert forgotten == [0, 3 * EPOCH]


@every
def test_the_learning_rate_starts_again(fit_with, make):
    watch, *_ = run(fit_with, make(Reset(learning_rate=True)))
    first, second = watch.rates[: 3 * EPOCH], watch.rates[3 * EPOCH :]
    assert first == second
    assert first[0] == 0.01
    assert first[-1] < first[0]


@every
def test_a_submodule_is_drawn_anew_and_its_moments_with_it(fit_with, make):
    watch, *_ = run(fit_with, make(Reset(modules=("decoder",))))
    steps = torch.stack(
        [(b - a).abs().max() for a, b in zip(watch.weights, watch.weights[1:], strict=False)]
    )
    assert steps.argmax() == 3 * EPOCH - 1
    assert steps[3 * EPOCH - 1] > 5 * steps[: 3 * EPOCH - 1].max()
    assert [step for step, held in enumerate(watch.moments) if not held] == [0, 3 * EPOCH]


EVERYTHING = Reset(optimizer=True, learning_rate=True, modules=("decoder",))


RESUMED = {  # who resets, the batches of an optimizer step, and the objective
    **{name: (make, 1, None) for name, make in MAKES.items()},
    "cycles in a run, two batches a step": (lambda r: CyclicalAnnealing(2, reset=r), 2, None),
    "phases in steps, two batches a step": (lambda r: ResetAt((3, 8), r, unit="step"), 2, None),
    "phases, two optimizers": (
        lambda r: ResetAt((2, 4), r),
        1,
        partial(FactorVAE, 2, hidden=(8,)),
    ),
}


@pytest.mark.parametrize(("make", "window", "objective"), RESUMED.values(), ids=RESUMED)
def test_resumed_at_any_step_it_goes_on_as_uninterrupted(
    fit_with, tmp_path, make, window, objective
):
    saves = ModelCheckpoint(tmp_path / "saved", "{step}", every_n_train_steps=1, save_top_k=-1)
    how = {"window": window, "objective": objective}
    _, weights, _ = run(fit_with, make(EVERYTHING), saves=[saves], **how)
    checkpoints = sorted(Path(tmp_path / "saved").glob("*.ckpt"))
    assert len(checkpoints) == 6 * EPOCH // window
    for path in checkpoints[:-1]:
        torch.load(path, weights_only=True)
        _, resumed, _ = run(fit_with, make(EVERYTHING), ckpt_path=path, **how)
        assert all(torch.equal(a, b) for a, b in zip(weights, resumed, strict=True)), path.name


@every
def test_it_is_logged(fit_with, make, caplog):
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        *_, trainer = run(fit_with, make(Reset(optimizer=True)))
    key = "schedule/cycle" if make is cycles else "schedule/phase"
    assert trainer.callback_metrics[key] == 1
    assert caplog.text.count("begins with a Reset(optimizer=True") == 1


def test_cycles_that_are_held_begin_no_more_and_those_started_again_do():
    schedule = Cyclic(Linear(0, 1, over=5), period=10, cycles=3)
    assert [cycle(schedule, [], t) for t in (0, 9.9, 10, 29, 30, 500)] == [
        (0.0, 0), (0.0, 0), (0.0, 1), (0.0, 2), (0.0, 2), (0.0, 2),
    ]  # fmt: skip
    stopped = [Event("stop", 12)]
    assert [cycle(schedule, stopped, t)[1] for t in (12, 19, 20, 25, 90)] == [1, 1, 1, 1, 1]
    again = [*stopped, Event("start", 40, 41)]
    assert [cycle(schedule, again, t) for t in (40, 41, 51)] == [(0.0, 1), (41, 0), (41, 1)]
    # Edges that a division misses by a rounding.
    thirds = Cyclic(Linear(0, 1, over=0.1), period=0.1, cycles=7)
    assert [cycle(thirds, [], k * 0.1)[1] for k in range(7)] == list(range(7))


@pytest.mark.parametrize(
    "network",
    [
        lambda: LSTMEncoder(9, 2, 3, 4),
        lambda: LSTMDecoder(9, 2, 3, 4),
        lambda: TransformerDecoder(9, 2, 4, heads=2),
        lambda: ConvEncoder((1, 16, 16), 2, (4,), (8,)),
        lambda: nn.BatchNorm1d(3),
    ],
)
def test_networks_are_drawn_as_they_were_made(network):
    one, other = network(), network()
    state = torch.random.get_rng_state()
    for module in (one, other):
        for parameter in module.parameters():
            nn.init.constant_(parameter, 17.0)
        reinitialise(module, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not (a == 17.0).any()


def test_mistakes_are_named(fit_with):
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))

    with pytest.raises(ValueError, match=r"Bare has parameters, but no reset_parameters\(\)"):
        reinitialise(Bare(), seed=0)
    with pytest.raises(ValueError, match=r"write modules=\('decoder',\)"):
        Reset(modules="decoder")
    with pytest.raises(ValueError, match=r"modules has 'nothing'.*there are \['encoder'"):
        run(fit_with, cycles(Reset(modules=("nothing",))))
    with pytest.raises(ValueError, match="there are none; write VAEModule"):
        run(fit_with, cycles(Reset(learning_rate=True)), scheduler=False)
    for at in (0, float("nan"), "5", ("a",), True, None):
        with pytest.raises(ValueError, match=f"at must be times above 0, got {re.escape(str(at))}"):
            ResetAt(at, Reset())
    for make in (lambda: ResetAt(5, None), lambda: cycles(True), lambda: cycles({"optimizer": 1})):
        with pytest.raises(
            ValueError, match=r"reset must be a Reset, .*write Reset\(optimizer=True"
        ):
            make()
    with pytest.raises(ValueError, match="unit must be 'epoch' or 'step'"):
        ResetAt(1, Reset(), unit="run")
