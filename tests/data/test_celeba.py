"""A folder in CelebA's layout, made here: its images may not be passed on."""

import zipfile

import pytest
import torch
from PIL import Image

from lightning_vae.data import CelebA
from lightning_vae.data.celeba import COUNTS, read_table

NAMES = [f"attribute_{k}" for k in range(40)]
# Seven images: the part of each, and its identity.
PARTS = [0, 0, 2, 0, 1, 2, 0]
IDENTITIES = [2880, 2937, 8692, 5805, 2880, 9040, 6369]
SMALL = {"train": 4, "val": 1, "test": 2}


def file(k):
    return f"{k + 1:06}.jpg"


def attributes(k):
    """Of image k, attribute j is there where j is divisible by k + 1."""
    return [1 if j % (k + 1) == 0 else -1 for j in range(40)]


def write_lists(folder):
    lines = [f"{file(k)} {part}" for k, part in enumerate(PARTS)]
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    lines = [f"{file(k)} {identity}" for k, identity in enumerate(IDENTITIES)]
    # In another order, as nothing says that the files have one.
    (folder / "identity_CelebA.txt").write_text("\n".join(reversed(lines)) + "\n")
    rows = [f"{file(k)} " + " ".join(f"{a:2}" for a in attributes(k)) for k in range(7)]
    top = f"{len(rows)}\n{' '.join(NAMES)} \n"
    (folder / "list_attr_celeba.txt").write_text(top + "\n".join(rows) + "\n")


def write_csv(folder):
    for stem, heading, values in (
        ("list_eval_partition", ["partition"], [[part] for part in PARTS]),
        ("list_attr_celeba", NAMES, [attributes(k) for k in range(7)]),
    ):
        lines = [",".join(["image_id", *heading])]
        lines += [",".join([file(k), *map(str, row)]) for k, row in enumerate(values)]
        (folder / f"{stem}.csv").write_text("\n".join(lines) + "\n")


def write_images(folder):
    """178 x 218 pixels: black, with a centre of 148 x 148 in the gray of the image's number."""
    folder.mkdir(parents=True)
    for k in range(7):
        image = Image.new("RGB", (178, 218))
        image.paste((30 * (k + 1),) * 3, (15, 35, 163, 183))
        image.save(folder / file(k), quality=100)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(CelebA, "counts", SMALL)
    (tmp_path / "celeba").mkdir()
    write_lists(tmp_path / "celeba")
    write_images(tmp_path / "celeba" / "img_align_celeba")
    return tmp_path


def make(root, **arguments):
    return CelebA(root, **{"size": 16, "workers": 0, "batch_size": 3, **arguments})


def numbers(loader):
    """The number of each image, by its gray."""
    return torch.cat([x.mean((1, 2, 3)) * 255 / 30 - 1 for x, _ in loader]).round().tolist()


def column(loader):
    return torch.cat([y for _, y in loader])


def test_the_published_parts():
    assert COUNTS == {"train": 162_770, "val": 19_867, "test": 19_962}
    assert sum(COUNTS.values()) == 202_599


def test_parts_are_those_of_the_list(root):
    data = make(root)
    data.prepare_data()
    for stage in ("fit", "validate", "test", "predict"):
        data.setup(stage)
    assert sorted(numbers(data.train_dataloader())) == [0, 1, 3, 6]
    assert numbers(data.val_dataloader()) == [4]
    assert numbers(data.test_dataloader()) == [2, 5]


def test_the_face_is_cut_out_and_resized(root):
    x, target = next(iter(make(root).val_dataloader()))
    assert x.shape == (1, 3, 16, 16)
    assert target is x
    # None of the black around the 148 x 148 pixels in the middle.
    torch.testing.assert_close(x, torch.full_like(x, 150 / 255), atol=2 / 255, rtol=0)
    x, _ = next(iter(make(root, crop=None, size=(218, 178)).val_dataloader()))
    assert x.shape == (1, 3, 218, 178)
    assert x[..., :30, :].max() < 0.02


def test_attributes_are_zero_or_one(root):
    data = make(root, target="attributes")
    assert data.attribute_names == tuple(NAMES)
    y = column(data.test_dataloader())
    assert y.dtype == torch.int64
    assert y.tolist() == [[int(a > 0) for a in attributes(k)] for k in (2, 5)]


def test_identities_go_with_their_images(root):
    data = make(root, target="identity")
    order = [int(k) for k in numbers(data.train_dataloader())]
    data = make(root, target="identity")
    assert column(data.train_dataloader()).tolist() == [IDENTITIES[k] for k in order]


def test_lists_with_commas_are_read_too(root):
    folder = root / "celeba"
    expected = column(make(root, target="attributes").test_dataloader())
    for path in folder.glob("*.txt"):
        path.unlink()
    write_csv(folder)
    data = make(root, target="attributes")
    assert data.attribute_names == tuple(NAMES)
    assert column(data.test_dataloader()).equal(expected)
    with pytest.raises(FileNotFoundError, match=r"identity_CelebA\.txt is neither in root="):
        make(root, target="identity").setup("fit")


@pytest.mark.parametrize("inner", ["img_align_celeba/", ""])
def test_the_zip_is_unpacked(root, inner):
    folder = root / "celeba"
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for path in sorted((folder / "img_align_celeba").iterdir()):
            archive.write(path, inner + path.name)
            path.unlink()
    (folder / "img_align_celeba").rmdir()
    data = make(root)
    data.prepare_data()
    data.prepare_data()
    assert numbers(data.test_dataloader()) == [2, 5]


def test_workers_give_the_same(root):
    assert numbers(make(root, workers=2).train_dataloader()) == numbers(
        make(root).train_dataloader()
    )


def test_a_list_of_other_parts_is_refused(root, monkeypatch):
    monkeypatch.setattr(CelebA, "counts", COUNTS)
    with pytest.raises(ValueError, match=r"'train': 4.* rather than the published .*162770"):
        make(root).setup("fit")


def test_missing_images_are_counted(root):
    for k in (1, 3):
        (root / "celeba" / "img_align_celeba" / file(k)).unlink()
    data = make(root)
    with pytest.raises(
        FileNotFoundError, match=r"^2 of 4 images are not in .* first .*000002\.jpg"
    ):
        data.setup("fit")
    data.setup("test")


def test_a_missing_list_says_where_to_get_it(tmp_path):
    data = CelebA(tmp_path)
    for use in (data.prepare_data, lambda: data.setup("fit")):
        with pytest.raises(FileNotFoundError, match=r"list_eval_partition\.txt .*mmlab\.ie\.cuhk"):
            use()


def test_corrupt_images_are_named_or_skipped(root):
    (root / "celeba" / "img_align_celeba" / file(3)).write_bytes(b"\xff\xd8 broken")
    with pytest.raises(ValueError, match=r"000004\.jpg cannot be read"):
        list(make(root).train_dataloader())
    data = make(root, corrupt="skip", target="identity")
    with pytest.warns(UserWarning, match=r"^1 of 4 images cannot be read .*000004\.jpg"):
        data.setup("fit")
    assert sorted(column(data.train_dataloader()).tolist()) == [2880, 2937, 6369]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "000001.jpg\n",
        "000001.jpg 0\n000002.jpg 1 2\n",
        "a.jpg 0\nheading\nb.jpg 1\n",
        "a.jpg x\n",
    ],
)
def test_a_damaged_list_is_named(tmp_path, text):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(ValueError, match=r"list\.txt is no list of images and numbers"):
        read_table(tmp_path / "list.txt")
