import itertools
import json
import os

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import TensorDataset

from lightning_vae import data
from lightning_vae.data import Arrays, Batches, Stored
from lightning_vae.data.batches import order, shard, sizes, stream
from lightning_vae.data.mnist import bernoulli

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


def lists(loader):
    return [batch.tolist() for batch in loader]


def flat(batches):
    return [number for batch in batches for number in batch]


def numbers(n, batch_size, **arguments):
    return Batches(Stored(torch.arange(n)), batch_size, **arguments)


# The plan of an epoch

PLANS = list(itertools.product([*range(1, 30), 100], [1, 2, 3, 7], [1, 2, 3, 4]))


def plan(size, world, batch_size, pad, drop_last=False):
    """What each rank sees: a list of batches, each a list of indices."""
    indices = order(size, seed=1, epoch=2)
    for rank in range(world):
        own = shard(indices, rank, world, pad).tolist()
        cuts = [0, *itertools.accumulate(sizes(size, rank, world, batch_size, pad, drop_last))]
        yield [own[start:stop] for start, stop in itertools.pairwise(cuts)]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_each_example_is_seen_exactly_once_over_all_ranks(batch_size):
    for size, _, world in PLANS:
        ranks = list(plan(size, world, batch_size, pad=False))
        assert sorted(i for rank in ranks for batch in rank for i in batch) == list(range(size))
        assert all(1 <= len(batch) <= batch_size for rank in ranks for batch in rank)
        if batch_size > 1 and size >= world:
            assert len({len(rank) for rank in ranks}) == 1


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_padded_ranks_see_batches_of_equal_sizes(batch_size):
    for size, _, world in PLANS:
        ranks = list(plan(size, world, batch_size, pad=True))
        seen = [i for rank in ranks for batch in rank for i in batch]
        assert set(seen) == set(range(size))
        assert len(seen) - size < world
        assert len({tuple(map(len, rank)) for rank in ranks}) == 1


@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_drop_last_leaves_full_batches_only(batch_size, pad):
    for size, _, world in PLANS:
        ranks = list(plan(size, world, batch_size, pad, drop_last=True))
        each = (-(-size // world) if pad else size // world) // batch_size
        assert [list(map(len, rank)) for rank in ranks] == [[batch_size] * each] * world


def test_one_rank_sees_plain_batches():
    assert sizes(10, 0, 1, 4, pad=False, drop_last=False) == [4, 4, 2]
    assert sizes(8, 0, 1, 4, pad=False, drop_last=False) == [4, 4]


def test_order_is_a_permutation_of_its_own_for_each_seed_and_epoch():
    orders = [tuple(order(20, seed, epoch)) for seed in range(5) for epoch in range(5)]
    assert all(sorted(o) == list(range(20)) for o in orders)
    assert len(set(orders)) == 25
    assert tuple(order(20, 3, 4)) == orders[3 * 5 + 4]


def test_streams_differ_where_keys_differ_by_a_zero():
    keys = [(), (0,), (0, 0), (0, 0, 0), (1,), (1, 0), (0, 1)]
    assert len({stream(0, *key).random() for key in keys}) == len(keys)


# The loader


@pytest.mark.parametrize("drop_last", [False, True])
def test_goes_through_the_data_in_order(drop_last):
    loader = numbers(7, 3, drop_last=drop_last)
    expected = [[0, 1, 2], [3, 4, 5]] + ([] if drop_last else [[6]])
    assert lists(loader) == lists(loader) == expected
    assert len(loader) == len(expected)


def test_shuffles_anew_each_pass():
    loader, again = (numbers(20, 6, shuffle=True, seed=5) for _ in range(2))
    passes = [flat(lists(loader)) for _ in range(3)]
    assert passes == [order(20, 5, epoch).tolist() for epoch in range(3)]
    again.set_epoch(2)
    assert flat(lists(again)) == passes[2]


def test_epoch_may_be_announced_after_the_iterator_exists():
    loader = numbers(20, 20, shuffle=True)
    iterator = iter(loader)
    loader.batch_sampler.sampler.set_epoch(3)
    assert next(iterator).tolist() == order(20, 0, 3).tolist()


def test_two_iterators_do_not_disturb_each_other():
    pairs = list(zip(numbers(5, 2), loader := numbers(5, 2), strict=True))
    assert [a.tolist() for a, _ in pairs] == lists(loader)
    both = list(zip(loader, loader, strict=True))
    assert all(a.equal(b) for a, b in both)


def test_position_is_saved_and_taken_up():
    loader = numbers(20, 6, shuffle=True)
    expected = [lists(loader) for _ in range(3)]
    for epoch, batch in itertools.product(range(2), range(5)):
        loader = numbers(20, 6, shuffle=True)
        loader.set_epoch(epoch)
        taken = list(itertools.islice(loader, batch))
        state = json.loads(json.dumps(loader.state_dict()))
        assert not taken or state == {"epoch": epoch, "batch": len(taken)}
        if taken:
            resumed = numbers(20, 6, shuffle=True)
            resumed.load_state_dict(state)
            assert resumed.state_dict() == state
            resumed.set_epoch(epoch)
            assert lists(resumed) == expected[epoch][batch:]
            assert lists(resumed) == expected[epoch + 1]


def test_another_epoch_starts_at_its_beginning():
    loader = numbers(20, 6, shuffle=True)
    loader.load_state_dict({"epoch": 4, "batch": 2})
    loader.set_epoch(5)
    assert flat(lists(loader)) == order(20, 0, 5).tolist()


def test_noise_is_drawn_for_each_epoch_and_batch():
    def noise(batch, generator):
        return generator.random()

    loader = numbers(6, 2, noise=noise, seed=1)
    draws = [list(loader) for _ in range(2)]
    assert len(set(draws[0] + draws[1])) == 6
    loader.set_epoch(1)
    assert list(loader) == draws[1]
    assert list(numbers(6, 2, noise=noise, seed=2)) != draws[0]


def test_takes_a_tensor_dataset():
    data = TensorDataset(torch.arange(5), torch.arange(5) * 2)
    batches = list(Batches(data, 2, shuffle=True))
    assert all((y == 2 * x).all() for x, y in batches)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, r"^batch_size must be a whole number of at least 1, got 0"),
        ({"batch_size": 2.5}, r"^batch_size must be a whole number of at least 1, got 2.5"),
        ({"batch_size": 2, "seed": -1}, r"^seed must be a whole number of at least 0, got -1"),
        (
            {"batch_size": 9, "drop_last": True},
            r"^drop_last leaves no batch of batch_size=9 from 8",
        ),
        ({"batch_size": 2, "n": 0}, r"^dataset is empty"),
    ],
)
def test_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        numbers(**{"n": 8, **arguments})


# What is stored


def test_bytes_become_the_unit_interval():
    pixels = torch.arange(256).to(torch.uint8)[:, None]
    (x,) = Batches(Stored(pixels), 256)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, pixels / 255, rtol=1e-7, atol=0)
    assert (x[0], x[-1]) == (0, 1)


def test_shapes_and_other_types_are_kept():
    rng = np.random.default_rng(0)
    arrays = (
        torch.tensor(rng.integers(0, 256, (9, 2, 3), np.uint8)),
        torch.tensor(rng.random((9, 4)) < 0.5),
        torch.tensor(rng.random((9, 1, 2), np.float32)),
        torch.arange(9),
    )
    index = torch.tensor([8, 0, 0, 3])
    pixels, bits, floats, integers = Stored(arrays)[index]
    torch.testing.assert_close(pixels, arrays[0][index] / 255, rtol=1e-7, atol=0)
    assert bits.equal(arrays[1][index].float())
    assert floats.equal(arrays[2][index])
    assert integers.equal(arrays[3][index])


def test_arrays_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r"^arrays must have equally many .* got \[3, 2\]"):
        Stored((torch.arange(3), torch.arange(2)))


def test_batches_do_not_share_memory_with_the_data():
    data = torch.zeros(4, 3)
    batches = list(Batches(Stored(data), 2))
    batches[0].fill_(1)
    assert data.sum() == batches[1].sum() == 0


# In a Trainer


class Watcher(LightningModule):
    """Keeps what it was given: (epoch, batch_idx, batch) in training, batches in validation."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []
        self.validated = []

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch_idx, repr(batch)))
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.validated.append(repr(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Noisy(Arrays):
    """Arrays with a draw of its own in each epoch and batch, as dynamic binarisation has it."""

    def train_dataloader(self):
        loader = super().train_dataloader()
        loader.noise = bernoulli
        return loader


def noisy():
    x = torch.linspace(0.1, 0.9, 18)[:, None].repeat(1, 8)
    return Noisy((x, torch.arange(18)), val=x[:5], batch_size=4, seed=3)


def fit(ckpt_path=None, callbacks=(), data=None, **arguments):
    model = Watcher()
    trainer = Trainer(
        **QUIET, callbacks=list(callbacks), enable_checkpointing=bool(callbacks), **arguments
    )
    trainer.fit(model, noisy() if data is None else data, ckpt_path=ckpt_path)
    return model


RUNS = {
    "epochs": {"max_epochs": 3},
    "steps": {"max_steps": 15},
    "limited": {"max_epochs": 3, "limit_train_batches": 3},
    "validating in mid-epoch": {"max_epochs": 3, "val_check_interval": 2},
    "reloading": {"max_epochs": 3, "reload_dataloaders_every_n_epochs": 1},
}


@pytest.mark.filterwarnings("error:.*dataloader is not resumable.*")
@pytest.mark.parametrize("arguments", RUNS.values(), ids=RUNS.keys())
def test_resumed_run_sees_what_the_uninterrupted_one_sees(tmp_path, arguments):
    every_step = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    whole = fit(callbacks=[every_step], **arguments)
    assert len(set(whole.seen)) == len(whole.seen) >= 9
    for step in range(1, len(whole.seen)):
        resumed = fit(tmp_path / f"step={step}.ckpt", **arguments)
        assert resumed.seen == whole.seen[step:]


@pytest.mark.parametrize("save_on_train_epoch_end", [False, True])
def test_resumed_between_epochs(tmp_path, save_on_train_epoch_end):
    each_epoch = ModelCheckpoint(
        tmp_path,
        filename="{step}",
        save_top_k=-1,
        save_on_train_epoch_end=save_on_train_epoch_end,
    )
    whole = fit(callbacks=[each_epoch], max_epochs=3)
    for step in (5, 10):
        assert fit(tmp_path / f"step={step}.ckpt", max_epochs=3).seen == whole.seen[step:]


def test_epochs_have_the_order_of_their_number():
    model = fit(data=Arrays(torch.arange(20), batch_size=20, seed=3), max_epochs=3)
    expected = [repr(torch.tensor(order(20, 3, epoch))) for epoch in range(3)]
    assert [batch for _, _, batch in model.seen] == expected


def test_overfitting_repeats_the_same_batches():
    data = Arrays(torch.arange(20), val=torch.arange(20), batch_size=4)
    model = fit(data=data, max_epochs=3, overfit_batches=2)
    seen = [batch for _, _, batch in model.seen]
    assert seen == [repr(torch.arange(4)), repr(torch.arange(4, 8))] * 3


def test_validation_is_in_order_and_repeats():
    model = fit(max_epochs=2)
    assert len(model.validated) == 4
    assert model.validated[:2] == model.validated[2:]
    expected = Stored(noisy().given["val"])
    assert model.validated[0] == repr(expected[torch.arange(4)])


def test_the_shorter_of_two_loaders_is_shuffled_again():
    long, short = numbers(6, 1, shuffle=True), numbers(3, 1, shuffle=True)
    combined = CombinedLoader({"long": long, "short": short}, "max_size_cycle")
    seen = [batch["short"].item() for batch, _, _ in combined]
    assert seen == [*order(3, 0, 0), *order(3, 0, 1)]


class Recorder(Watcher):
    """Writes what its rank was given to a file, since its process does not come back."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch.tolist()))
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch.tolist())

    def on_fit_end(self):
        path = self.folder / f"{self.global_rank}.json"
        path.write_text(json.dumps([self.seen, self.validated]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_two_ranks_share_the_data(tmp_path):
    data = Arrays(torch.arange(21), val=torch.arange(9), batch_size=4, seed=3)
    trainer = Trainer(
        **QUIET, strategy="ddp_fork", devices=2, max_epochs=2, enable_checkpointing=False
    )
    trainer.fit(Recorder(tmp_path), data)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for epoch in range(2):
        seen = [[batch for e, batch in rank[0] if e == epoch] for rank in ranks]
        assert [list(map(len, batches)) for batches in seen] == [[4, 4, 3], [4, 4, 3]]
        expected = np.resize(order(21, 3, epoch), 22)
        assert [flat(batches) for batches in seen] == [[*expected[0::2]], [*expected[1::2]]]
    # Batches of equal number, and each example once.
    assert [rank[1][:2] for rank in ranks] == [[[0, 2, 4, 6], [8]], [[1, 3, 5], [7]]]


DATA = [
    {
        "class_path": "lightning_vae.data.Arrays",
        "init_args": {"train": "{folder}/x.npy", "val": ["{folder}/x.npy", "{folder}/y.npy"]},
    },
    {
        "class_path": "lightning_vae.data.MNIST",
        "init_args": {"root": "{folder}", "binarisation": "dynamic", "split": "50k/10k/10k"},
    },
    {
        "class_path": "lightning_vae.data.FashionMNIST",
        "init_args": {"root": "{folder}", "download": False},
    },
    {
        "class_path": "lightning_vae.data.Sprites",
        "init_args": {"train_size": 100, "val_size": 10, "batch_size": 5},
    },
    {"class_path": "lightning_vae.data.LinearGaussian", "init_args": {"size": 10}},
    {
        "class_path": "lightning_vae.data.DSprites",
        "init_args": {"root": "{folder}", "memory_map": "{folder}/bits.npy", "val_size": 0.1},
    },
    {
        "class_path": "lightning_vae.data.CelebA",
        "init_args": {"root": "{folder}", "target": "attributes", "size": [64, 48], "crop": None},
    },
    {
        "class_path": "lightning_vae.data.CelebAHQ",
        "init_args": {"root": "{folder}", "as_npy": True, "size": None},
    },
    {
        "class_path": "lightning_vae.data.ImageFolder",
        "init_args": {
            "root": "{folder}",
            "target": "label",
            "transform": {"class_path": "torch.nn.ReLU"},
            "target_transform": "torch.neg",
            "loader": "lightning_vae.data.celeba_hq.open_npy",
            "extensions": [".npy"],
            "corrupt": "skip",
            "val_size": 3,
        },
    },
    {
        "class_path": "lightning_vae.data.BinarizedMNIST",
        "init_args": {"root": "{folder}", "download": False},
    },
    {
        "class_path": "lightning_vae.data.Omniglot",
        "init_args": {"root": "{folder}", "alphabets": "small2", "train_size": 0.5},
    },
    {"class_path": "lightning_vae.data.FreyFaces", "init_args": {"root": "{folder}"}},
    {
        "class_path": "lightning_vae.data.Counts",
        "init_args": {"path": "{folder}", "labels": "cell_type", "layer": "raw"},
    },
    {
        "class_path": "lightning_vae.data.PBMC3k",
        "init_args": {"root": "{folder}", "labels": "{folder}/types.tsv", "min_cells": 3},
    },
    {
        "class_path": "lightning_vae.data.Text",
        "init_args": {"root": "{folder}", "vocabulary_size": 100, "batch_size": 4},
    },
    {"class_path": "lightning_vae.data.ToyText", "init_args": {"words": 20, "train_size": 10}},
]


def test_every_data_module_is_among_them():
    modules = {
        name for name in data.__all__ if issubclass(getattr(data, name), LightningDataModule)
    }
    assert {case["class_path"].split(".")[-1] for case in DATA} == modules - {"SplitData"}


@pytest.mark.parametrize("case", DATA, ids=lambda case: case["class_path"].split(".")[-1])
def test_data_modules_are_made_from_a_config(tmp_path, monkeypatch, case):
    monkeypatch.setattr("sys.argv", ["test"])
    np.save(tmp_path / "x.npy", np.zeros((6, 3)))
    np.save(tmp_path / "y.npy", np.arange(6))
    config = json.loads(json.dumps(case).replace("{folder}", str(tmp_path)))
    cli = LightningCLI(
        BoringModel,
        subclass_mode_data=True,
        args={"data": config},
        run=False,
        save_config_callback=None,
        seed_everything_default=False,
        trainer_defaults=QUIET,
    )
    assert type(cli.datamodule).__name__ == case["class_path"].split(".")[-1]
    if isinstance(cli.datamodule, Arrays):
        cli.datamodule.setup("fit")
        assert len(next(iter(cli.datamodule.val_dataloader()))) == 2
    cli.parser.dump(cli.config)
