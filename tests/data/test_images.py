import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_vae.data.images import (
    Images,
    Reading,
    as_image,
    extensions,
    framed,
    list_images,
)

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 4, 3), np.uint8)
GRAY = RNG.integers(0, 256, (6, 4), np.uint8)
DEEP = RNG.integers(0, 65_536, (6, 4)).astype(np.uint16)


def decoded(path, channels=3, **arguments):
    return Reading(channels=channels, **arguments).decode(path)


def planes(array):
    """[H, W] or [H, W, C] of bytes -> [C, H, W] in [0, 1]."""
    return torch.tensor(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1) / 255


# Formats


@pytest.mark.parametrize("ending", ["png", "bmp", "tiff", "ppm", "tga", "jp2", "webp", "gif"])
def test_lossless_formats_are_read_exactly(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    gray = ending == "gif"
    options = {"webp": {"lossless": True, "exact": True}, "jp2": {"irreversible": False}}
    Image.fromarray(GRAY if gray else COLOUR).save(path, **options.get(ending, {}))
    assert path.suffix in extensions()
    expected = planes(GRAY).expand(3, -1, -1) if gray else planes(COLOUR)
    torch.testing.assert_close(decoded(path), expected)


def test_jpeg_is_read(tmp_path):
    Image.new("RGB", (40, 30), (250, 120, 10)).save(tmp_path / "x.jpg", quality=100)
    image = decoded(tmp_path / "x.jpg")
    assert image.shape == (3, 30, 40)
    expected = torch.tensor([250, 120, 10])[:, None, None] / 255
    torch.testing.assert_close(image, expected.expand_as(image), atol=2 / 255, rtol=0)


def test_colour_and_gray_become_each_other(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "gray.png")
    Image.fromarray(COLOUR).save(tmp_path / "colour.png")
    torch.testing.assert_close(decoded(tmp_path / "gray.png", 1), planes(GRAY))
    torch.testing.assert_close(decoded(tmp_path / "gray.png", 3), planes(GRAY).expand(3, -1, -1))
    luma = (COLOUR @ np.array([0.299, 0.587, 0.114]))[None] / 255
    torch.testing.assert_close(
        decoded(tmp_path / "colour.png", 1).double(), torch.tensor(luma), atol=1 / 255, rtol=0
    )


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_other_modes_become_colour(mode):
    image = Image.new("RGB", (3, 2), "white").convert(mode)
    x = as_image(image, channels=3)
    assert x.shape == (3, 2, 3)
    torch.testing.assert_close(x, torch.ones(3, 2, 3))


def test_a_palette_is_looked_up():
    image = Image.fromarray(COLOUR).quantize(24)
    torch.testing.assert_close(as_image(image, 3), planes(np.asarray(image.convert("RGB"))))


@pytest.mark.parametrize("ending", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_kept(tmp_path, ending, channels):
    Image.fromarray(DEEP).save(tmp_path / f"x.{ending}")
    expected = torch.tensor(DEEP / 65_535).float()[None].expand(channels, -1, -1)
    torch.testing.assert_close(decoded(tmp_path / f"x.{ending}", channels), expected)


def test_big_endian_sixteen_bits_are_kept(tmp_path):
    (tmp_path / "x.pgm").write_bytes(b"P5 4 6 65535\n" + DEEP.astype(">u2").tobytes())
    expected = torch.tensor(DEEP / 65_535).float()[None]
    torch.testing.assert_close(decoded(tmp_path / "x.pgm", 1), expected)


def test_floats_in_the_unit_interval_are_kept_and_others_refused(tmp_path):
    values = RNG.random((6, 4), np.float32)
    Image.fromarray(values).save(tmp_path / "x.tiff")
    torch.testing.assert_close(decoded(tmp_path / "x.tiff", 1), torch.tensor(values)[None])
    Image.fromarray(values * 300).save(tmp_path / "x.tiff")
    with pytest.raises(ValueError, match=r"x\.tiff cannot .* values go from .* beyond 0 to 1"):
        decoded(tmp_path / "x.tiff")
    Image.fromarray(values * np.float32("nan")).save(tmp_path / "x.tiff")
    with pytest.raises(ValueError, match=r"x\.tiff cannot"):
        decoded(tmp_path / "x.tiff")


# How a stored image is turned to be upright, by its EXIF orientation.
TURNS = {
    1: lambda x: x,
    2: lambda x: np.flip(x, 1),
    3: lambda x: np.rot90(x, 2),
    4: lambda x: np.flip(x, 0),
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("deep", [False, True])
def test_images_are_turned_upright(tmp_path, orientation, deep):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = DEEP if deep else COLOUR
    Image.fromarray(stored).save(tmp_path / "x.png", exif=exif)
    upright = np.ascontiguousarray(TURNS[orientation](stored))
    expected = torch.tensor(upright / 65_535).float()[None] if deep else planes(upright)
    torch.testing.assert_close(decoded(tmp_path / "x.png", 1 if deep else 3), expected)


# Damage


def png(*chunks):
    made = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        crc = zlib.crc32(name + content)
        made += struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)
    return made


def header(side):
    return b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)


GOOD = png(header(2), (b"IDAT", zlib.compress(b"\0\1\2" * 2)), (b"IEND", b""))
DAMAGED = {
    "empty": b"",
    "text": b"this is no image",
    "cut": GOOD[:40],
    "bad checksum": GOOD[:30] + b"\xff" + GOOD[31:],
    "no data": png(header(2), (b"IEND", b"")),
    "too little data": png(header(200), (b"IDAT", zlib.compress(b"\0" * 10)), (b"IEND", b"")),
    "a bomb": png(header(60_000), (b"IDAT", zlib.compress(b"\0" * 10)), (b"IEND", b"")),
}


def test_the_good_file_is_good(tmp_path):
    (tmp_path / "x.png").write_bytes(GOOD)
    assert decoded(tmp_path / "x.png", 1).shape == (1, 2, 2)


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as an image \(.*skip"):
        decoded(tmp_path / "broken.png")


# Crops and sizes


def test_the_centre_is_cut_out():
    image = torch.arange(7 * 9.0).view(1, 7, 9)
    assert framed([image], None, 3)[0].equal(image[:, 2:5, 3:6])
    assert framed([image], (7, 7), None)[0].equal(image[:, :, 1:8])
    assert framed([image], (7, 9), None)[0].equal(image)


@pytest.mark.parametrize("size", [(8, 8), (20, 36), (40, 30)])
def test_shapes_are_kept_in_shape(size):
    """A circle stays a circle: what is cut out has the shape of what it is resized to."""
    y, x = torch.meshgrid(torch.arange(90.0), torch.arange(60.0), indexing="ij")
    image = (((y - 44.5) ** 2 + (x - 29.5) ** 2).sqrt() < 15).float()[None]
    (out,) = framed([image], size, None)
    scale = min(90 / size[0], 60 / size[1])
    assert out.sum().item() * scale**2 == pytest.approx(image.sum().item(), rel=0.05)
    height, width = (out[0].amax(axis).gt(0.5).sum() for axis in (1, 0))
    assert abs(height - width) <= 1


def test_resizing_is_that_of_pillow():
    """Bilinear with antialiasing, by another implementation."""
    array = RNG.random((50, 70), np.float32)
    image = Image.fromarray(array)
    ours = framed([torch.tensor(array)[None]], (20, 28), None)[0, 0]
    expected = np.asarray(image.resize((28, 20), Image.Resampling.BILINEAR))
    torch.testing.assert_close(ours, torch.tensor(expected), atol=1e-5, rtol=0)


def test_images_of_several_shapes_are_resized_as_if_alone():
    shapes = [(50, 70), (30, 30), (50, 70), (64, 10)]
    images = [torch.rand(3, *shape) for shape in shapes]
    batch = framed(images, (16, 16), None)
    for row, image in zip(batch, images, strict=True):
        torch.testing.assert_close(row, framed([image], (16, 16), None)[0])


def test_resizing_does_not_leave_the_unit_interval():
    for side in (29, 32, 37):  # 29 to 16 pixels is 2e-7 above without more ado
        for image in (torch.ones(3, side, side), torch.zeros(3, side, side)):
            out = framed([image], (16, 16), None)
            assert out.min() >= 0
            assert out.max() <= 1


def test_a_crop_beyond_the_image_names_the_files(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "small.png")
    images = Images([tmp_path / "small.png"], Reading(crop=5))
    with pytest.raises(ValueError, match=r"crop=5 is larger than an image of 6 x 4.*small\.png"):
        images[torch.tensor([0])]


def test_sizes_that_differ_need_a_size(tmp_path):
    for side in (3, 4):
        Image.new("RGB", (side, 4)).save(tmp_path / f"{side}.png")
    images = Images([tmp_path / "3.png", tmp_path / "4.png"], Reading(size=None))
    with pytest.raises(
        ValueError, match=r"shapes \[\(3, 4, 3\), \(3, 4, 4\)\]: pass size=.*3\.png"
    ):
        images[torch.tensor([0, 1])]
    assert images[torch.tensor([1])][0].shape == (1, 3, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 2}, r"^channels must be 1 \(gray\) or 3 \(colour\), got 2"),
        ({"crop": 0}, r"^crop must be a whole number of at least 1, got 0"),
        ({"size": 0}, r"^size must be a whole number of at least 1, got 0"),
        ({"size": (4, 0)}, r"^size must be a whole number of at least 1, got 0"),
    ],
)
def test_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Reading(**arguments)


# Lists of files


def test_files_are_listed_in_one_order_at_any_depth(tmp_path):
    names = ["b/2.png", "B.PNG", "a.b/1.png", "a/c/3.png", "a/1.png", "a/notes.txt", "é.png"]
    for name in reversed(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path, [".png"])]
    assert found == ["B.PNG", "a.b/1.png", "a/1.png", "a/c/3.png", "b/2.png", "é.png"]


def test_what_needs_other_programs_is_not_read_unasked():
    assert not {".eps", ".mpg", ".h5", ".grib"} & extensions()


def test_nothing_to_list_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no file that ends in one of \['.png'\]"):
        list_images(tmp_path, [".png"])
    with pytest.raises(FileNotFoundError, match=r"root='.*nowhere' is no folder"):
        list_images(tmp_path / "nowhere", [".png"])
