import ast
import copy
import inspect
import math
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from fractions import Fraction
from math import inf, nan, nextafter
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from scipy import stats

from lightning_vae import schedules
from lightning_vae.schedules import (
    Chain,
    Constant,
    Cosine,
    Cyclic,
    Exponential,
    Linear,
    Logistic,
    LogUniform,
    Piecewise,
    Schedule,
    Sigmoid,
    as_schedule,
)
from tests.references import recorded
from tests.references.schedules import Track, curve, fu, run_cycle

# A slow moment of the machine is not a failure.
relaxed = settings(deadline=None, max_examples=100)

HALFWAY = 1 / (1 + math.exp(-2.5))  # the logistic, 2.5 times its width past the middle

# Every kind of schedule, values that anyone can check, and how it prints.
EXAMPLES: list[tuple[Schedule, dict[float, float], str]] = [
    (Constant(2), {-1: 2, 0: 2, 1e300: 2}, "Constant(2)"),
    (Constant(0.5, over=3), {-1: 0.5, 2: 0.5, 9: 0.5}, "Constant(0.5, over=3)"),
    (Linear(0, 1, 4), {-1: 0, 0: 0, 1: 0.25, 4: 1, 9: 1}, "Linear(0, 1, over=4)"),
    (Linear(4, -1, 5), {-1: 4, 0: 4, 1: 3, 5: -1, 9: -1}, "Linear(4, -1, over=5)"),
    (
        Linear(-1.7e308, 1.7e308, 4),
        {0: -1.7e308, 1: -0.85e308, 2: 0, 3: 0.85e308, 4: 1.7e308},
        "Linear(-1.7e+308, 1.7e+308, over=4)",
    ),
    (Linear(0, 1, 0), {-1e-9: 0, 0: 1, 1: 1}, "Linear(0, 1, over=0)"),
    (Cosine(0, 4, 6), {-1: 0, 0: 0, 2: 1, 3: 2, 4: 3, 6: 4, 9: 4}, "Cosine(0, 4, over=6)"),
    (Cosine(1, 0, 0), {-1: 1, 0: 0}, "Cosine(1, 0, over=0)"),
    (
        Exponential(1e-4, 1, 4),
        {-1: 1e-4, 0: 1e-4, 1: 1e-3, 2: 1e-2, 4: 1, 9: 1},
        "Exponential(0.0001, 1, over=4)",
    ),
    (Exponential(8, 1, 3), {0: 8, 1: 4, 2: 2, 3: 1}, "Exponential(8, 1, over=3)"),
    (Exponential(8, 1, 0), {-1: 8, 0: 1}, "Exponential(8, 1, over=0)"),
    (Sigmoid(0, 2, 4), {-1: 0, 0: 0, 2: 1, 4: 2, 9: 2}, "Sigmoid(0, 2, over=4)"),
    (Sigmoid(1, 0, 0, 5), {-1: 1, 0: 0}, "Sigmoid(1, 0, over=0, steepness=5)"),
    (
        Logistic(0, 1, 5, 0.5),
        {-1e300: 0, 0: 1 - HALFWAY, 5: 0.5, 10: HALFWAY, 1e300: 1},
        "Logistic(0, 1, midpoint=5, rate=0.5)",
    ),
    (
        Logistic(0, 1, 5, 0.5, over=10),
        {5: 0.5, 10: HALFWAY, 1e300: HALFWAY},
        "Logistic(0, 1, midpoint=5, rate=0.5, over=10)",
    ),
    (Logistic(3, 3, 5, 1), {-9: 3, 5: 3, 9: 3}, "Logistic(3, 3, midpoint=5, rate=1)"),
    (
        Piecewise([(2, 1), (4, 3), (8, 0)]),
        {-1: 1, 0: 1, 2: 1, 3: 2, 4: 3, 6: 1.5, 8: 0, 9: 0},
        "Piecewise([(2, 1), (4, 3), (8, 0)])",
    ),
    (
        Piecewise([(2, 1), (4, 3), (8, 0)], step=True),
        {-1: 1, 3: 1, nextafter(4, 0) - 1e-6: 1, 4: 3, 7: 3, 8: 0, 9: 0},
        "Piecewise([(2, 1), (4, 3), (8, 0)], step=True)",
    ),
    (Piecewise([(0, 0.5)]), {-1: 0.5, 0: 0.5, 1: 0.5}, "Piecewise([(0, 0.5)])"),
    (LogUniform(0.1, 4, 0), {}, "LogUniform(0.1, 4, seed=0)"),
    (LogUniform(2, 2, -7), {-1: 2, 0: 2, 0.5: 2}, "LogUniform(2, 2, seed=-7)"),
    (
        Cyclic(Linear(0, 1, 4), 8),
        {-1: 0, 0: 0, 2: 0.5, 4: 1, 7.9: 1, 8: 0, 10: 0.5, 8e9: 0, 8e9 + 2: 0.5},
        "Cyclic(Linear(0, 1, over=4), period=8)",
    ),
    (
        Cyclic(Linear(0, 1, 4), 8, 2),
        {-1: 0, 8: 0, 15: 1, 16: 1, 18: 1},
        "Cyclic(Linear(0, 1, over=4), period=8, cycles=2)",
    ),
    (
        Cyclic(Linear(1, 0, 4), 4, 2),
        {-1: 1, 0: 1, 3: 0.25, 4: 1, 7: 0.25, 8: 0, 99: 0},
        "Cyclic(Linear(1, 0, over=4), period=4, cycles=2)",
    ),
    (
        Cyclic(Logistic(0, 1, 5, 0.5), 10, 3),
        {5: 0.5, 10: 1 - HALFWAY, 25: 0.5, 30: HALFWAY, 99: HALFWAY},
        "Cyclic(Logistic(0, 1, midpoint=5, rate=0.5), period=10, cycles=3)",
    ),
    (Cyclic(3, 1), {-1: 3, 0: 3, 1: 3, 7.5: 3}, "Cyclic(Constant(3), period=1)"),
    (
        Linear(0, 1, 4) >> Constant(0.5, 2) >> Linear(2, 3, 1),
        {-1: 0, 2: 0.5, 4: 0.5, 5: 0.5, 6: 2, 6.5: 2.5, 7: 3, 9: 3},
        "Linear(0, 1, over=4) >> Constant(0.5, over=2) >> Linear(2, 3, over=1)",
    ),
    (
        Cyclic(Constant(0, 2) >> Linear(0, 1, 1), 4, 2) >> 0.25,
        {0: 0, 2.5: 0.5, 3.5: 1, 4: 0, 7.9: 1, 8: 0.25, 99: 0.25},
        "Cyclic(Constant(0, over=2) >> Linear(0, 1, over=1), period=4, cycles=2) >> Constant(0.25)",
    ),
    (
        Logistic(0, 1, 5, 0.5, over=10) >> Constant(1),
        {-1e300: 0, 5: 0.5, 10: 1},
        "Logistic(0, 1, midpoint=5, rate=0.5, over=10) >> Constant(1)",
    ),
    (Chain([Linear(0, 1, 4)]), {-1: 0, 2: 0.5, 9: 1}, "Chain([Linear(0, 1, over=4)])"),
]

each_example = pytest.mark.parametrize(
    "schedule", [schedule for schedule, _, _ in EXAMPLES], ids=[text for _, _, text in EXAMPLES]
)


def concrete(base: type[Schedule]) -> Iterator[type[Schedule]]:
    for kind in base.__subclasses__():
        if kind.__module__.startswith("lightning_vae") and not inspect.isabstract(kind):
            yield kind
        yield from concrete(kind)


def test_every_schedule_has_an_example():
    assert set(concrete(Schedule)) == {type(schedule) for schedule, _, _ in EXAMPLES}
    assert {kind.__name__ for kind in concrete(Schedule)} < set(schedules.__all__)


# The shared properties of every example.


@pytest.mark.parametrize(("schedule", "values", "text"), EXAMPLES, ids=[e[2] for e in EXAMPLES])
def test_values_and_print(schedule, values, text):
    assert repr(schedule) == text
    assert {t: schedule(t) for t in values} == pytest.approx(values, rel=1e-12, abs=1e-15)


@each_example
def test_repr_evaluates_to_an_equal_schedule(schedule):
    again = eval(repr(schedule), {name: getattr(schedules, name) for name in schedules.__all__})
    assert again == schedule
    assert hash(again) == hash(schedule)


def test_repr_writes_numbers_as_people_do():
    text = "Linear(-1e+300, 0.1, over=1000000)"
    assert repr(Linear(-1e300, 0.1, over=1e6)) == text


@each_example
def test_copies_are_equal(schedule):
    for again in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule), replace(schedule)):
        assert again == schedule
        assert again(2.5) == schedule(2.5)


@each_example
def test_is_frozen(schedule):
    for field in fields(schedule):
        with pytest.raises(FrozenInstanceError):
            setattr(schedule, field.name, 0)


def test_no_two_examples_are_equal():
    assert len({schedule for schedule, _, _ in EXAMPLES}) == len(EXAMPLES)


@each_example
@pytest.mark.parametrize("t", [3, 3.0, np.float64(3), np.float32(3), np.int64(3)], ids=repr)
def test_value_is_a_plain_float(schedule, t):
    assert type(schedule(t)) is float
    assert schedule(t) == schedule(3.0)


@each_example
@pytest.mark.parametrize("t", [0.0, 5e-324, 1e-12, 1e17, 1.7976931348623157e308])
def test_value_is_finite_at_any_finite_time(schedule, t):
    assert math.isfinite(schedule(t))
    assert math.isfinite(schedule(-t))


@each_example
def test_holds_from_its_duration_on(schedule):
    duration = schedule.duration
    assert type(duration) is float
    if duration < inf:
        last = schedule(duration)
        assert {schedule(duration + later) for later in (1e-12, 0.1, 1, 1e9, 1e300)} == {last}


@each_example
def test_time_before_zero_gives_the_first_value(schedule):
    first = schedule
    while isinstance(first, Chain | Cyclic):
        first = first.schedules[0] if isinstance(first, Chain) else first.schedule
    if isinstance(first, Logistic):
        assert [schedule(t) for t in (-3, -1e300)] == [first(t) for t in (-3, -1e300)]
        assert schedule(-3) == schedule(0) or first.lower < first.upper
    elif first.duration > 0:
        assert {schedule(t) for t in (-1e300, -3, -1e-300, -0.0)} == {schedule(0)}


@each_example
def test_sample(schedule):
    until = 7.0 if schedule.duration == inf else None
    times, values = schedule.sample(5, until)
    end = schedule.duration if until is None else until
    assert times == pytest.approx([0, end / 4, end / 2, 3 * end / 4, end])
    assert (times[0], times[-1]) == (0, end)
    assert values == [schedule(t) for t in times]
    assert {type(x) for x in times + values} == {float}


# Sample and plot.


def test_sample_has_as_many_times_as_asked():
    assert [len(x) for x in Linear(0, 1, 3).sample()] == [200, 200]
    assert [len(x) for x in Linear(0, 1, 3).sample(7)] == [7, 7]
    assert Linear(0, 1, 3).sample(2) == ([0.0, 3.0], [0.0, 1.0])
    assert Linear(0, 1, 1e300).sample(2) == ([0.0, 1e300], [0.0, 1.0])


def test_sample_of_endless_cycles_shows_four_periods():
    endless = Cyclic(Linear(0, 1, 5), 10)
    assert endless.sample()[0][-1] == 40
    assert (Constant(0, 3) >> endless).sample()[0][-1] == 43
    assert replace(endless, cycles=6).sample()[0][-1] == 60
    assert endless.sample(until=15)[0][-1] == 15


@pytest.mark.parametrize("endless", [Constant(1), LogUniform(0.1, 1, 0), Linear(0, 1, 2) >> 1])
def test_sample_without_end_asks_for_one(endless):
    for look in (endless.sample, endless.plot):
        with pytest.raises(ValueError, match=r"until.*lasts inf: write.*until=100"):
            look()


@pytest.mark.parametrize(
    "arguments", [{"n": 1}, {"n": 2.0}, {"n": True}, {"until": inf}, {"until": nan}, {"until": -1}]
)
def test_sample_refuses(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=rf"sample needs {name} to be"):
        Linear(0, 1, 3).sample(**arguments)


def test_plot_draws_the_sample():
    from matplotlib.figure import Figure

    schedule = Linear(0, 1, over=4)
    ax = Figure().add_subplot()
    assert schedule.plot(ax, n=9) is ax
    (line,) = ax.lines
    assert [list(line.get_xdata()), list(line.get_ydata())] == list(schedule.sample(9))
    assert (line.get_label(), ax.get_xlabel()) == ("Linear(0, 1, over=4)", "t")


def test_plot_makes_its_own_axes(monkeypatch):
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    ax = Cyclic(Linear(0, 1, 5), 10).plot(until=20)
    assert max(ax.lines[0].get_xdata()) == 20
    plt.close(ax.figure)


# Refusals.

REFUSED = {
    "Constant(nan)": "Constant needs value to be a finite number, such as 1.0, got nan",
    "Constant('1')": "Constant needs value .* got '1'",
    "Constant(True)": "Constant needs value .* got True",
    "Constant(10**400)": "Constant needs value .* got 1000",
    "Constant(1, over=-1)": "Constant needs over to be a time of 0 or more.* got -1",
    "Constant(1, over=nan)": "Constant needs over .* got nan",
    "Linear(inf, 1, 5)": "Linear needs start .* got inf",
    "Linear(0, None, 5)": "Linear needs stop .* got None",
    "Linear(0, 1, over=-1)": r"Linear needs over to be a finite time of 0 \(a jump\).* got -1",
    "Linear(0, 1, over=inf)": "Linear needs over .* got inf",
    "Linear(0, 1, over=np.bool_(True))": "Linear needs over .* got (np.)?True",
    "Cosine(0, 1 + 0j, 5)": r"Cosine needs stop .* got \(1\+0j\)",
    "Exponential(0, 1, 5)": "Exponential needs start to be a finite number above 0.* got 0",
    "Exponential(1, -1, 5)": "Exponential needs stop .* got -1",
    "Exponential(1, 1, -5)": "Exponential needs over .* got -5",
    "Sigmoid(0, 1, 5, steepness=0)": "Sigmoid needs steepness .* above 0.* got 0",
    "Sigmoid(0, 1, 5, steepness=-12)": "Sigmoid needs steepness .* got -12",
    "Sigmoid(0, inf, 5)": "Sigmoid needs stop .* got inf",
    "Logistic(nan, 1, 5, 1)": "Logistic needs lower .* got nan",
    "Logistic(0, nan, 5, 1)": "Logistic needs upper .* got nan",
    "Logistic(0, 1, inf, 1)": "Logistic needs midpoint .* got inf",
    "Logistic(0, 1, 5, inf)": "Logistic needs rate .* got inf",
    "Logistic(0, 1, 5, 1, over=-inf)": "Logistic needs over .* got -inf",
    "Piecewise([])": r"Piecewise needs points to be pairs .* got \[\]",
    "Piecewise(3)": "Piecewise needs points .* got 3",
    "Piecewise({0: 1})": r"Piecewise needs points .* got \{0: 1\}",
    "Piecewise([(0, 1, 2)])": "Piecewise needs points .* got ",
    "Piecewise([(0, nan)])": "Piecewise needs points .* got ",
    "Piecewise([(0, 1), (inf, 2)])": "Piecewise needs points .* got ",
    "Piecewise([(-1, 0), (9, 1)])": "Piecewise needs points .* rise from 0 or later",
    "Piecewise([(0, 0), (0, 1)])": "Piecewise needs points .* rise from 0 or later",
    "Piecewise([(3, 0), (2, 1)])": "Piecewise needs points .* rise from 0 or later",
    "Piecewise([(0, 0)], step='no')": "Piecewise needs step to be True or False, got 'no'",
    "LogUniform(0, 1, 0)": "LogUniform needs lower .* above 0.* got 0",
    "LogUniform(1, 0, 0)": "LogUniform needs upper .* above 0.* got 0",
    "LogUniform(2, 1, 0)": "LogUniform needs upper to be at least lower=2, got 1",
    "LogUniform(1, 2, 0.5)": "LogUniform needs seed to be an int.* got 0.5",
    "LogUniform(1, 2, False)": "LogUniform needs seed .* got False",
    "Cyclic(Linear(0, 1, 5), 0)": "Cyclic needs period .* above 0.* got 0",
    "Cyclic(Linear(0, 1, 5), inf)": "Cyclic needs period .* got inf",
    "Cyclic(Linear(0, 1, 5), 4)": "Cyclic needs period to be at least 5, .* got 4",
    "Cyclic(Linear(0, 1, 1), 0.99999999)": "Cyclic needs period to be at least 1, .* got 0.999",
    "Cyclic(Linear(0, 1, 5), 5, 0)": "Cyclic needs cycles to be an int of 1 or more.* got 0",
    "Cyclic(Linear(0, 1, 5), 5, 2.0)": "Cyclic needs cycles .* got 2.0",
    "Cyclic(Linear(0, 1, 5), 5, True)": "Cyclic needs cycles .* got True",
    "Cyclic(Linear(0, 1, 5), 5, 10**400)": "Cyclic needs cycles .* got 1000",
    "Cyclic('Linear', 5)": "A schedule has to be a Schedule or a finite number.* got 'Linear'",
    "Cyclic(Linear, 5)": "A schedule has to be .* got <class",
    "as_schedule(lambda t: t)": "A schedule has to be .* got <function",
    "as_schedule(True)": "A schedule has to be .* got True",
    "as_schedule(nan)": "A schedule has to be .* got nan",
    "Chain([])": r"Chain needs schedules to be a list .* got \[\]",
    "Chain(Linear(0, 1, 5))": "Chain needs schedules .* got Linear",
    "Chain(['a'])": "A schedule has to be .* got 'a'",
    "Chain([0.5, Linear(0, 1, 5)])": r"Chain needs an end .* got Constant\(0.5\), .* over=10",
    "Constant(1) >> Linear(0, 1, 5)": r"Chain needs an end .* got Constant\(1\)",
    "Linear(0, 1, 5) >> 1 >> Linear(0, 1, 5)": r"Chain needs an end .* got Constant\(1\)",
    "LogUniform(1, 2, 0) >> 1": "Chain needs an end .* got LogUniform",
    "Cyclic(1, 5) >> 1": "Chain needs an end .* got Cyclic",
    "Linear(0, 1, 5) >> None": "A schedule has to be .* got None",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=REFUSED)
def test_refuses(text, message):
    with pytest.raises(ValueError, match=message):
        eval(text, {**vars(schedules), "np": np})


def test_every_numeric_argument_refuses_what_is_no_finite_number():
    refused = 0
    for schedule, _, _ in EXAMPLES:
        for field in fields(schedule):
            if type(getattr(schedule, field.name)) is float:
                for wrong in (nan, -inf, "1", None, True, 1j, [1.0], np.array([1.0])):
                    with pytest.raises(ValueError, match=f"{type(schedule).__name__} needs "):
                        replace(schedule, **{field.name: wrong})
                    refused += 1
    assert refused > 300


def test_arguments_become_floats():
    assert (
        Linear(0, 1, 5)
        == Linear(0.0, np.float32(1), np.int64(5))
        == Linear(start=0, stop=Fraction(1), over=5)
    )
    assert type(Linear(np.float64(0), 1, 5).start) is float
    assert type(Cyclic(1, 5, np.int64(3)).cycles) is int
    assert type(LogUniform(1, 2, np.int64(3)).seed) is int
    assert Piecewise([[0, 1], [2, 3]]) == Piecewise(np.array([[0, 1], [2, 3]]))
    assert Chain([Linear(0, 1, 5), 2]) == Linear(0, 1, 5) >> Constant(2.0)
    assert Cyclic(0.5, 3).schedule == as_schedule(np.float64(0.5)) == Constant(0.5)


# YAML.


def configuration(value: object) -> object:
    """A schedule as a person writes it in a YAML file."""
    if isinstance(value, Schedule):
        arguments = {f.name: configuration(getattr(value, f.name)) for f in fields(value)}
        return {
            "class_path": f"lightning_vae.schedules.{type(value).__name__}",
            "init_args": arguments,
        }
    return [configuration(x) for x in value] if isinstance(value, tuple) else value


def parser_of(annotation: object) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--schedule", type=annotation)
    return parser


def round_trip(schedule: Schedule, annotation: object = Schedule | float) -> None:
    parser = parser_of(annotation)
    read = parser.parse_string(yaml.safe_dump({"schedule": configuration(schedule)}))
    assert parser.instantiate(read).schedule == schedule
    again = parser.parse_string(parser.dump(read))
    assert parser.instantiate(again).schedule == schedule


@each_example
def test_yaml_round_trip(schedule):
    round_trip(schedule)
    round_trip(schedule, Schedule)


def test_yaml_as_a_person_writes_it():
    text = """
    schedule:
      class_path: lightning_vae.schedules.Chain
      init_args:
        schedules:
        - class_path: lightning_vae.schedules.Constant
          init_args: {value: 0, over: 5}
        - class_path: lightning_vae.schedules.Cyclic
          init_args:
            schedule:
              class_path: lightning_vae.schedules.Linear
              init_args: {start: 0, stop: 1, over: 5}
            period: 10
            cycles: 4
        - 0.5
    """
    parser = parser_of(Schedule)
    schedule = parser.instantiate(parser.parse_string(text)).schedule
    assert (
        schedule == Constant(0, over=5) >> Cyclic(Linear(0, 1, over=5), period=10, cycles=4) >> 0.5
    )


def test_yaml_number_and_command_line():
    parser = parser_of(Schedule | float)
    assert parser.parse_string("schedule: 0.3").schedule == 0.3
    arguments = ["--schedule=lightning_vae.schedules.Linear", "--schedule.start=0"]
    arguments += ["--schedule.stop=4", "--schedule.over=10"]
    assert parser.instantiate(parser.parse_args(arguments)).schedule == Linear(0, 4, over=10)


# Recorded numbers of real systems, through the schedules that replace them.


def vae_project(cls: str, **p: float) -> Schedule:
    """VAE-project's `beta_schedulers`: a class of theirs as a schedule over epochs."""
    if cls == "Constant":
        return Constant(p.get("value", 1))
    lower, upper = p.get("lower", 0), p.get("upper", 1)
    if cls == "Linear":
        return Linear(lower, upper, over=p.get("epochs", 10) - 1)
    return Logistic(lower, upper, midpoint=p.get("midpoint", 5), rate=p.get("rate", 1))


def annealer(
    total_steps: int, shape: str = "linear", baseline: float = 0, cyclical: bool = False
) -> Schedule:
    """vae-annealing's `Annealer` as a schedule over its steps."""
    ramp = {
        "linear": Linear(baseline, 1, over=total_steps),
        "cosine": Cosine(baseline, 1, over=total_steps),
        "logistic": Logistic(baseline, 1, midpoint=total_steps / 2, rate=1, over=total_steps),
    }[shape]
    return Cyclic(ramp, period=total_steps) if cyclical else ramp


def kl_weight(kl_annealing, kl_start: float, kl_annealtime: float, kl_weight) -> Schedule:
    """CAREamics' `get_kl_weight` as a schedule over epochs, without its squared ramp."""
    weight = 1 if kl_weight is None else kl_weight
    if not kl_annealing:
        return Constant(weight)
    if kl_start < 0:
        # The part of the ramp that lies before the first epoch is done when training begins.
        done = -kl_start / kl_annealtime
        return Linear(done * weight, weight, over=kl_annealtime + kl_start)
    return Constant(0, over=kl_start) >> Linear(0, weight, over=kl_annealtime)


def test_recorded_vae_project():
    compared = 0
    for case in recorded("beta_schedulers").values():
        if (
            "epochs" not in case["inputs"]
            or case["cls"] == "LogUniform"
            or "dtype" in case["params"]
        ):
            continue
        schedule = vae_project(case["cls"], **case["params"])
        wanted = (case if case["verdict"] != "bug" else {"outputs": case["correct"]})["outputs"]
        for t, beta in zip(case["inputs"]["epochs"], wanted.get("beta", []), strict=False):
            assert schedule(t) == pytest.approx(beta, rel=1e-12, abs=1e-15), (case["id"], t)
            compared += 1
    assert compared == 15 * 40 + 7 + 6 + 4 + 4


def test_recorded_vae_project_shapes():
    cases = [c for i, c in recorded("beta_schedulers").items() if i.startswith("shape")]
    assert len(cases) == 5
    for case in cases:
        value = vae_project(case["cls"], **case["params"])(case["inputs"]["epoch"])
        filled = np.full(case["inputs"]["shape"], value)
        np.testing.assert_allclose(filled, case["outputs"]["beta"], rtol=1e-12)


def test_recorded_vae_project_defects_are_not_ours():
    assert vae_project("Linear", epochs=10.0) == Linear(0, 1, over=9)
    assert vae_project("Linear", epochs=1)(0) == 1  # theirs stays at the lower value for ever
    with pytest.raises(ValueError, match="over"):
        vae_project("Linear", epochs=0)
    case = recorded("beta_schedulers")["loguniform-invalid-0.0-1.0"]
    with pytest.raises(ValueError, match="lower"):
        LogUniform(**case["params"], seed=0)


def test_recorded_vae_project_draws():
    outputs = recorded("beta_schedulers")["loguniform-0.1-4.0"]["outputs"]
    draws = [LogUniform(0.1, 4, seed=0)(t) for t in range(20_000)]
    quantiles = np.quantile(draws, [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99])
    np.testing.assert_allclose(quantiles, outputs["exact_quantiles"], rtol=0.03)
    assert np.mean(draws) == pytest.approx(outputs["exact_mean"], rel=0.02)


def test_recorded_vae_annealing():
    compared = 0
    for case in recorded("vae_annealing").values():
        if case["id"].endswith(("-cyc0", "-cyc1")):
            schedule = annealer(**case["params"])
            for t, weight in enumerate(case["outputs"]["weight"]):
                assert schedule(t) == pytest.approx(weight, rel=1e-6, abs=1e-15), (case["id"], t)
                compared += 1
    assert compared == (37 + 46) * 40


TOGGLED = {
    # set_cyclical(False) at 30 and (True) at 70: the running cycle ends at 40 and holds.
    "readme-figure-30-70": Cyclic(Cosine(0, 1, over=20), period=20, cycles=2)
    >> Constant(1, over=30)
    >> Cyclic(Cosine(0, 1, over=20), period=20),
    "readme-toggle-30-70": Cyclic(Cosine(0, 1, over=20), period=20, cycles=2)
    >> Constant(1, over=31)
    >> Cyclic(Cosine(0, 1, over=20), period=20),
    "toggle-midcycle": Cyclic(Linear(0, 1, over=20), period=20),
}


@pytest.mark.parametrize("case", TOGGLED)
def test_recorded_vae_annealing_switched_on_and_off(case):
    weights = recorded("vae_annealing")[case]["outputs"]["weight"]
    assert len(weights) >= 60
    assert [TOGGLED[case](t) for t in range(len(weights))] == pytest.approx(weights, rel=1e-6)


@pytest.mark.parametrize(
    ("shape", "ramp"), [("linear", Linear), ("cosine", Cosine), ("logistic", Sigmoid)]
)
def test_recorded_vae_annealing_cycles_at_full_height(shape, ramp):
    case = recorded("vae_annealing")[f"cyclical-max-{shape}"]
    T = case["params"]["total_steps"]
    weights = [Cyclic(ramp(0, 1, over=T - 1), period=T)(t) for t in range(50)]
    assert max(weights) == case["correct"]["max_weight"] == 1
    assert [t for t in range(50) if weights[t] == 1] == [9, 19, 29, 39, 49]
    assert [t for t in range(50) if weights[t] == 0] == [0, 10, 20, 30, 40]


@pytest.mark.parametrize("T", [4, 10, 20, 1420, 2000])
def test_recorded_vae_annealing_logistic_ends(T):
    case = recorded("vae_annealing")[f"logistic-T{T}"]
    schedule = annealer(T, "logistic")
    wanted = case["correct"] if case["verdict"] == "bug" else case["outputs"]
    assert [schedule(0), schedule(T)] == pytest.approx([wanted["start"], wanted["end"]], abs=1e-15)
    near = sum(0.01 < schedule(t) < 0.99 for t in range(T + 1))
    assert near == case["outputs"]["steps_with_weight_in_0.01_0.99"]


def test_recorded_careamics():
    cases = [c for i, c in recorded("careamics").items() if i.startswith("get_kl_weight")]
    compared = 0
    for case in cases:
        schedule = kl_weight(**case["params"])
        for t, weight in zip(case["inputs"]["epochs"], case["correct"]["weight"], strict=True):
            if t >= 0:
                assert schedule(t) == pytest.approx(weight, rel=1e-12, abs=1e-15), (case["id"], t)
                compared += 1
    assert len(cases) == 58
    assert compared == 58 * 31


def test_recorded_careamics_references_are_their_outputs():
    for case in recorded("careamics").values():
        if case["id"].startswith("get_kl_weight") and case["verdict"] == "reference":
            assert case["outputs"]["weight"] == case["correct"]["weight"]


# Fu et al. 2019.

RAMPS = {"linear": Linear, "cosine": Cosine, "sigmoid": Sigmoid}


@pytest.mark.parametrize("shape", RAMPS)
@pytest.mark.parametrize(("M", "R"), [(4, 0.5), (1, 0.5), (3, 1.0), (5, 0.25), (10, 0.7)])
def test_fu(shape, M, R):
    ramp = RAMPS[shape]
    run = Cyclic(ramp(0, 1, over=R / M), period=1 / M, cycles=M)
    compared = 0
    for T in range(M, 40 * M + 1, M):
        steps = Cyclic(ramp(0, 1, over=R * T / M), period=T / M, cycles=M)
        for step in range(T):
            beta = fu(step + 1, T, M, R, shape)
            assert steps(step) == pytest.approx(beta, abs=1e-12)
            assert run(step / T) == pytest.approx(beta, abs=1e-12)
            compared += 1
        assert steps(T) == run(1) == 1
    assert compared == 820 * M


@pytest.mark.parametrize("cycles", range(1, 11))
def test_cycle_boundaries_in_a_run(cycles):
    saw = Cyclic(Linear(0, 1, over=1 / cycles), period=1 / cycles, cycles=cycles)
    for total in range(1, 1001):
        for k in range(cycles):
            first = -(-k * total // cycles)
            for step in {max(first - 1, 0), first} - {total}:
                _, phase = run_cycle(step, total, cycles)
                assert saw(step / total) == pytest.approx(float(phase), abs=1e-9), (step, total)
                assert phase > 0 or saw(step / total) == 0
        assert saw(1) == 1


def test_edges_in_a_run_are_reached_in_spite_of_rounding():
    # 0.1 + 0.2 is above 3 / 10: the step that begins the third piece must not be late.
    chained = Constant(1, over=0.1) >> Constant(2, over=0.2) >> Constant(3)
    stairs = Piecewise([(0, 1), (0.1, 2), (0.1 + 0.2, 3)], step=True)
    for schedule in (chained, stairs):
        assert [schedule(step / 10) for step in range(5)] == [1, 2, 2, 3, 3]
        assert schedule(0.3 * (1 - 1e-8)) == 2
    short = Cyclic(Linear(0, 1, over=0.1 * 3), period=0.3, cycles=1)  # 0.1 · 3 > 0.3
    assert short(0.3) == short(1) == 1


@pytest.mark.parametrize("period", [1e-3, 0.3, 1, 1e6])
def test_a_time_beside_the_edge_of_a_cycle_is_on_it(period):
    saw = Cyclic(Linear(0, 1, over=period), period)
    for k in (1, 2, 7):
        assert saw(k * period * (1 - 1e-8)) == pytest.approx(1, abs=1e-6)
        assert [saw(k * period * (1 + miss)) for miss in (-1e-10, 0, 1e-10)] == [0, 0, 0]
        assert saw(k * period * (1 + 1e-8)) == pytest.approx(k * 1e-8, rel=1e-6)


# Formulas, bounds and ends for any numbers.

number = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
length = st.floats(min_value=0, allow_infinity=False)
moderate = st.floats(-100, 100)


@st.composite
def ramps(draw) -> Schedule:
    kind = draw(st.sampled_from([Linear, Cosine, Exponential, Sigmoid]))
    ends = positive if kind is Exponential else number
    extra = {"steepness": draw(positive)} if kind is Sigmoid else {}
    return kind(draw(ends), draw(ends), over=draw(length), **extra)


@relaxed
@given(ramps(), number)
@example(Linear(-1.7e308, 1.7e308, over=1.7e308), 1e308)
@example(Exponential(5e-324, 1.7976931348623157e308, over=3), 2.9999999999999996)
@example(Sigmoid(0, 1, over=1, steepness=5e-324), 0.25)
@example(Sigmoid(0, 1, over=1, steepness=1.7e308), 0.25)
@example(Linear(0, 1, over=5e-324), 0.0)
def test_ramps_stay_between_their_ends_and_reach_them(ramp, t):
    value = ramp(t)
    assert type(value) is float
    assert min(ramp.start, ramp.stop) <= value <= max(ramp.start, ramp.stop)
    assert ramp(ramp.over) == ramp(ramp.duration) == ramp.stop
    assert ramp(0) == (ramp.start if ramp.over > 0 else ramp.stop)
    assert t < ramp.over or value == ramp.stop
    assert t >= 0 or value == ramp.start


@relaxed
@given(ramps(), st.floats(0, 1), st.floats(0, 1))
def test_ramps_are_monotone(ramp, u, v):
    early, late = ramp(min(u, v) * ramp.over), ramp(max(u, v) * ramp.over)
    sign = 1 if ramp.stop >= ramp.start else -1
    # sin, tanh and pow are monotone only up to their last digit.
    slack = 0 if type(ramp) is Linear else 1e-12 * max(abs(early), abs(late), abs(ramp.start))
    assert sign * early <= sign * late + slack


@relaxed
@given(moderate, moderate, st.floats(0, 1), st.floats(1e-3, 30))
def test_ramps_follow_their_formula(a, b, u, k):
    close = pytest.approx
    over = 8.0
    t = u * over
    assert Linear(a, b, over)(t) == close(
        curve("linear", t / over, start=a, stop=b), rel=1e-12, abs=1e-12
    )
    assert Cosine(a, b, over)(t) == close(
        curve("cosine", t / over, start=a, stop=b), rel=1e-12, abs=1e-12
    )
    assert Sigmoid(a, b, over, k)(t) == close(
        curve("sigmoid", t / over, start=a, stop=b, k=k), rel=1e-9, abs=1e-9
    )
    a, b = abs(a) + 1e-9, abs(b) + 1e-9
    assert Exponential(a, b, over)(t) == close(
        curve("exponential", t / over, start=a, stop=b), rel=1e-12
    )


@relaxed
@given(moderate, moderate, moderate, moderate, moderate)
def test_logistic_follows_its_formula(lower, upper, midpoint, rate, t):
    wanted = curve("logistic", t, lower=lower, upper=upper, midpoint=midpoint, rate=rate)
    assert Logistic(lower, upper, midpoint, rate)(t) == pytest.approx(wanted, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("k", [1e-5, 1e-3, 1, 12, 50, 1e3, 1e5])
def test_sigmoid_of_any_steepness(k):
    for u in (1e-6, 0.25, 0.499, 0.5, 0.75, 0.999):
        wanted = curve("sigmoid", u, start=0, stop=1, k=k)
        assert Sigmoid(0, 1, 1, steepness=k)(u) == pytest.approx(wanted, abs=1e-10)


def test_logistic_keeps_its_tail():
    tail = curve("logistic", 0, lower=0, upper=1, midpoint=700, rate=1)
    assert Logistic(0, 1, midpoint=700, rate=1)(0) == pytest.approx(tail, rel=1e-12)


@relaxed
@given(number, number, number, number, number)
@example(0, 1, -1.7e308, 0, 1.7e308)
@example(0, 1, -1.7e308, 1.7e308, 1.7e308)
@example(-1.7e308, 1.7e308, 0, 1, 0)
def test_logistic_stays_between_its_bounds(lower, upper, midpoint, rate, t):
    value = Logistic(lower, upper, midpoint, rate)(t)
    assert type(value) is float
    assert min(lower, upper) <= value <= max(lower, upper)


@relaxed
@given(moderate, moderate, moderate, st.floats(0, 50), st.floats(0, 100))
def test_logistic_holds_at_over(lower, upper, midpoint, over, later):
    held = Logistic(lower, upper, midpoint, 0.5, over=over)
    free = Logistic(lower, upper, midpoint, 0.5)
    assert held(over + later) == held(over) == free(over)
    assert held(over - later) == free(over - later)


@relaxed
@given(
    st.lists(
        st.tuples(st.floats(0, 100), moderate), min_size=1, max_size=6, unique_by=lambda p: p[0]
    ),
    st.floats(-10, 110),
)
def test_piecewise_is_numpy_interp(points, t):
    points = sorted(points)
    times, values = np.array(points).T
    assert Piecewise(points)(t) == pytest.approx(np.interp(t, times, values), rel=1e-9, abs=1e-7)
    if all(abs(t - s) > 1e-6 for s in times):
        last = max(np.searchsorted(times, t, side="right") - 1, 0)
        assert Piecewise(points, step=True)(t) == values[last]


def test_piecewise_steps_begin_at_their_times():
    stairs = Piecewise([(0, 5), (2, 6), (3, 7)], step=True)
    assert [stairs(t) for t in (0, 1, 2, 2.5, 3, 4)] == [5, 5, 6, 6, 7, 7]
    assert stairs(2 - 1e-8) == 5


# Random draws.


def test_log_uniform_is_uniform_in_log_space():
    lower, upper = 1e-3, 20
    for seed, times in [
        (0, range(5000)),
        (1, np.arange(5000) / 5000),
        (2, range(10**9, 10**9 + 5000)),
    ]:
        draw = LogUniform(lower, upper, seed)
        share = [(math.log(draw(t)) - math.log(lower)) / math.log(upper / lower) for t in times]
        assert stats.kstest(share, "uniform").pvalue > 0.01
        assert abs(stats.pearsonr(share[1:], share[:-1]).statistic) < 0.05


def test_log_uniform_depends_on_seed_and_time_alone():
    draw, same, other = LogUniform(0.1, 4, 0), LogUniform(0.1, 4, 0), LogUniform(0.1, 4, 1)
    forwards = [draw(t) for t in range(1000)]
    assert forwards == [same(t) for t in reversed(range(1000))][::-1]
    assert len(set(forwards)) == 1000
    log = np.log([forwards, [other(t) for t in range(1000)]])
    assert abs(np.corrcoef(log)[0, 1]) < 0.1
    assert draw(-5) == draw(-0.0) == draw(0)


def test_log_uniform_draws_the_same_in_every_process():
    # The file alone, since the package takes seconds to import.
    program = "import runpy, sys; print(runpy.run_path(sys.argv[1])['LogUniform'](0.1, 4, 0)(7))"
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", program, schedules.__file__],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert float(run.stdout) == LogUniform(0.1, 4, 0)(7)


# Combinators, against exact rational arithmetic.

eighth = st.integers(-64, 64).map(lambda n: n / 8)
time = st.integers(0, 64).map(lambda n: n / 8)
line = st.tuples(eighth, eighth, time).map(lambda x: (Linear(*x), Track.line(*x)))
level = st.tuples(eighth, time).map(
    lambda x: (Constant(*x), Track.level(*x).then(Track.level(x[0], 0)))
)
endless = eighth.map(lambda x: (Constant(x), Track.level(x, None)))


def cyclic(x):
    (schedule, track), rest, cycles = x
    period = rest + 0.125 if track.lasts is None else float(track.lasts) + rest or 0.125
    return Cyclic(schedule, period, cycles), track.cycle(period, cycles)


def finite(pairs):
    return pairs.filter(lambda pair: pair[1].lasts is not None)


tracks = st.recursive(
    line | level | endless,
    lambda inner: (
        st.tuples(inner, time, st.none() | st.integers(1, 4)).map(cyclic)
        | st.tuples(finite(inner), inner).map(lambda x: (x[0][0] >> x[1][0], x[0][1].then(x[1][1])))
    ),
    max_leaves=6,
)


@settings(relaxed, max_examples=400)
@given(tracks, st.lists(st.integers(-40, 400).map(lambda n: n / 16), min_size=1, max_size=20))
def test_combinators_in_exact_arithmetic(pair, times):
    schedule, track = pair
    assert schedule.duration == (inf if track.lasts is None else track.lasts)
    for t in times:
        assert schedule(t) == pytest.approx(float(track.at(Fraction(t))), abs=1e-12), t


any_schedule = st.recursive(
    st.builds(Constant, eighth, over=time | st.just(inf))
    | st.builds(Linear, eighth, eighth, time)
    | st.builds(Cosine, eighth, eighth, time)
    | st.builds(Exponential, time.map(lambda x: x + 0.1), time.map(lambda x: x + 0.1), time)
    | st.builds(Sigmoid, eighth, eighth, time, time.map(lambda x: x + 0.1))
    | st.builds(Logistic, eighth, eighth, eighth, eighth, over=time | st.just(inf))
    | st.builds(
        Piecewise,
        st.lists(st.tuples(time, eighth), min_size=1, unique_by=lambda p: p[0]).map(sorted),
        st.booleans(),
    )
    | st.builds(LogUniform, st.just(0.1), time.map(lambda x: x + 0.1), st.integers()),
    lambda inner: (
        st.tuples(inner, time, st.none() | st.integers(1, 4)).map(
            lambda x: Cyclic(
                x[0], (0 if x[0].duration == inf else x[0].duration) + x[1] + 0.125, x[2]
            )
        )
        | st.tuples(inner.filter(lambda s: s.duration < inf), inner).map(Chain)
    ),
    max_leaves=5,
)


@settings(relaxed, max_examples=300)
@given(any_schedule, number)
def test_any_schedule_prints_copies_holds_and_is_finite(schedule, t):
    assert eval(repr(schedule), vars(schedules)) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert type(schedule(t)) is float
    assert math.isfinite(schedule(t))
    if schedule.duration < inf:
        assert schedule(schedule.duration + abs(t)) == schedule(schedule.duration)


@settings(relaxed, max_examples=15)
@given(any_schedule)
def test_any_schedule_makes_the_yaml_round_trip(schedule):
    round_trip(schedule)


@relaxed
@given(any_schedule, time, st.integers(0, 400).map(lambda n: n / 16), st.integers(1, 1000))
def test_cycles_repeat(schedule, rest, t, k):
    period = (0 if schedule.duration == inf else schedule.duration) + rest + 0.125
    cyclic = Cyclic(schedule, period)
    assert cyclic(t + k * period) == cyclic(t)
    assert cyclic(k * period) == schedule(0)
    assert t >= period or cyclic(t) == schedule(t)
    few = Cyclic(schedule, period, cycles=3)
    assert t >= 3 * period or few(t) == cyclic(t)
    assert few(3 * period + t) == few.schedule(min(period, schedule.duration))


@relaxed
@given(length, st.floats(1e-3, 1e3))
@example(1.7e308, 0.1)
@example(1e6 + 0.1, 0.3)
def test_the_phase_of_a_cycle_is_exact(t, period):
    phase = float(Fraction(t) % Fraction(period) / Fraction(period))
    if 1e-9 < phase < 1 - 1e-9:
        assert Cyclic(Linear(0, 1, over=period), period)(t) == pytest.approx(phase, rel=1e-12)


@relaxed
@given(
    any_schedule.filter(lambda s: s.duration < inf),
    any_schedule,
    st.integers(0, 400).map(lambda n: n / 16),
)
def test_chains_change_hands_at_the_duration(a, b, t):
    chained = a >> b
    assert chained.duration == a.duration + b.duration
    assert chained(a.duration) == b(0)
    assert chained(a.duration + t) == b(t)
    assert t >= a.duration or chained(t) == a(t)


@relaxed
@given(st.floats(0, 1), st.floats(0, 1))
@example(0.8, 0.6)
def test_chains_reach_their_end_in_spite_of_rounding(delay, over):
    chained = Constant(0, over=delay) >> Linear(0, 1, over=over)
    assert chained(chained.duration) == 1


@relaxed
@given(any_schedule, any_schedule, any_schedule)
def test_chains_are_associative(a, b, c):
    if a.duration < inf and b.duration < inf:
        assert (
            (a >> b) >> c == a >> (b >> c) == Chain([a, b, c]) == Chain([Chain([a]), Chain([b, c])])
        )
        assert repr((a >> b) >> c) == repr(a >> (b >> c))


# The contract around them.


@dataclass(frozen=True)
class Harmonic(Schedule):
    """A user's own schedule, without end."""

    start: float

    @property
    def duration(self) -> float:
        return inf

    def __call__(self, t: float) -> float:
        return self.start / (1 + t)


def test_a_schedule_of_ones_own_composes():
    schedule = Linear(0, 1, over=2) >> Cyclic(Harmonic(1), period=3)
    assert [schedule(t) for t in (1, 2, 3, 4, 5, 6)] == [0.5, 1, 1 / 2, 1 / 3, 1, 1 / 2]
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert repr(schedule) == "Linear(0, 1, over=2) >> Cyclic(Harmonic(start=1), period=3)"


def test_schedule_is_abstract_and_no_dataclass():
    # The command line refuses subclasses of a dataclass.
    assert not hasattr(Schedule, "__dataclass_fields__")
    with pytest.raises(TypeError, match="abstract"):
        Schedule()


def test_schedules_import_nothing_heavy():
    tree = ast.parse(Path(schedules.__file__).read_text())
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    heavy = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    assert heavy == {"typing_extensions", "matplotlib.axes", "matplotlib.pyplot"}
    at_import = {n.module for n in tree.body if isinstance(n, ast.ImportFrom)}
    assert not any(name.startswith("matplotlib") for name in at_import)


def test_public_names():
    assert sorted(schedules.__all__, key=str.lower) == sorted(
        [kind.__name__ for kind in concrete(Schedule)] + ["Schedule", "as_schedule"], key=str.lower
    )
