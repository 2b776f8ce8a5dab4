import numpy as np
import pytest
import torch
from PIL import Image

from lightning_vae.data import CelebAHQ, ImageFolder
from lightning_vae.data.images import open_image

CLASSES = {"cats": 5, "dogs/big": 4, "dogs/small": 3}


def level(loader):
    """Each image is of one level, by which it is known: [N] in 0 ... 255."""
    return torch.cat([x[:, 0, 0, 0].mul(255).round().long() for x, _ in loader]).tolist()


@pytest.fixture
def folder(tmp_path):
    """Twelve images of levels 0, 10, 20, ..., of several sizes, in two classes."""
    k = 0
    for name, count in CLASSES.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(count):
            image = Image.new("RGB", (20 + k, 24), (10 * k,) * 3)
            image.save(tmp_path / "images" / name / f"{i}.{'png' if i else 'bmp'}")
            k += 1
    return tmp_path / "images"


def make(folder, **arguments):
    return ImageFolder(folder, **{"size": 16, "workers": 0, "batch_size": 5, **arguments})


def test_batches_are_images_twice(folder):
    loader = make(folder).train_dataloader()
    for x, target in loader:
        assert x.shape[1:] == (3, 16, 16)
        assert x.dtype == torch.float32
        assert target is x
    assert len(loader) == 3


def test_parts_are_a_partition(folder):
    data = make(folder, val_size=3, test_size=0.25)
    parts = [level(x()) for x in (data.train_dataloader, data.val_dataloader, data.test_dataloader)]
    assert [len(part) for part in parts] == [6, 3, 3]
    assert sorted(parts[0] + parts[1] + parts[2]) == list(range(0, 120, 10))
    again = make(folder, val_size=3, test_size=0.25)
    assert level(again.val_dataloader()) == parts[1]
    assert level(make(folder, val_size=3, seed=1).val_dataloader()) != parts[1]


def test_the_split_does_not_depend_on_where_the_folder_is(folder, tmp_path):
    here = level(make(folder, val_size=4).val_dataloader())
    folder.rename(tmp_path / "Another Name")
    assert level(make(tmp_path / "Another Name", val_size=4).val_dataloader()) == here


def test_labels_are_the_folders_at_the_top(folder):
    data = make(folder, target="label", val_size=0)
    assert data.classes == ("cats", "dogs")
    for x, y in data.train_dataloader():
        assert y.dtype == torch.int64
        assert y.tolist() == (x[:, 0, 0, 0] * 255 > 45).long().tolist()


def test_an_image_without_a_class_is_named(folder):
    Image.new("RGB", (3, 3)).save(folder / "loose.png")
    with pytest.raises(ValueError, match=r"loose\.png is in none of them: move it to one"):
        make(folder, target="label").setup("fit")
    make(folder).setup("fit")


@pytest.fixture
def parted(tmp_path):
    """Levels 0, 10, ... in train/cats, train/dogs, val/dogs and test/cats, two of each."""
    for k, name in enumerate(["train/cats", "train/dogs", "val/dogs", "test/cats"]):
        (tmp_path / "parted" / name).mkdir(parents=True)
        for i in range(2):
            image = Image.new("RGB", (20, 24), (20 * k + 10 * i,) * 3)
            image.save(tmp_path / "parted" / name / f"{i}.png")
    return tmp_path / "parted"


def test_folders_that_are_parts_are_kept_apart(parted):
    data = make(parted, split="folders", target="label")
    assert data.classes == ("cats", "dogs")
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert [sorted(level(loader)) for loader in loaders] == [[0, 10, 20, 30], [40, 50], [60, 70]]
    seen = [sorted(torch.cat([y for _, y in loader]).tolist()) for loader in loaders]
    assert seen == [[0, 0, 1, 1], [1, 1], [0, 0]], "one number for a class in all parts"


def test_folders_that_are_parts_are_not_mixed_without_a_word(parted, folder):
    with pytest.raises(ValueError, match=r"\['test', 'train', 'val'\].*split=\"folders\""):
        make(parted).setup("fit")
    with pytest.raises(ValueError, match=r"train must be there.*it has \['cats', 'dogs'\]"):
        make(folder, split="folders").setup("fit")
    with pytest.raises(ValueError, match="leave train_size, val_size and test_size out"):
        make(parted, split="folders", val_size=3)
    make(parted / "train").setup("fit")


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_same(folder, workers):
    plain, ahead = make(folder), make(folder, workers=workers)
    for (x, target), (other, other_target) in zip(
        plain.train_dataloader(), ahead.train_dataloader(), strict=True
    ):
        assert x.equal(other)
        assert target.equal(other_target)


def darker(image):
    return image / 2


def brighter(image):
    return 1 - (1 - image) / 2


def negative(labels):
    return -labels


def test_a_transform_leaves_the_target_as_it_is(folder):
    for x, target in make(folder, transform=darker).train_dataloader():
        torch.testing.assert_close(x, target / 2)
        assert target.max() > x.max()


def test_each_has_its_own_transform(folder):
    for x, target in make(folder, transform=darker, target_transform=brighter).train_dataloader():
        torch.testing.assert_close(target, 1 - (1 - 2 * x) / 2)
    plain = make(folder).train_dataloader()
    changed = make(folder, target_transform=brighter).train_dataloader()
    for (x, _), (same, target) in zip(plain, changed, strict=True):
        assert x.equal(same)
        torch.testing.assert_close(target, 1 - (1 - x) / 2)


def test_labels_have_a_transform_too(folder):
    data = make(folder, target="label", target_transform=negative)
    assert {int(y) for _, ys in data.train_dataloader() for y in ys} <= {0, -1}


def test_a_transform_may_leave_the_unit_interval(folder):
    def centred(image):
        return 2 * image - 1

    x = torch.cat([x for x, _ in make(folder, transform=centred).train_dataloader()])
    assert x.min() == -1


def flipped(path):
    return open_image(path).convert("RGB").point(lambda value: 255 - value)


def test_a_loader_of_ones_own(folder):
    levels = level(make(folder, loader=flipped, val_size=0).train_dataloader())
    assert sorted(levels) == [255 - 10 * k for k in reversed(range(12))]


def test_only_these_extensions(folder):
    data = make(folder, extensions=[".BMP"], val_size=0)
    assert sorted(level(data.train_dataloader())) == [0, 50, 90]


@pytest.mark.parametrize("wrong", [".png", ["png"], ["."]])
def test_wrong_extensions_are_named(folder, wrong):
    with pytest.raises(
        ValueError, match=r'^extensions must be a list of endings such as \["\.png"'
    ):
        make(folder, extensions=wrong)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_file_is_named(folder, workers):
    (folder / "cats" / "1.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(ValueError, match=r"cats.1\.png cannot be read as an image"):
        list(make(folder, val_size=0, workers=workers).train_dataloader())


@pytest.mark.parametrize("seed", range(4))
def test_corrupt_files_are_skipped_with_a_count_if_asked(folder, seed):
    before = make(folder, val_size=5, target="label", seed=seed)
    (folder / "cats" / "1.png").write_bytes(b"\x89PNG broken")
    (folder / "cats" / "2.png").write_bytes(b"")
    data = make(folder, val_size=5, corrupt="skip", target="label", seed=seed)
    with pytest.warns(UserWarning, match=r" of \d images cannot be read and are left out") as seen:
        data.setup("fit")
    assert sum(int(str(warning.message).split()[0]) for warning in seen) == 2
    for name in ("train", "val"):
        left = [v for v in sorted(level(loader_of(before, name))) if v not in (10, 20)]
        assert sorted(level(loader_of(data, name))) == left, "no other image changes its part"
    for x, y in data.train_dataloader():
        assert y.tolist() == (x[:, 0, 0, 0] * 255 > 45).long().tolist()


def loader_of(data, name):
    """A loader of the images that can be read, whatever else there is."""
    images = data._of(name)
    good = [k for k, path in enumerate(images.paths) if path.stat().st_size > 20]
    return [images[torch.tensor([k])] for k in good]


def test_a_good_folder_is_skipped_through_without_a_word(folder, recwarn):
    make(folder, corrupt="skip").setup("fit")
    assert not [w for w in recwarn if "left out" in str(w.message)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "text"}, r"^target must be .*'label'.*, got 'text'"),
        ({"corrupt": "ignore"}, r"^corrupt must be .*, got 'ignore'"),
        ({"workers": -1}, r"^workers must be a whole number of at least 0"),
        ({"val_size": 1.5}, r"^val_size must be a count"),
    ],
)
def test_wrong_argument_is_named(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(folder, **arguments)


# CelebA-HQ


def saved(tmp_path, shape, values):
    for k, value in enumerate(values):
        np.save(tmp_path / f"imgHQ{k:05}.npy", np.full(shape, value, np.uint8))


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (3, 8, 8), (8, 8, 3)])
def test_celeba_hq_reads_arrays(tmp_path, shape):
    saved(tmp_path, shape, [0, 10, 20, 30])
    data = CelebAHQ(tmp_path, as_npy=True, size=4, val_size=1, workers=0)
    data.setup("fit")
    levels = level(data.train_dataloader()) + level(data.val_dataloader())
    assert sorted(levels) == [0, 10, 20, 30]
    x, target = next(iter(data.train_dataloader()))
    assert x.shape == (3, 3, 4, 4)
    assert target is x


def test_celeba_hq_keeps_channels_apart(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 6, 6), np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    data = CelebAHQ(tmp_path, as_npy=True, size=None, val_size=0, workers=0)
    ((x, _),) = data.train_dataloader()
    torch.testing.assert_close(x, torch.tensor(pixels) / 255)


def test_celeba_hq_reads_images(folder):
    data = CelebAHQ(folder, size=4, val_size=0, workers=0)
    assert sorted(level(data.train_dataloader())) == list(range(0, 120, 10))


@pytest.mark.parametrize("wrong", ["float", "gray", "pickle"])
def test_celeba_hq_names_another_array(tmp_path, wrong):
    arrays = {
        "float": np.zeros((1, 3, 8, 8)),
        "gray": np.zeros((8, 8), np.uint8),
        "pickle": np.array([{}]),
    }
    np.save(tmp_path / "wrong.npy", arrays[wrong], allow_pickle=True)
    with pytest.raises(ValueError, match=r"wrong\.npy cannot be read as an image"):
        list(CelebAHQ(tmp_path, as_npy=True, val_size=0, workers=0).train_dataloader())
