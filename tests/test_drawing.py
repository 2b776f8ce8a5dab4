"""Pictures by the command line: every fragment in training, and every command on a checkpoint."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_vae import StandardNormal, VAEModule
from lightning_vae.callbacks import LatentTraversal, Reconstructions
from lightning_vae.cli import run
from lightning_vae.data import Sprites
from lightning_vae.drawing import PICTURES, draw
from lightning_vae.networks import ConvDecoder, ConvEncoder
from tests.test_cli import BASES, CONFIGS, fit

FRAGMENTS = {path.stem: path for path in (CONFIGS / "pictures").glob("*.yaml")}
FAST = [
    "--trainer.max_epochs=5",
    "--trainer.limit_train_batches=1",
    "--trainer.limit_val_batches=1",
]
SMALL = ["--data.train_size=64", "--data.val_size=48", "--data.batch_size=32"]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_fragment_is_here():
    assert set(FRAGMENTS) == {"basic", "traversal", "animation", "interpolation", "scatter"}


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_every_fragment_appends_its_pictures_to_the_main_job(here, fragment):
    cli = fit("-c", BASES["sprites"], "-c", FRAGMENTS[fragment], *SMALL, *FAST)
    read = EventAccumulator(cli.trainer.log_dir)
    read.Reload()
    added = yaml.safe_load(FRAGMENTS[fragment].read_text())["trainer"]["callbacks+"]
    added = added if isinstance(added, list) else [added]
    assert len(read.Tags()["images"]) == len(added)
    assert "schedule/beta" in read.Tags()["scalars"], "appended, not replaced"


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_print_config_round_trips(capsys, here, fragment):
    def printed(*paths: Path) -> str:
        with pytest.raises(SystemExit):
            run(["fit", *(f"-c={path}" for path in paths), "--print_config"])
        return capsys.readouterr().out

    first = printed(BASES["mnist"], FRAGMENTS[fragment])
    (here / "printed.yaml").write_text(first)
    assert yaml.safe_load(printed(here / "printed.yaml")) == yaml.safe_load(first)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """Of a run by the command line, in its folder."""
    folder = tmp_path_factory.mktemp("run")
    args = [f"--trainer.logger.init_args.save_dir={folder}", "--trainer.max_epochs=1"]
    cli = fit("-c", BASES["sprites"], *SMALL, *args)
    return Path(cli.trainer.log_dir) / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize("command", PICTURES)
def test_every_command_draws_the_checkpoint_with_its_own_data(here, checkpoint, command):
    path = draw(command, ["--ckpt", str(checkpoint), "--row_size=4"])
    assert path == Path(f"{command}.png")
    assert Image.open(path).size[0] >= 4 * 66


def test_it_is_the_picture_that_the_callback_draws(here, checkpoint):
    path = draw("reconstruct", ["--ckpt", str(checkpoint), "--to", "drawn/mine.png"])
    vae = VAEModule.load_from_checkpoint(checkpoint)
    data = Sprites(batch_size=32, train_size=64, val_size=48)
    data.setup("validate")
    drawn = Reconstructions().render(vae, next(iter(data.val_dataloader())))
    assert path == Path("drawn/mine.png")
    assert np.array_equal(np.asarray(Image.open(path)), drawn[0])


def test_options_are_the_callbacks(here, checkpoint):
    args = ["--latents=[2,0]", "--between=[-1,1]", "--origin=zero", "--animated=true"]
    path = draw("traverse", ["--ckpt", str(checkpoint), "--row_size=3", *args])
    assert path == Path("traverse.gif")
    vae = VAEModule.load_from_checkpoint(checkpoint)
    picture = LatentTraversal([2, 0], origin="zero", between=(-1, 1), animated=True, row_size=3)
    drawn = picture.render(vae, torch.zeros(1, 1, 64, 64))
    gif = Image.open(path)
    assert gif.n_frames == len(drawn) == 4
    gif.seek(1)
    assert np.abs(np.asarray(gif.convert("L")).astype(int) - drawn[1, 0].numpy()).max() <= 2


class Mine(VAEModule):
    def __init__(self, latent: int = 3) -> None:
        encoder, decoder = (cls((1, 64, 64), latent, (4, 8)) for cls in (ConvEncoder, ConvDecoder))
        super().__init__(encoder, decoder, StandardNormal(latent))


def test_a_checkpoint_from_python_is_told_its_class_and_its_data(here, capsys):
    trainer = Trainer(max_steps=1, accelerator="cpu", logger=False, enable_progress_bar=False)
    trainer.fit(Mine(), Sprites(4, train_size=8, val_size=4))
    trainer.save_checkpoint("mine.ckpt")
    data = ["--data=Sprites", "--data.train_size=8", "--data.val_size=4"]
    with pytest.raises(SystemExit):
        draw("traverse", ["--ckpt=mine.ckpt"])
    assert "says what data to draw; write --data=Sprites" in capsys.readouterr().err
    with pytest.raises(ValueError, match="does not say of what class it is; write --model="):
        draw("traverse", ["--ckpt=mine.ckpt", *data])
    assert draw("traverse", ["--ckpt=mine.ckpt", "--model=tests.test_drawing.Mine", *data]).exists()


def test_the_commands_are_those_of_lightning_vae(here, checkpoint):
    command = [sys.executable, "-m", "lightning_vae"]
    said = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(name in said for name in PICTURES)
    drawn = [*command, "traverse", "--ckpt", str(checkpoint), "--to", "t.png", "--most_active=2"]
    done = subprocess.run(drawn, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "t.png"
    assert (here / "t.png").exists()
