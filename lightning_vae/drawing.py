"""Pictures of a checkpoint, from the command line: ``lightning-vae traverse --ckpt last.ckpt``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import LightningDataModule, LightningModule

from lightning_vae.callbacks import (
    CodeInterpolation,
    ImageInterpolation,
    LatentTraversal,
    Picture,
    PriorSamples,
    Reconstructions,
)
from lightning_vae.module import VAEModule
from lightning_vae.pictures import write

__all__ = ["PICTURES", "draw"]

# What can be drawn, by the name of its command.
PICTURES: dict[str, type[Picture]] = {
    "traverse": LatentTraversal,
    "reconstruct": Reconstructions,
    "sample": PriorSamples,
    "interpolate": ImageInterpolation,
    "interpolate-codes": CodeInterpolation,
}

_IN_TRAINING = {"on", "every_n_epochs", "key", "folder", "data"}


def draw(command: str, args: list[str]) -> Path:
    """Draw a picture of a checkpoint into a file, whose path is returned.

    It is drawn of the first examples that the data validates on: ``--data``, or what the run's own
    ``config.yaml`` says, which the command line writes two folders above the checkpoint.
    """
    given = _parsed(command, args)
    module = _module(given)
    options = {k: v for k, v in vars(given).items() if k not in ("ckpt", "to", "model", "data")}
    picture: Any = PICTURES[command](**options)
    drawn = picture.render(module, *_batches(given.data, module, picture.needs))
    return write(drawn, given.to or command)


def _parsed(command: str, args: list[str]) -> Namespace:
    parser = _parser(command)
    given = parser.parse_args(args)
    if given.data is None:
        config = Path(given.ckpt).parent.parent / "config.yaml"
        if not config.exists():
            parser.error(f"there is no {config} that says what data to draw; write --data=Sprites.")
        data = yaml.safe_load(config.read_text())["data"]
        given = parser.parse_args([*args, f"--data={json.dumps(data)}"])
    instantiated: Namespace = parser.instantiate(given)
    return instantiated


def _parser(command: str) -> ArgumentParser:
    picture = PICTURES[command]
    parser = ArgumentParser(prog=f"lightning-vae {command}")
    parser.add_argument("--ckpt", type=str, required=True, help="The checkpoint to draw.")
    parser.add_argument("--to", type=str | None, help=f"The file; by default {command}.png.")
    parser.add_argument(
        "--model", type=type[LightningModule] | None, help="Its class, if it does not say."
    )
    parser.add_subclass_arguments(LightningDataModule, "data", required=False)
    parser.add_class_arguments(picture, skip=_IN_TRAINING)
    return parser


def _module(given: Namespace) -> VAEModule:
    cls = given.model or LightningModule
    try:
        module = cls.load_from_checkpoint(given.ckpt, map_location="cpu")
    except TypeError as reason:
        raise ValueError(
            f"{given.ckpt} does not say of what class it is; write --model=my_package.MyVAE."
        ) from reason
    if not isinstance(module, VAEModule):
        raise TypeError(f"{given.ckpt} is of a {type(module).__name__}, not of a VAEModule.")
    return module


def _batches(data: LightningDataModule, module: VAEModule, needs: int) -> Iterator[Any]:
    """The first that are validated on, until they hold as many examples as are needed."""
    data.prepare_data()
    data.setup("validate")
    loaders = data.val_dataloader()
    for batch in loaders[0] if isinstance(loaders, list | tuple) else loaders:
        if needs <= 0:
            return
        needs -= len(module.inputs(batch))
        yield batch
