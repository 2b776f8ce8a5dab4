import hashlib
import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_vae.data import Omniglot
from lightning_vae.data.omniglot import read_characters

CHARACTERS = ["Greek/character01", "Greek/character02", "Latin/character01"]


def png(strokes):
    """An image of 1 bit, black strokes on white, as published."""
    file = io.BytesIO()
    Image.fromarray(~strokes).convert("1").save(file, "PNG")
    return file.getvalue()


def archive(path, top, drawers=4):
    """Character k, drawer d: a black square of 10 (k + 1) + d pixels in the corner."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{top}/", "")
        for k, character in enumerate(CHARACTERS):
            for d in range(drawers):
                strokes = np.zeros((105, 105), bool)
                strokes[: 10 * (k + 1) + d, : 10 * (k + 1) + d] = True
                file.writestr(f"{top}/{character}/{k:04}_{d:02}.png", png(strokes))
    return path


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "omniglot").mkdir()
    tops = ["images_background", "images_background_small1", "images_evaluation"]
    paths = [
        archive(tmp_path / "omniglot" / f"{top}.zip", top, drawers)
        for top, drawers in zip(tops, (4, 3, 2), strict=True)
    ]
    checksums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    published = replace(Omniglot.published, checksums=checksums, mirrors=())
    monkeypatch.setattr(Omniglot, "published", published)
    return tmp_path


def test_strokes_are_one_on_zero(root):
    images, names = read_characters(root / "omniglot" / "images_background.zip", size=105)
    assert images.shape == (12, 1, 105, 105)
    assert names == tuple(name for name in CHARACTERS for _ in range(4))
    expected = [(10 * (k + 1) + d) ** 2 for k in range(3) for d in range(4)]
    assert (images == 255).sum((1, 2, 3)).tolist() == expected
    assert ((images == 0) | (images == 255)).all()
    assert images[0, 0, 0, 0] == 255


def test_resizing_keeps_the_ink(root):
    large, _ = read_characters(root / "omniglot" / "images_background.zip", size=105)
    small, _ = read_characters(root / "omniglot" / "images_background.zip", size=28)
    ink = small.double().mean((1, 2, 3))
    torch.testing.assert_close(ink, large.double().mean((1, 2, 3)), rtol=0.03, atol=0.5)


def test_parts(root):
    data = Omniglot(root, batch_size=4, val_size=3)
    data.prepare_data()
    for stage in ("fit", "test"):
        data.setup(stage)
    x, y = next(iter(data.train_dataloader()))
    assert x.shape == (4, 1, 28, 28)
    assert (x.min(), x.max()) == (0, 1)
    sizes = [
        sum(len(y) for _, y in loader)
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    ]
    assert sizes == [9, 3, 6]
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for x, y in loader:
            ink = (x.mean((1, 2, 3)).sqrt() * 105 / 10 + 0.1).long() - 1
            assert y.equal(ink)


def test_small_sets_are_trained_on_in_its_place(root):
    data = Omniglot(root, alphabets="small1", val_size=0)
    assert sum(len(y) for _, y in data.train_dataloader()) == 9
    assert sum(len(y) for _, y in data.test_dataloader()) == 6


@pytest.mark.parametrize("damage", ["cut", "image", "text", "large"])
def test_damaged_archives_are_named(tmp_path, damage):
    path = archive(tmp_path / "x.zip", "top")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "text":
        path.write_bytes(b"no archive")
    else:
        content = b"no image" if damage == "image" else b"0" * 2_000_000
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
            file.writestr("top/Greek/character03/x.png", content)
    with pytest.raises(ValueError, match=r"x\.zip is no archive of Omniglot, or is damaged"):
        read_characters(path, size=28)


def test_another_archive_is_refused(root):
    archive(root / "omniglot" / "images_background.zip", "other", drawers=2)
    with pytest.raises(ValueError, match=r"does not have the published SHA-256"):
        Omniglot(root).setup("fit")


def test_wrong_alphabets_are_named():
    with pytest.raises(ValueError, match=r"^alphabets must be .*'small2'.*, got 'latin'"):
        Omniglot(alphabets="latin")


def test_as_published(real_data):
    data = Omniglot(real_data, alphabets="small1", download=False)
    data.setup("fit")
    (x, y), (_, held_out) = (data._of(name).arrays for name in ("train", "val"))
    assert len(y) + len(held_out) == 2720
    counts = torch.cat([y, held_out]).bincount()
    assert counts.tolist() == [20] * 136
    # Thin strokes: a few per cent of the pixels.
    assert 0.03 < x.float().mean().item() / 255 < 0.12
