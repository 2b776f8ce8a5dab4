import gzip
import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_vae.data import MNIST, FashionMNIST, mnist, published
from lightning_vae.data.batches import stream
from lightning_vae.data.idx import read_idx
from lightning_vae.data.mnist import bernoulli, binarise

TRAIN, TEST, HELD_OUT = 60, 10, 15
STEMS = [
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
]


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    images = {"train": (TRAIN, 28, 28), "t10k": (TEST, 28, 28)}
    return {
        **{
            f"{part}-images-idx3-ubyte": rng.integers(0, 256, s, np.uint8)
            for part, s in images.items()
        },
        **{
            f"{part}-labels-idx1-ubyte": rng.integers(0, 10, s[0], np.uint8)
            for part, s in images.items()
        },
    }


@pytest.fixture
def folder(tmp_path, arrays, monkeypatch):
    """An MNIST of 60 + 10 random images in tmp_path/mnist; nothing can be downloaded."""
    contents = {f"{stem}.gz": gzip.compress(idx(array)) for stem, array in arrays.items()}
    contents |= {stem: idx(array) for stem, array in arrays.items()}
    checksums = {name: sha256(data) for name, data in contents.items()}
    published = replace(MNIST.published, checksums=checksums, mirrors=("http://127.0.0.1:9/",))
    monkeypatch.setattr(MNIST, "published", published)
    monkeypatch.setattr(mnist, "HELD_OUT", HELD_OUT)
    place(tmp_path / "mnist", contents, ".gz")
    return tmp_path


def place(folder, contents, suffix):
    folder.mkdir(parents=True)
    for stem in STEMS:
        (folder / f"{stem}{suffix}").write_bytes(contents[f"{stem}{suffix}"])


def gathered(loader):
    x, y = zip(*loader, strict=True)
    return torch.cat(x), torch.cat(y)


def rows_of(x, images):
    """Which of `images` each of x [N, 1, 28, 28] is."""
    where = {image.tobytes(): row for row, image in enumerate(images)}
    return [where[image.tobytes()] for image in x.mul(255).round().byte().numpy()]


# Files


@pytest.mark.parametrize("below", [".", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("unpacked", [False, True])
def test_files_are_found_and_not_downloaded(folder, arrays, below, unpacked):
    for path in (folder / "mnist").iterdir():
        new = folder / "here" / below / (path.stem if unpacked else path.name)
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(gzip.decompress(path.read_bytes()) if unpacked else path.read_bytes())
    data = MNIST(folder / "here")
    data.prepare_data()
    data.setup("fit")
    x, y = gathered(data.val_dataloader())
    assert rows_of(x, arrays["t10k-images-idx3-ubyte"]) == list(range(TEST))
    assert y.tolist() == arrays["t10k-labels-idx1-ubyte"].tolist()


def test_missing_files_are_downloaded(folder, monkeypatch):
    asked = []

    def fetch(urls, path, checksum):
        asked.append((urls, path.name, checksum))

    (folder / "mnist" / "train-labels-idx1-ubyte.gz").unlink()
    monkeypatch.setattr(published, "download", fetch)
    MNIST(folder, download=False).prepare_data()
    assert asked == []
    MNIST(folder).prepare_data()
    name = "train-labels-idx1-ubyte.gz"
    assert asked == [([f"http://127.0.0.1:9/{name}"], name, MNIST.published.checksums[name])]


def test_failed_download_says_where_to_put_the_file(tmp_path, folder):
    with pytest.raises(OSError, match=r"put it at .*new.mnist.train-images-idx3-ubyte.gz"):
        MNIST(tmp_path / "new").prepare_data()


def test_missing_file_is_named(folder):
    (folder / "mnist" / "train-labels-idx1-ubyte.gz").unlink()
    data = MNIST(folder, download=False)
    with pytest.raises(FileNotFoundError, match=r"train-labels-idx1-ubyte.gz is neither in root="):
        data.setup("fit")


def test_testing_needs_the_test_files_only(folder):
    (folder / "mnist" / "train-images-idx3-ubyte.gz").unlink()
    data = MNIST(folder, download=False)
    data.setup("test")
    data.setup("validate")
    assert len(data.test_dataloader().dataset) == TEST


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_file_of_another_data_set_is_refused(folder, arrays, suffix):
    path = folder / f"train-images-idx3-ubyte{suffix}"
    other = idx(arrays["train-images-idx3-ubyte"] ^ 1)
    path.write_bytes(gzip.compress(other) if suffix else other)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.* does not have the published"):
        MNIST(folder).setup("fit")


# Splits


def test_sixty_ten(folder, arrays):
    data = MNIST(folder, batch_size=16)
    x, y = gathered(data.train_dataloader())
    rows = rows_of(x, arrays["train-images-idx3-ubyte"])
    assert x.shape == (TRAIN, 1, 28, 28)
    assert sorted(rows) == list(range(TRAIN))
    assert rows != sorted(rows)
    assert y.tolist() == arrays["train-labels-idx1-ubyte"][rows].tolist()
    assert y.dtype == torch.int64
    for loader in (data.val_dataloader(), data.test_dataloader()):
        assert rows_of(gathered(loader)[0], arrays["t10k-images-idx3-ubyte"]) == list(range(TEST))


def test_fifty_ten_ten(folder, arrays):
    data = MNIST(folder, split="50k/10k/10k", batch_size=16)
    rows = {
        name: rows_of(gathered(loader)[0], arrays[f"{part}-images-idx3-ubyte"])
        for name, part, loader in (
            ("train", "train", data.train_dataloader()),
            ("val", "train", data.val_dataloader()),
            ("test", "t10k", data.test_dataloader()),
        )
    }
    assert sorted(rows["train"]) == list(range(TRAIN - HELD_OUT))
    assert rows["val"] == list(range(TRAIN - HELD_OUT, TRAIN))
    assert rows["test"] == list(range(TEST))


# Binarisation


def test_draws_have_the_right_mean():
    images = torch.arange(256).repeat(4000, 1).to(torch.uint8)
    mean = images[0].double() / 255
    error = 5 * (mean * (1 - mean) / 4000).sqrt()  # five standard deviations; 0 for black and white
    for bits in (
        binarise(images, np.random.default_rng(0)),
        bernoulli((images / 255, images), np.random.default_rng(0))[0],
    ):
        assert set(bits.unique().tolist()) == {0, 1}
        assert ((bits.double().mean(0) - mean).abs() <= error).all()


class Extreme:
    """A generator that draws the one end of its range or the other."""

    def __init__(self, u):
        self.u = u

    def integers(self, low, high, size, dtype):
        return np.full(size, high - 1 if self.u else low, dtype)

    def random(self, size, dtype):
        return np.full(size, self.u, dtype)


@pytest.mark.parametrize("u", [0, np.nextafter(np.float32(1), np.float32(0))])
def test_black_stays_black_and_white_stays_white(u):
    images = torch.tensor([0, 255], dtype=torch.uint8)
    assert binarise(images, Extreme(u)).tolist() == [False, True]
    assert bernoulli((images / 255, images), Extreme(u))[0].tolist() == [0, 1]


def passes(data, n=2):
    loader = data.train_dataloader()
    loader.shuffle = False
    return [gathered(loader)[0] for _ in range(n)]


def test_gray_keeps_the_pixels(folder, arrays):
    first, second = passes(MNIST(folder))
    expected = torch.tensor(arrays["train-images-idx3-ubyte"]).unsqueeze(1) / 255
    torch.testing.assert_close(first, expected, rtol=1e-6, atol=0)
    assert first.equal(second)


def test_static_is_one_draw(folder):
    first, second = passes(MNIST(folder, binarisation="static"))
    (other,) = passes(MNIST(folder, binarisation="static", seed=1), n=1)
    assert set(first.unique().tolist()) == {0, 1}
    assert first.equal(second)
    assert not first.equal(other)


def test_dynamic_draws_anew_and_repeatably(folder):
    first, second = passes(MNIST(folder, binarisation="dynamic"))
    again = passes(MNIST(folder, binarisation="dynamic"))
    assert set(first.unique().tolist()) == {0, 1}
    assert not first.equal(second)
    assert first.equal(again[0])
    assert second.equal(again[1])


@pytest.mark.parametrize("split", ["60k/10k", "50k/10k/10k"])
def test_dynamic_validates_on_the_static_draw(folder, split):
    dynamic = MNIST(folder, binarisation="dynamic", split=split, batch_size=3).val_dataloader()
    static = MNIST(folder, binarisation="static", split=split).val_dataloader()
    assert set(gathered(dynamic)[0].unique().tolist()) == {0, 1}
    assert gathered(dynamic)[0].equal(gathered(dynamic)[0])
    assert gathered(dynamic)[0].equal(gathered(static)[0])


def test_training_and_test_draws_are_independent():
    gray = torch.full((50, 784), 128, dtype=torch.uint8)
    train, test = (binarise(gray, stream(0, mnist.FIXED, k)).float() for k in (0, 1))
    assert abs((train * test).mean() - train.mean() * test.mean()) < 0.01


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"binarisation": "binary"}, r"^binarisation must be .*'dynamic'.*, got 'binary'"),
        ({"split": "55k/5k"}, r"^split must be .*, got '55k/5k'"),
        ({"batch_size": 0}, r"^batch_size must be a whole number of at least 1, got 0"),
        ({"seed": -1}, r"^seed must be a whole number of at least 0, got -1"),
    ],
)
def test_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MNIST(**arguments)


# The published files


def test_mnist_as_published(real_data):
    data = MNIST(real_data, split="50k/10k/10k")
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    train, val, test = (
        loader.dataset.arrays
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    )
    assert [len(x) for x, _ in (train, val, test)] == [50_000, 10_000, 10_000]
    assert train[1][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test[1].bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # The mean and standard deviation by which everyone normalises.
    x = torch.cat([train[0], val[0]]).double() / 255
    assert x.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert x.std().item() == pytest.approx(0.3081, abs=5e-5)


def test_mnist_binarised_as_a_whole(real_data):
    x, _ = MNIST(real_data, binarisation="static").test_dataloader().dataset.arrays
    gray = read_idx(real_data / "mnist" / "t10k-images-idx3-ubyte.gz")
    assert x.dtype == torch.bool
    assert x.float().mean().item() == pytest.approx(gray.double().mean().item() / 255, abs=5e-4)


def test_fashion_mnist_as_published(real_data):
    data = FashionMNIST(real_data, download=False)
    data.setup("test")
    x, y = data.test_dataloader().dataset.arrays
    assert y.bincount().tolist() == [1000] * 10
    assert y[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    assert x.double().mean().item() / 255 == pytest.approx(0.2868, abs=5e-5)


def test_fashion_mnist_does_not_take_mnist_for_its_own(real_data):
    with pytest.raises(ValueError, match=r"another data set"):
        FashionMNIST(real_data / "mnist", download=False).setup("fit")


@pytest.mark.parametrize(("data", "known"), [(MNIST, 4), (FashionMNIST, 2)])
def test_unpacked_files_have_the_checksums_given(real_data, data, known):
    checksums = data.published.checksums
    stems = [name for name in checksums if not name.endswith(".gz")]
    assert len(stems) == known
    for stem in stems:
        packed = data.published.find(real_data, stem)
        assert sha256(gzip.decompress(packed.read_bytes())) == checksums[stem]
