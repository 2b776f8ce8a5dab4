"""Images side by side, and the bytes that show them."""

import pytest
import torch

from lightning_vae.pictures import as_images, grid, pixels
from lightning_vae.pictures.margin import margin
from lightning_vae.pictures.pixels import refuse_outside


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [1, 4, 5, 8])
@pytest.mark.parametrize("gap", [0, 1, 2])
def test_every_image_is_where_it_belongs_and_the_rest_is_gray(n, channels, gap):
    images = torch.randint(0, 256, (n, channels, 5, 7), dtype=torch.uint8)
    whole = grid(images, row_size=4, gap=gap)
    rows = -(-n // 4)
    assert whole.shape == (channels, rows * (5 + gap) + gap, 4 * (7 + gap) + gap)
    rest = torch.ones_like(whole, dtype=torch.bool)
    for i in range(n):
        top, left = gap + i // 4 * (5 + gap), gap + i % 4 * (7 + gap)
        place = (slice(None), slice(top, top + 5), slice(left, left + 7))
        assert whole[place].equal(images[i])
        rest[place] = False
    assert (whole[rest] == 128).all()


def test_pixels_are_exact_at_the_ends_and_the_nearer_end_beyond():
    values = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert pixels(values).tolist() == [0, 0, 0, 255, 255]
    assert pixels(values, (-1.0, 1.0)).tolist() == [0, 0, 128, 255, 255]
    every = torch.arange(256) / 255
    assert pixels(every).tolist() == list(range(256)), "8-bit images survive"
    assert pixels(every.bfloat16().float()).dtype == torch.uint8


def test_data_on_another_scale_is_refused():
    with pytest.raises(ValueError, match=r"from -1 to 1, outside value_range=\(0.0, 1.0\); write"):
        refuse_outside(torch.tensor([-1.0, 1.0]), (0.0, 1.0))
    refuse_outside(torch.tensor([0.0, 1.0 + 1e-6]), (0.0, 1.0))


def test_flat_images_are_given_a_shape():
    flat = torch.rand(2, 12)
    assert as_images(flat, (3, 2, 2)).equal(flat.view(2, 3, 2, 2))
    assert as_images(torch.rand(2, 4, 5)).shape == (2, 1, 4, 5)


@pytest.mark.parametrize(
    ("values", "shape", "message"),
    [
        (torch.rand(2, 12), None, r"shape \(2, 12\).*Write shape="),
        (torch.rand(2, 2, 4, 4), None, "1 or 3 channels"),
        (torch.zeros(2, 4, 4, dtype=torch.int64), None, "detokenise=... for tokens"),
        (torch.rand(2, 12), (5, 5), r"shape=\(5, 5\) does not hold examples of shape \(12,\)"),
    ],
)
def test_what_is_no_image_is_refused(values, shape, message):
    with pytest.raises(ValueError, match=message):
        as_images(values, shape)


def test_a_name_stands_beside_its_row_and_the_picture_is_untouched():
    picture = torch.full((1, 60, 30), 7, dtype=torch.uint8)
    named = margin(picture, ["z0", ""])
    width = named.shape[2] - 30
    assert named[..., width:].equal(picture)
    assert (named[:, :30, :width] < 128).any()
    assert (named[:, 30:, :width] == 255).all()
