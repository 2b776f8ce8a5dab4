import hashlib

import numpy as np
import pytest
import torch
from scipy.io import savemat

from lightning_vae.data import FreyFaces
from lightning_vae.data.frey_faces import read_frey_faces

PIXELS = np.random.default_rng(0).integers(0, 256, (560, 30), np.uint8)


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "frey_faces").mkdir()
    savemat(tmp_path / "frey_faces" / "frey_rawface.mat", {"ff": PIXELS})
    monkeypatch.setattr(FreyFaces, "checksum", hashlib.sha256(PIXELS.T.tobytes()).hexdigest())
    return tmp_path


def make(root, **arguments):
    return FreyFaces(root, **{"batch_size": 7, "val_size": 5, "test_size": 4, **arguments})


def test_each_column_is_an_image(root):
    images = read_frey_faces(root / "frey_faces" / "frey_rawface.mat")
    assert images.shape == (30, 1, 28, 20)
    assert images[3, 0, 2, 1] == PIXELS[2 * 20 + 1, 3]


def test_parts_are_a_partition(root):
    data = make(root)
    parts = [data.train_dataloader(), data.val_dataloader(), data.test_dataloader()]
    images = [torch.cat(list(loader)) for loader in parts]
    assert [len(part) for part in images] == [21, 5, 4]
    found = sorted(bytes(x) for part in images for x in part.mul(255).round().byte().numpy())
    assert found == sorted(bytes(column) for column in PIXELS.T)


def test_other_pixels_are_refused(root):
    savemat(root / "frey_faces" / "frey_rawface.mat", {"ff": 255 - PIXELS})
    with pytest.raises(ValueError, match=r"does not have the pixels of the Frey faces"):
        make(root).setup("fit")


@pytest.mark.parametrize("wrong", ["text", "cut", "name", "float", "shape"])
def test_a_damaged_file_is_named(tmp_path, wrong):
    path = tmp_path / "frey_rawface.mat"
    savemat(path, {"other" if wrong == "name" else "ff": PIXELS})
    if wrong == "text":
        path.write_text("this is no MATLAB file, however long it may be " * 10)
    if wrong == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    if wrong in ("float", "shape"):
        savemat(path, {"ff": PIXELS.astype(float) if wrong == "float" else PIXELS[:500]})
    with pytest.raises(ValueError, match=r"frey_rawface\.mat .*no file of Frey faces"):
        read_frey_faces(path)


def test_a_missing_file_says_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^frey_rawface\.mat is neither .*cs\.nyu\.edu"):
        FreyFaces(tmp_path).setup("fit")


def test_as_published(real_data):
    data = FreyFaces(real_data)
    for stage in ("fit", "test"):
        data.setup(stage)
    parts = [data._of(name).arrays for name in ("train", "val", "test")]
    assert [len(x) for x in parts] == [1565, 200, 200]
    assert torch.cat(parts).float().mean().item() / 255 == pytest.approx(0.606, abs=1e-2)
    # A face upright: a row of it varies less from the next than a column does from a shuffled one.
    image = parts[0][0, 0].float()
    assert (
        image.diff(dim=0).abs().mean()
        < 0.5 * image.flatten()[torch.randperm(560)].diff().abs().mean()
    )
