"""Pictures reach the loggers: TensorBoard's own files, and W&B's and MLflow's by Lightning's own
loggers over packages that are faked."""

import io
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from lightning_vae.pictures import Sentences
from lightning_vae.pictures.loggers import chart, publish

IMAGE = torch.arange(24, dtype=torch.uint8).view(1, 4, 6)
FRAMES = IMAGE + torch.tensor([0, 40, 80], dtype=torch.uint8).view(3, 1, 1, 1)
TEXT = Sentences([["a cat"], ["a dog"]])


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"))


def test_tensorboard_reads_the_image_the_animation_and_the_text(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    publish([logger], "pictures/a", IMAGE, step=7)
    publish([logger], "pictures/b", FRAMES, step=8)
    publish([logger], "pictures/c", TEXT, step=9)
    chart([logger], "lightning-vae", {"train": ["schedule/beta", "train/rate"]})
    logger.finalize("success")
    publish([logger], "pictures/b", FRAMES, step=10)  # after a close, as in a second fit
    logger.experiment.flush()
    read = EventAccumulator(logger.log_dir, size_guidance={"images": 0, "tensors": 0})
    read.Reload()
    (image,) = read.Images("pictures/a")
    assert image.step == 7
    assert np.array_equal(pixels(image.encoded_image_string), IMAGE[0])
    animations = read.Images("pictures/b")
    assert [event.step for event in animations] == [8, 10]
    gif = Image.open(io.BytesIO(animations[0].encoded_image_string))
    assert (gif.format, gif.n_frames, gif.size) == ("GIF", 3, (6, 4))
    (text,) = read.Tensors("pictures/c/text_summary")
    assert text.tensor_proto.string_val[0].decode() == TEXT.markdown()
    (saved,) = read.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(saved.tensor_proto.string_val[0])
    assert list(layout.category[0].chart[0].multiline.tag) == ["schedule/beta", "train/rate"]


@pytest.fixture
def wandb(monkeypatch):
    """What Lightning's WandbLogger needs of wandb; images and videos as wandb takes them."""

    class FakeImage:
        def __init__(self, data_or_path):
            assert isinstance(data_or_path, Image.Image)
            self.pixels = np.asarray(data_or_path)

    class Video:
        def __init__(self, data_or_path, caption=None, fps=None, format=None):
            assert Path(data_or_path).suffix == ".gif"
            self.content = Path(data_or_path).read_bytes()  # wandb copies it when it is logged

    class Table:
        def __init__(self, columns=None, data=None, dataframe=None):
            assert all(len(row) == len(columns) for row in data)
            self.columns, self.data = columns, data

    class Run:
        def __init__(self):
            self.logged = []

        def log(self, metrics, step=None):
            self.logged.append(metrics)

    fake = ModuleType("wandb")
    fake.Image, fake.Video, fake.Table, fake.run = FakeImage, Video, Table, None
    names = {"wandb": fake, "wandb.sdk": ModuleType("wandb.sdk")}
    names["wandb.sdk.lib"] = SimpleNamespace(RunDisabled=type("RunDisabled", (), {}))
    names["wandb.wandb_run"] = SimpleNamespace(Run=Run)
    for name, module in names.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", True)
    return Run()


def test_wandb_gets_an_image_a_video_and_a_table_at_the_step(wandb):
    logger = WandbLogger(experiment=wandb)
    for step, drawn in enumerate([IMAGE, FRAMES, TEXT]):
        publish([logger], "pictures/a", drawn, step)
    image, video, table = (logged["pictures/a"] for logged in wandb.logged)
    assert [logged["trainer/global_step"] for logged in wandb.logged] == [0, 1, 2]
    assert np.array_equal(image[0].pixels, IMAGE[0])
    assert Image.open(io.BytesIO(video[0].content)).n_frames == 3
    assert table.data == [["a cat", "a dog"]]


@pytest.fixture
def mlflow(monkeypatch):
    """What Lightning's MLFlowLogger needs of mlflow, with MlflowClient's own signatures."""

    class MlflowClient:
        def __init__(self, tracking_uri):
            self.saved = {}

        def get_experiment_by_name(self, name):
            return SimpleNamespace(experiment_id="1", lifecycle_stage="active")

        def create_run(self, experiment_id, tags):
            return SimpleNamespace(info=SimpleNamespace(run_id="run"))

        def log_image(self, run_id, image, artifact_file=None, *, key=None, step=None):
            assert isinstance(image, Image.Image)
            self.saved[run_id, artifact_file] = np.asarray(image)

        def log_text(self, run_id, text, artifact_file):
            self.saved[run_id, artifact_file] = text

        def log_artifact(self, run_id, local_path, artifact_path=None):
            name = f"{artifact_path}/{Path(local_path).name}"
            self.saved[run_id, name] = Path(local_path).read_bytes()

    context = SimpleNamespace(resolve_tags=lambda tags: tags)
    tracking = SimpleNamespace(MlflowClient=MlflowClient, context=context)
    fake = SimpleNamespace(tracking=tracking, set_tracking_uri=lambda uri: None)
    for name, module in {
        "mlflow": fake,
        "mlflow.tracking": tracking,
        "mlflow.tracking.context": context,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("lightning.pytorch.loggers.mlflow._MLFLOW_AVAILABLE", True)


def test_mlflow_gets_artifacts_of_the_run_named_by_key_and_step(mlflow):
    logger = MLFlowLogger()
    publish([logger], "pictures/a", IMAGE, step=7)
    publish([logger], "pictures/b", FRAMES, step=8)
    publish([logger], "pictures/c", TEXT, step=9)
    saved = logger.experiment.saved
    assert np.array_equal(saved["run", "pictures/a/000007.png"], IMAGE[0])
    gif = Image.open(io.BytesIO(saved["run", "pictures/b/000008.gif"]))
    assert gif.n_frames == 3
    assert saved["run", "pictures/c/000009.md"] == TEXT.markdown()


def test_a_folder_gets_the_picture_where_no_logger_shows_it(tmp_path):
    csv = CSVLogger(tmp_path)
    publish([csv], "pictures/a", IMAGE, 7, otherwise=tmp_path)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "pictures" / "a-000007.png")), IMAGE[0])
    board = TensorBoardLogger(tmp_path / "board")
    publish([csv, board], "pictures/b", IMAGE, 8, otherwise=tmp_path)
    assert not (tmp_path / "pictures" / "b-000008.png").exists(), "TensorBoard has it"
    publish([board], "pictures/b", IMAGE, 9, folder=tmp_path, otherwise=tmp_path)
    assert (tmp_path / "pictures" / "b-000009.png").exists(), "it was asked for"


def test_any_logger_of_the_same_name_is_known(tmp_path):
    """pytorch_lightning has loggers of its own."""
    import pytorch_lightning

    logger = pytorch_lightning.loggers.TensorBoardLogger(tmp_path)
    publish([logger], "pictures/a", IMAGE, step=1, otherwise=tmp_path)
    assert not (tmp_path / "pictures").exists()
