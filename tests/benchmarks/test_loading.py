"""Loading from memory: whole batches against a default DataLoader and against slices.

All three give float32 batches from uint8 images, in turn, so that a busy machine slows them alike;
what is judged is the median of the ratios of neighbours, on one thread.
"""

import time
from statistics import median

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_vae.data import Batches, Sprites, Stored

ROUNDS, BLOCK = 150, 4  # batches a turn
EXAMPLES = 10_000


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def scaled(batch):
    x, *rest = batch
    return x.float() / 255, *rest


def endless(start):
    while True:
        yield from start()


def contenders(arrays, batch_size):
    default = DataLoader(TensorDataset(*arrays), batch_size, shuffle=True)
    gathered = Batches(Stored(arrays), batch_size, shuffle=True)
    starts = range(0, len(arrays[0]), batch_size)
    return {
        "default": endless(lambda: map(scaled, default)),
        "slices": endless(
            lambda: (scaled([a[start : start + batch_size] for a in arrays]) for start in starts)
        ),
        "gathered": endless(lambda: gathered),
    }


def turn(batches):
    """Microseconds a batch, over one turn."""
    start = time.perf_counter()
    for _ in range(BLOCK):
        next(batches)
    return (time.perf_counter() - start) / BLOCK * 1e6


def times(contestants):
    rounds = [{name: turn(c) for name, c in contestants.items()} for _ in range(ROUNDS)]
    return {name: [times[name] for times in rounds] for name in contestants}


def ratio(slow, fast):
    return median(s / f for s, f in zip(slow, fast, strict=True))


# The default loader spends some two microseconds on each example, which is nearly all of its time
# for small images. At 64 x 64 most of the time goes into writing float32 numbers, and sequential
# slices are themselves less than four times as fast.
CASES = {
    "64 x 64, batch 64": ((1, 64, 64), 64, False, 2.0),
    "28 x 28 and labels, batch 128": ((1, 28, 28), 128, True, 5.0),
}


@pytest.mark.parametrize(
    ("shape", "batch_size", "labels", "floor"), CASES.values(), ids=CASES.keys()
)
def test_whole_batches_are_fast(request, shape, batch_size, labels, floor):
    x = torch.randint(0, 256, (EXAMPLES, *shape), dtype=torch.uint8)
    arrays = (x, torch.randint(0, 10, (EXAMPLES,))) if labels else (x,)
    us = times(contenders(arrays, batch_size))
    over_default = ratio(us["default"], us["gathered"])
    of_slices = ratio(us["slices"], us["gathered"])
    medians = ", ".join(f"{name} {median(t):.0f} us" for name, t in us.items())
    print(
        f"\n{request.node.callspec.id}: {medians}; "
        f"{over_default:.1f} x the default loader, {of_slices:.0%} of the speed of slices"
    )
    assert over_default >= floor
    assert of_slices >= 0.5


def test_drawing_a_batch_of_sprites_is_quick():
    batches = iter(Sprites(train_size=64 * 400).train_dataloader())
    next(batches)
    us = [turn(batches) for _ in range(50)]
    print(f"\nsprites, batch 64: {median(us) / 1000:.2f} ms")
    assert median(us) < 4000
