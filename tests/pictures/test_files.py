"""Files that others can read, and what figures show."""

import io
import os

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_vae.pictures import Sentences, encoded, sentences, there_and_back, write
from lightning_vae.pictures.figure import blank, rendered
from lightning_vae.pictures.overlay import overlay
from lightning_vae.pictures.scatter import scatter
from lightning_vae.pictures.spectrum import spectrum


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_holds_every_pixel(channels):
    image = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
    content, suffix = encoded(image)
    read = np.asarray(Image.open(io.BytesIO(content)))
    assert suffix == ".png"
    assert np.array_equal(read.reshape(5, 7, channels), image.permute(1, 2, 0))


def test_a_gif_holds_every_frame_there_and_back():
    frames = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 1, 4, 4) * 50
    content, suffix = encoded(there_and_back(frames))
    gif = Image.open(io.BytesIO(content))
    seen = []
    for k in range(gif.n_frames):
        gif.seek(k)
        seen.append(gif.convert("L").getpixel((0, 0)))
    assert suffix == ".gif"
    assert seen == [0, 50, 100, 150, 200, 150, 100, 50]
    assert gif.info["loop"] == 0


def test_files_are_whole_and_named_by_what_they_are(tmp_path):
    path = write(torch.zeros(1, 4, 4, dtype=torch.uint8), tmp_path / "new" / "a-000001")
    assert path == tmp_path / "new" / "a-000001.png"
    assert write(Sentences([["a"]]), tmp_path / "b.md").read_text().endswith("| a |")
    assert sorted(os.listdir(tmp_path / "new")) == ["a-000001.png"]


def test_tokens_become_sentences_down_columns():
    tokens = torch.tensor([[0, 1], [0, 2], [3, 2]])
    words = ["a", "cat", "dog|cow", "the"]
    table = sentences(tokens, words, row_size=2)
    assert table.rows() == [["a cat", "the dog|cow"], ["a dog|cow", ""]]
    assert r"the dog\|cow" in table.markdown()
    by_function = sentences(tokens, lambda row: "-".join(map(str, row)), row_size=3)
    assert by_function.columns == [["0-1", "0-2", "3-2"]]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.tensor([[0, 4]]), "detokenise has 4 words, but there is a token 4"),
        (torch.rand(2, 4), "are no tokens"),
        (torch.zeros(2, 3, 4, dtype=torch.int64), "are no tokens"),
    ],
)
def test_what_is_no_sentence_is_refused(tokens, message):
    with pytest.raises(ValueError, match=message):
        sentences(tokens, ["a"] * 4, row_size=2)


def test_a_figure_is_drawn_as_it_is_without_pyplot():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    figure = blank(2.0, 1.0)
    figure.set_facecolor((1.0, 0.0, 0.0))
    image = rendered(figure)
    assert image.shape == (3, 100, 200)
    assert image[:, 50, 100].tolist() == [255, 0, 0]
    assert plt.get_fignums() == before


def test_a_spectrum_is_sorted_and_counts_what_is_active():
    ax = spectrum([torch.tensor([0.5, 2.0]), torch.tensor([[0.0, 1.0]])]).axes[0]
    assert [bar.get_height() for bar in ax.patches] == [2.0, 0.5, 1.0, 0.0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.1", "0.0", "1.1", "1.0"]
    assert ax.get_title() == "R = 3.50 nats, 3 of 4 latents above 0.01"


def test_classes_have_a_legend_and_numbers_a_scale():
    points = torch.randn(60, 2)
    classes = scatter(points, torch.arange(60) % 12).axes
    assert len(classes) == 1
    assert len(classes[0].get_legend().get_texts()) == 12
    assert len({tuple(c.get_facecolor()[0]) for c in classes[0].collections}) == 12
    assert len(scatter(points, torch.rand(60)).axes) == 2
    assert len(scatter(points, torch.arange(60)).axes) == 2
    drawn = np.sort(scatter(points).axes[0].collections[0].get_offsets(), 0)
    np.testing.assert_allclose(drawn, np.sort(points.numpy(), 0))


def test_coefficients_have_an_axis_of_their_own():
    curves = {"schedule/beta": ([0, 9], [0.0, 1.0]), "train/rate": ([0, 9], [9.0, 20.0])}
    terms, coefficients = overlay(curves).axes
    assert [line.get_label() for line in coefficients.get_lines()] == ["schedule/beta"]
    assert terms.get_lines()[0].get_ydata().tolist() == [9.0, 20.0]
