import gzip
import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_vae.data import BinarizedMNIST
from lightning_vae.data.amat import read_amat
from lightning_vae.data.binarized_mnist import FILES

BITS = np.random.default_rng(0).integers(0, 2, (9, 784), np.uint8)


def amat(bits, end="\n"):
    return "".join(" ".join(map(str, row)) + end for row in bits).encode()


@pytest.mark.parametrize("name", ["x.amat", "x.amat.gz"])
@pytest.mark.parametrize("end", ["\n", " \n", "\r\n"])
def test_reads_what_was_written(tmp_path, name, end):
    content = amat(BITS, end)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    bits = read_amat(tmp_path / name, columns=784)
    assert bits.dtype == torch.bool
    assert (bits.numpy() == BITS).all()


def test_the_last_line_may_have_no_end(tmp_path):
    (tmp_path / "x.amat").write_bytes(amat(BITS).rstrip())
    assert read_amat(tmp_path / "x.amat", columns=784).shape == (9, 784)


DAMAGED = {
    "empty": b"",
    "short line": b"0 1 1\n0 1\n",
    "long line": b"0 1 1\n0 1 1 1\n",
    "as many numbers as there should be": b"0 1\n1 0 1 1\n",
    "two": b"0 1 2\n",
    "text": b"<html>",
    "fraction": b"0.0 1.0 0.5\n",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_file_is_named(tmp_path, content):
    (tmp_path / "x.amat").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.amat is no amat file of 3 zeros and ones a line"):
        read_amat(tmp_path / "x.amat", columns=3)


def test_a_damaged_gzip_is_named(tmp_path):
    (tmp_path / "x.amat.gz").write_bytes(gzip.compress(amat(BITS))[:-6])
    with pytest.raises(ValueError, match=r"x\.amat\.gz is no amat file"):
        read_amat(tmp_path / "x.amat.gz", columns=784)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    parts = dict(zip(FILES, (BITS[:5], BITS[5:7], BITS[7:]), strict=True))
    contents = {FILES[part]: amat(bits) for part, bits in parts.items()}
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    published = replace(BinarizedMNIST.published, checksums=checksums, mirrors=())
    monkeypatch.setattr(BinarizedMNIST, "published", published)
    (tmp_path / "binarized_mnist").mkdir()
    for name, content in contents.items():
        (tmp_path / "binarized_mnist" / name).write_bytes(content)
    return tmp_path


def bits_of(loader):
    return torch.cat(list(loader)).flatten(1).numpy()


def test_parts_are_the_published_ones(folder):
    data = BinarizedMNIST(folder, batch_size=2)
    data.prepare_data()
    for stage in ("fit", "test"):
        data.setup(stage)
    x = next(iter(data.train_dataloader()))
    assert x.shape == (2, 1, 28, 28)
    assert x.dtype == torch.float32
    train = bits_of(data.train_dataloader())
    assert sorted(map(bytes, train)) == sorted(map(bytes, BITS[:5].astype(np.float32)))
    assert (bits_of(data.val_dataloader()) == BITS[5:7]).all()
    assert (bits_of(data.test_dataloader()) == BITS[7:]).all()


def test_other_bits_are_refused(folder):
    (folder / "binarized_mnist" / FILES["val"]).write_bytes(amat(1 - BITS[5:7]))
    with pytest.raises(ValueError, match=r"does not have the published SHA-256"):
        BinarizedMNIST(folder).setup("fit")


def test_as_published(real_data):
    data = BinarizedMNIST(real_data, download=False)
    data.prepare_data()
    for stage, part, count in (("validate", "val", 10_000), ("test", "test", 10_000)):
        data.setup(stage)
        (x,) = (data._of(part).arrays,)
        assert x.shape == (count, 1, 28, 28)
        # The mean of MNIST's pixels, 0.13.
        assert x.float().mean().item() == pytest.approx(0.1315, abs=2e-3)


@pytest.mark.slow
def test_training_images_as_published(real_data):
    assert len(BinarizedMNIST(real_data, download=False).train_dataloader().dataset) == 50_000
