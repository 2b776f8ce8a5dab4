import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_vae.data import SplitData, batches
from lightning_vae.data.split import Sizes

ROOT = Path(__file__).parents[2]


class Numbers(SplitData):
    """0 to 19, in the parts that sizes give; counts what it is asked for."""

    def __init__(self, sizes, batch_size=3, **arguments):
        super().__init__(batch_size, **arguments)
        self.sizes = sizes
        self.asked = []

    def part(self, name):
        self.asked.append(name)
        rows = self.sizes.rows(name, 20, self.seed)
        return rows if len(rows) else None


def seen(loader):
    return torch.cat(list(loader)).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_parts_are_a_partition_that_the_seed_decides(seed):
    sizes = Sizes(val=5, test=0.25)
    rows = {part: sizes.rows(part, 20, seed).tolist() for part in ("train", "val", "test")}
    assert [len(rows[part]) for part in ("train", "val", "test")] == [10, 5, 5]
    assert {row for part in rows.values() for row in part} == set(range(20))
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,))).permutation(20)
    assert rows["val"] + rows["test"] + rows["train"] == order.tolist()


def test_the_size_of_training_changes_nothing_held_out():
    few, all_left = (Sizes(train=train, val=4, test=4) for train in (2, None))
    for part in ("val", "test"):
        assert few.rows(part, 20, 1).equal(all_left.rows(part, 20, 1))
    assert few.rows("train", 20, 1).tolist() == all_left.rows("train", 20, 1)[:2].tolist()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train": 0}, r"^train_size must be a count, an integer of at least 1, .* got 0\."),
        ({"val": -1}, r"^val_size must be a count, an integer of at least 0, .* got -1\."),
        ({"val": True}, r"^val_size .* got True"),
        ({"test": 1.5}, r"^test_size .* a float between 0 and 1, got 1\.5"),
        ({"test": float("nan")}, r"^test_size .* got nan"),
        ({"test": "10"}, r"^test_size .* got '10'"),
    ],
)
def test_wrong_size_is_named(sizes, message):
    with pytest.raises(ValueError, match=message):
        Sizes(**sizes)


def test_a_whole_float_is_a_count():
    """What a command line makes of `--data.val_size=1`."""
    assert Sizes(val=1.0, test=0.0).counts(20) == {"train": 19, "val": 1, "test": 0}


@pytest.mark.parametrize("sizes", [{"val": 20}, {"train": 18, "test": 3}, {"val": 0.99}])
def test_too_many_are_refused(sizes):
    with pytest.raises(ValueError, match=r"^train_size=.* than the 20 examples there are"):
        Sizes(**sizes).counts(20)


def test_loaders_are_of_the_parts():
    sizes = Sizes(val=5, test=4)
    data = Numbers(sizes, seed=2)
    train = data.train_dataloader()
    first, second = seen(train), seen(train)
    assert sorted(first) == sorted(second) == sorted(sizes.rows("train", 20, 2).tolist())
    assert first != second
    for _ in range(2):
        assert seen(data.val_dataloader()) == sizes.rows("val", 20, 2).tolist()
        assert seen(data.test_dataloader()) == sizes.rows("test", 20, 2).tolist()
        assert seen(data.predict_dataloader()) == sizes.rows("test", 20, 2).tolist()


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        ("fit", ["train", "val"]),
        ("validate", ["val"]),
        ("test", ["test"]),
        ("predict", ["test"]),
    ],
)
def test_a_stage_reads_what_it_needs_once(stage, parts):
    data = Numbers(Sizes(val=2, test=2))
    data.setup(stage)
    data.setup(stage)
    assert data.asked == parts


def test_nothing_to_validate_on_is_fine_in_training_only():
    data = Numbers(Sizes())
    data.setup("fit")
    assert data.val_dataloader() == []
    with pytest.raises(ValueError, match=r"^val is not given: pass Numbers\(..., val_size=...\)"):
        data.setup("validate")
    with pytest.raises(ValueError, match=r"^test is not given"):
        data.test_dataloader()


@pytest.mark.parametrize("workers", [0, 1])
def test_ranks_share_each_part(monkeypatch, workers):
    ranks = []
    for rank in range(2):
        monkeypatch.setattr(batches, "_place", lambda rank=rank: (rank, 2))
        data = Numbers(Sizes(val=7), seed=1, workers=workers)
        ranks.append((seen(data.train_dataloader()), seen(data.val_dataloader())))
    rows = Sizes(val=7).rows
    (train, val), (other_train, other_val) = ranks
    assert len(train) == len(other_train) == 7  # 13, and one again
    assert {*train, *other_train} == set(rows("train", 20, 1).tolist())
    assert sorted(val + other_val) == sorted(rows("val", 20, 1).tolist())


def test_a_part_with_fewer_examples_than_ranks_is_refused(monkeypatch):
    monkeypatch.setattr("lightning_vae.data.split.ranks", lambda: 3)
    data = Numbers(Sizes(val=2, test=2))
    for name, loader in (("val", data.val_dataloader), ("test", data.test_dataloader)):
        with pytest.raises(
            ValueError, match=rf"^{name} must have an example .* 2 for 3 .* least 3"
        ):
            loader()
    assert len(seen(data.predict_dataloader())) == 2, "predictions wait for no other rank"
    assert Numbers(Sizes()).val_dataloader() == []
    assert len(Numbers(Sizes(val=3)).val_dataloader()) == 1


@pytest.mark.slow
def test_two_ranks_and_one_example_to_validate_on_end_at_once():
    code = """
import torch
from lightning.pytorch import Trainer
from lightning_vae import VAEModule
from lightning_vae.data import Arrays
from lightning_vae.networks import MLPDecoder, MLPEncoder

data = Arrays(torch.rand(8, 4), val=torch.rand(1, 4), batch_size=4)
trainer = Trainer(
    accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False,
    enable_progress_bar=False, enable_checkpointing=False,
)
if __name__ == "__main__":
    trainer.fit(VAEModule(MLPEncoder((4,), 2), MLPDecoder((4,), 2)), data)
"""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(code)
        done = subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            timeout=60,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert "val must have an example for every rank, got 1 for 2 ranks" in done.stderr


@pytest.mark.parametrize("name", ["batch_size", "seed", "workers"])
def test_wrong_argument_is_named(name):
    with pytest.raises(ValueError, match=rf"^{name} must be a whole number"):
        Numbers(Sizes(), **{name: -1})
