import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_vae.data import DSprites, Sprites, dsprites
from lightning_vae.data.dsprites import FILE, pack
from lightning_vae.data.sprites import COUNT, SIZES, draw, factors_of

RECORDED = json.loads((Path(__file__).parents[1] / "recorded/variational.json").read_text())
ROWS = 30
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 2, (ROWS, 64, 64), np.uint8)


def save(path, images=IMAGES, **more):
    np.savez_compressed(path, imgs=images, metadata=np.array({"a": "pickle"}, object), **more)
    return path


# The published format


@pytest.mark.parametrize("chunk", [7, 30, 1000])
def test_images_are_packed_bit_by_bit(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(dsprites, "CHUNK", chunk)
    bits = pack(save(tmp_path / "x.npz"), count=ROWS)
    assert bits.shape == (ROWS, 512)
    assert (np.unpackbits(bits, axis=1).reshape(IMAGES.shape) == IMAGES).all()


def damaged(tmp_path):
    path = save(tmp_path / "x.npz")
    whole = path.read_bytes()
    for name, content in (
        ("cut", whole[: len(whole) // 2]),
        ("text", b"this is no archive"),
        ("torn", whole[:300] + b"\xff" * 200 + whole[500:]),
    ):
        (tmp_path / f"{name}.npz").write_bytes(content)
        yield tmp_path / f"{name}.npz"
    yield save(tmp_path / "grays.npz", IMAGES * 255)
    yield save(tmp_path / "fewer.npz", IMAGES[:-1])
    yield save(tmp_path / "smaller.npz", IMAGES[:, :32])
    yield save(tmp_path / "floats.npz", IMAGES.astype(np.float32))
    yield save(tmp_path / "columns.npz", np.asfortranarray(IMAGES))
    yield save(tmp_path / "objects.npz", np.array([{}] * ROWS))
    np.savez(tmp_path / "empty.npz", other=IMAGES)
    yield tmp_path / "empty.npz"


def test_damaged_files_are_named(tmp_path):
    for path in damaged(tmp_path):
        with pytest.raises(ValueError, match=rf"{path.name} is not dSprites, or is damaged"):
            pack(path, count=ROWS)


# A file in which every image is that of its row, in place of the 3 GB


@pytest.fixture(scope="module")
def bits():
    """Noise for all but the first images, of which each has its row in its first bits."""
    bits = np.zeros((COUNT, 512), np.uint8)
    bits[:, :3] = np.arange(COUNT).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    return bits


@pytest.fixture
def root(tmp_path, bits, monkeypatch):
    """A folder whose file is not the published one, but is taken for it."""
    monkeypatch.setattr(dsprites, "pack", lambda path: bits)
    (tmp_path / "dsprites").mkdir()
    (tmp_path / "dsprites" / FILE).write_bytes(b"file")
    checksums = {FILE: hashlib.md5(b"file").hexdigest()}
    published = replace(DSprites.published, checksums=checksums, mirrors=("http://127.0.0.1:9/",))
    monkeypatch.setattr(DSprites, "published", published)
    return tmp_path


def rows_of(x):
    """The rows that images have in their first 24 pixels."""
    places = 2 ** torch.arange(23, -1, -1)
    return (x.flatten(1)[:, :24].long() * places).sum(1)


SMALL = {"train_size": 100, "val_size": 20, "test_size": 10}


@pytest.mark.parametrize("mapped", [False, True])
def test_images_go_with_their_factors(root, mapped):
    data = DSprites(root, **SMALL, memory_map=root / "bits.npy" if mapped else None)
    data.prepare_data()
    data.setup("fit")
    for x, factors in data.train_dataloader():
        assert x.shape[1:] == (1, 64, 64)
        assert x.dtype == torch.float32
        assert factors.equal(factors_of(rows_of(x)))
    assert (root / "bits.npy").exists() == mapped


def test_parts_are_those_of_sprites(root):
    for name in ("train", "val", "test"):
        for seed in (0, 1):
            ours = DSprites(root, **SMALL, seed=seed).part(name)
            assert ours.rows.equal(Sprites(**SMALL, seed=seed).part(name).rows)


def test_the_memory_map_is_written_once_and_needs_no_file(root, monkeypatch):
    path = root / "new" / "bits.npy"
    DSprites(root, **SMALL, memory_map=path).setup("fit")
    written = path.stat().st_mtime_ns
    (root / "dsprites" / FILE).unlink()
    data = DSprites(root, **SMALL, memory_map=path)
    data.prepare_data()
    data.setup("fit")
    assert isinstance(data._of("train").bits, np.memmap)
    assert path.stat().st_mtime_ns == written
    assert {p.name for p in path.parent.iterdir()} == {"bits.npy", "bits.npy.lock"}


def test_a_memory_map_of_something_else_is_refused(root):
    np.save(root / "bits.npy", np.zeros((3, 512), np.uint8))
    with pytest.raises(
        ValueError, match=r"memory_map=.*bits\.npy' is uint8 \(3, 512\) rather than"
    ):
        DSprites(root, memory_map=root / "bits.npy").setup("fit")


def test_another_file_is_refused_unless_asked_for(root):
    (root / "dsprites" / FILE).write_bytes(b"another")
    with pytest.raises(ValueError, match=r"does not have the published MD5"):
        DSprites(root).setup("fit")
    DSprites(root, **SMALL, verify=False).setup("fit")


# Images by their classes


def test_rows_of_classes_are_those_on_record(root):
    case = next(case for case in RECORDED["cases"] if case["id"] == "dsprites-bases")
    codes = torch.tensor(case["inputs"]["codes"])
    data = DSprites(root)
    images = data.image(codes)
    assert images.shape == (4, 64, 64)
    assert rows_of(images).tolist() == case["outputs"]["index"]
    assert data.image(codes[:, 1:]).equal(images)
    assert data.image(codes[2]).equal(images[2])
    assert data.image(codes.view(2, 2, 6)).equal(images.view(2, 2, 64, 64))
    assert case["outputs"]["bases"][1:] == [int(np.prod(SIZES[k:])) for k in range(1, 6)]


@pytest.mark.parametrize(
    "classes",
    [[1, 0, 0, 0, 0, 0], [0, 3, 0, 0, 0, 0], [0, 0, 0, 40, 0, 0], [-1, 0, 0, 0, 0], [0, 0], 0],
)
def test_classes_out_of_range_are_named(root, classes):
    with pytest.raises(ValueError, match=r"^(factors must be|classes\[..., 0\] is the colour)"):
        DSprites(root).image(torch.tensor(classes))


# Where there is no file


def test_a_missing_file_is_named(root):
    (root / "dsprites" / FILE).unlink()
    data = DSprites(root, download=False)
    data.prepare_data()
    with pytest.raises(FileNotFoundError, match=rf"{FILE} is neither in root="):
        data.setup("fit")
    with pytest.raises(OSError, match=r"could not be downloaded"):
        DSprites(root).prepare_data()


@pytest.mark.parametrize("download", [False, True])
def test_images_are_drawn_only_when_asked(root, download):
    (root / "dsprites" / FILE).unlink()
    data = DSprites(root, **SMALL, draw=True, download=download)
    data.prepare_data()
    with pytest.warns(
        UserWarning, match=rf"{FILE} is not in root=.*: its images are drawn instead"
    ):
        data.setup("fit")
    for (x, factors), (other, others) in zip(
        data.train_dataloader(), Sprites(**SMALL).train_dataloader(), strict=True
    ):
        assert x.equal(other)
        assert factors.equal(others)


def test_a_file_that_is_there_is_read_rather_than_drawn(root, recwarn):
    data = DSprites(root, **SMALL, draw=True)
    data.setup("fit")
    assert not [w for w in recwarn if "drawn" in str(w.message)]
    x, factors = next(iter(data.val_dataloader()))
    assert factors.equal(factors_of(rows_of(x)))


def test_wrong_sizes_are_named_at_once():
    with pytest.raises(ValueError, match=r"^train_size=737280, .* more than the 737280 examples"):
        DSprites(train_size=COUNT)


# The published file


@pytest.mark.slow
def test_the_whole_file(real_data):
    data = DSprites(real_data, download=False, verify=False)
    rows = torch.arange(0, COUNT, 1009)
    images, factors = data._images(rows)[torch.arange(len(rows))]
    # The file at hand may be a reconstruction by the same rule; published pixels are elsewhere.
    wrong = (images.squeeze(1) != draw(factors)).sum((1, 2))
    assert wrong.max() <= 1
    assert (wrong > 0).sum() <= 2
    with np.load(real_data / "dsprites" / "dsprites_subset.npz") as file:
        published = torch.from_numpy(file["original_dataset_indices"])
        pixels = torch.from_numpy(file["imgs"])
    images, factors = data._images(published)[torch.arange(len(published))]
    assert (images.squeeze(1) == pixels).all()
    with np.load(real_data / "dsprites" / FILE) as file:
        classes = torch.from_numpy(file["latents_classes"])
    assert classes[:, 1:].equal(factors_of(torch.arange(COUNT)))
    assert data._bits.nbytes == 377_487_360


def test_a_dozen_images_are_not_the_whole(real_data):
    path = real_data / "dsprites" / "small_test_set" / FILE
    assert pack(path, count=12).shape == (12, 512)
    with pytest.raises(ValueError, match=r"imgs is uint8 \(12, 64, 64\) rather than"):
        DSprites(path.parent, verify=False).setup("fit")
