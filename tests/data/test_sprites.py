import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_vae.data.sprites import (
    COUNT,
    SIZES,
    Sprites,
    draw,
    factors_of,
    index_of,
    values_of,
)

PUBLISHED = json.loads((Path(__file__).parent / "sprites_hashes.json").read_text())
RECORDED = json.loads((Path(__file__).parents[1] / "recorded/variational.json").read_text())


def drawn(rows):
    return draw(factors_of(torch.as_tensor(rows))).numpy()


def published(folder, name):
    """The published images in one of the two files that have some, and their rows."""
    with np.load(folder / "dsprites" / name) as file:
        return file["original_dataset_indices"], file["imgs"]


# The drawing rule


def test_images_have_the_published_hashes():
    rows, hashes = zip(*PUBLISHED["sha256"].items(), strict=True)
    images = np.packbits(drawn([int(row) for row in rows]).reshape(len(rows), -1), axis=1)
    assert [hashlib.sha256(image.tobytes()).hexdigest()[:32] for image in images] == list(hashes)


def test_known_exceptions_are_one_pixel_off():
    rows, packed = zip(*PUBLISHED["one_pixel"].items(), strict=True)
    bits = [np.unpackbits(np.frombuffer(bytes.fromhex(line), np.uint8)) for line in packed]
    wrong = drawn([int(row) for row in rows]) != np.stack(bits).reshape(-1, 64, 64)
    assert wrong.sum((1, 2)).tolist() == [1] * 9


@pytest.mark.parametrize(
    ("name", "count", "exact"),
    [("dsprites_subset.npz", 20_000, 19_997), ("dsprites_downsampled.npz", 46_080, 46_074)],
)
def test_published_images_are_exact_up_to_a_pixel(real_data, name, count, exact):
    rows, images = published(real_data, name)
    wrong = np.concatenate(
        [
            (drawn(part) != expected).sum((1, 2))
            for part, expected in zip(
                np.split(rows, range(1000, count, 1000)),
                np.split(images, range(1000, count, 1000)),
                strict=True,
            )
        ]
    )
    assert len(wrong) == count
    assert exact / count >= 0.9998
    assert (wrong == 0).sum() == exact
    assert wrong.max() == 1


def test_drawing_does_not_depend_on_the_batch():
    rows = np.random.default_rng(1).integers(0, COUNT, 40)
    one_by_one = np.concatenate([drawn([row]) for row in rows])
    assert (drawn(rows) == one_by_one).all()


def test_an_empty_batch_is_empty():
    assert draw(torch.empty(0, 5, dtype=torch.int64)).shape == (0, 64, 64)


def test_first_and_last_orientation_are_the_same_image():
    factors = factors_of(torch.arange(0, COUNT, 7919))
    first = factors * torch.tensor([1, 1, 0, 1, 1])
    last = first + torch.tensor([0, 0, 39, 0, 0])
    assert (draw(first) == draw(last)).all()


@pytest.mark.parametrize(
    "factors",
    [
        torch.zeros(5, dtype=torch.int64),
        torch.zeros(2, 6, dtype=torch.int64),
        torch.zeros(2, 5),
        torch.tensor([[3, 0, 0, 0, 0]]),
        torch.tensor([[0, 0, 0, -1, 0]]),
    ],
    ids=["vector", "six factors", "float", "beyond", "negative"],
)
def test_wrong_factors_are_named(factors):
    with pytest.raises(ValueError, match=r"^factors must be"):
        draw(factors)


# Rows, classes and values


def test_rows_are_those_on_record():
    case = next(case for case in RECORDED["cases"] if case["id"] == "dsprites-bases")
    codes = torch.tensor(case["inputs"]["codes"])
    assert case["outputs"]["sizes"] == [1, *SIZES]
    assert index_of(codes[:, 1:]).tolist() == case["outputs"]["index"]


def test_rows_and_classes_are_each_others_inverse():
    rows = torch.arange(COUNT)
    factors = factors_of(rows)
    assert (index_of(factors) == rows).all()
    assert factors.amax(0).tolist() == [size - 1 for size in SIZES]
    expected = np.stack(np.unravel_index(rows.numpy(), SIZES), -1)
    assert (factors.numpy() == expected).all()


def test_values_are_the_published_ones():
    # The second published image of the file's documentation: (shape, scale, orientation, x, y).
    values = values_of(torch.tensor([[0, 0, 0, 0, 0], [1, 5, 20, 26, 28]]))
    expected = [[1, 0.5, 0, 0, 0], [2, 1, 3.22214631, 0.83870968, 0.90322581]]
    assert values.numpy() == pytest.approx(np.array(expected), abs=1e-8)


# The data module


def rows_of(loader):
    return torch.cat([index_of(factors) for _, factors in loader]).tolist()


def test_batches_are_images_and_their_factors():
    data = Sprites(batch_size=32, train_size=70, val_size=20, test_size=10)
    x, factors = next(iter(data.train_dataloader()))
    assert x.shape == (32, 1, 64, 64)
    assert x.dtype == torch.float32
    assert factors.shape == (32, 5)
    assert factors.dtype == torch.int64
    assert (x[:, 0] == draw(factors)).all()


def test_splits_are_disjoint_and_repeat():
    sizes = {"train_size": 700, "val_size": 200, "test_size": 100}
    data, again = Sprites(**sizes), Sprites(**sizes)
    train, val, test = (
        rows_of(loader)
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    )
    assert [len(train), len(val), len(test)] == [700, 200, 100]
    assert len({*train, *val, *test}) == 1000
    assert rows_of(again.train_dataloader()) == train
    assert rows_of(again.val_dataloader()) == val
    assert rows_of(Sprites(**sizes, seed=1).val_dataloader()) != val


def test_training_is_shuffled_anew():
    loader = Sprites(train_size=100, val_size=10, test_size=10).train_dataloader()
    first, second = rows_of(loader), rows_of(loader)
    assert first != second
    assert sorted(first) == sorted(second)


def test_training_on_less_changes_nothing_held_out():
    small, large = (Sprites(train_size=n, val_size=50, test_size=50) for n in (10, 1000))
    assert rows_of(small.val_dataloader()) == rows_of(large.val_dataloader())
    assert rows_of(small.test_dataloader()) == rows_of(large.test_dataloader())


def test_by_default_every_image_is_used_once():
    data = Sprites()
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    rows = torch.cat([loader.dataset.rows for loader in loaders])
    assert rows.sort().values.equal(torch.arange(COUNT))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, r"^batch_size must be a whole number of at least 1, got 0"),
        ({"train_size": 0}, r"^train_size must be a count, an integer of at least 1, .* got 0"),
        ({"val_size": -1}, r"^val_size must be a count, an integer of at least 0, .* got -1"),
        ({"test_size": 1.5}, r"^test_size must be a count, .* or a share of all, .* got 1.5"),
        ({"seed": -1}, r"^seed must be a whole number of at least 0, got -1"),
        ({"train_size": 717_281}, r"train_size=717281, .* are more than the 737280 examples"),
        ({"val_size": 737_280}, r"val_size=737280 .* are more than the 737280 examples"),
    ],
)
def test_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sprites(**arguments)
