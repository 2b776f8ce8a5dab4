"""Cycles after calls: what a stop and a start change, and what they leave."""

import pytest

from lightning_vae import Cyclic, Linear
from lightning_vae.callbacks.cycling import Event, begun, cycling

CYCLES = Cyclic(Linear(0, 1, over=4), period=4, cycles=3)  # 0, ¼, ½, ¾ three times, then 1


def steps(events: list[Event], n: int = 24) -> list[float]:
    """Quarters at the times 0, 1, ..., every start counting from the time after its call."""
    settled = [begun(event, event.called + 1) for event in events]
    return [4 * cycling(CYCLES, settled, t) for t in range(n)]


RAMP = [0, 1, 2, 3]
CALLS = {
    "none": ([], [*RAMP * 3, *[4] * 12]),
    "stopped in the second cycle": ([Event("stop", 5)], [*RAMP * 2, *[4] * 16]),
    "stopped in a cycle's last step": ([Event("stop", 7)], [*RAMP * 2, *[4] * 16]),
    "stopped twice": ([Event("stop", 5), Event("stop", 9)], [*RAMP * 2, *[4] * 16]),
    "stopped when over": ([Event("stop", 13)], [*RAMP * 3, *[4] * 12]),
    "started while running": ([Event("start", 5)], [*RAMP * 3, *[4] * 12]),
    "started in a cycle's last step": ([Event("start", 7)], [*RAMP * 3, *[4] * 12]),
    "started in the very last step": ([Event("start", 11)], [*RAMP * 3, *[4] * 12]),
    "started when over": ([Event("start", 12)], [*RAMP * 3, 4, *RAMP * 2, 0, 1, 2]),
    "undone at once": ([Event("stop", 5), Event("start", 5)], [*RAMP * 3, *[4] * 12]),
    "undone later": ([Event("stop", 5), Event("start", 6)], [*RAMP * 3, *[4] * 12]),
    "undone in the last step": ([Event("stop", 5), Event("start", 7)], [*RAMP * 3, *[4] * 12]),
    "restarted as soon as held": (
        [Event("stop", 5), Event("start", 8)],
        [*RAMP * 2, 4, *RAMP * 3, 4, 4, 4],
    ),
    "restarted, and stopped before it began": (
        [Event("stop", 5), Event("start", 10), Event("stop", 10)],
        [*RAMP * 2, *[4] * 16],
    ),
    "restarted, and stopped again": (
        [Event("stop", 5), Event("start", 10), Event("stop", 13)],
        [*RAMP * 2, 4, 4, 4, *RAMP, *[4] * 9],
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_calls_change_what_they_say_and_nothing_else(case):
    events, quarters = CALLS[case]
    assert steps(events) == quarters


@pytest.mark.parametrize("cycles", range(1, 13))
def test_a_hold_begins_at_the_cycles_end_for_all_the_rounding_of_fractions(cycles):
    """In fractions of a run, k/T and the sum of periods meet at the edge only roughly."""
    period, T = 1 / cycles, 7 * cycles
    cyclic = Cyclic(Linear(0, 1, over=period), period=period, cycles=cycles)
    for stopped in range(T):
        events = [Event("stop", stopped / T)]
        held = 7 * (stopped // 7 + 1)
        assert all(cycling(cyclic, events, t / T) == 1 for t in range(held, T + 1))
        assert all(cycling(cyclic, events, t / T) == cyclic(t / T) for t in range(held))
        restarted = [*events, begun(Event("start", held / T), (held + 1) / T)]
        assert cycling(cyclic, restarted, (held + 1) / T) == 0
