"""Loggers, and how each of them is shown a picture: the one place that knows.

By name, not by class: ``pytorch_lightning`` has loggers of its own, and those of W&B and MLflow
need packages that may not be there.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from lightning_vae.pictures.files import Drawn, as_pillow, encoded, write
from lightning_vae.pictures.sentences import Sentences

__all__ = ["chart", "publish"]

Show: TypeAlias = Callable[[Any, str, Drawn, int], None]


def publish(
    loggers: Iterable[Any],
    key: str,
    drawn: Drawn,
    step: int,
    folder: Path | None = None,
    otherwise: Path | None = None,
) -> None:
    """Show a picture to every logger that shows pictures, and write it where one is asked for.

    Args:
        loggers: Lightning's: of TensorBoard, W&B and MLflow; others are left out.
        key: What it is called, such as ``pictures/traversal``.
        drawn: The picture.
        step: Where it is on the loggers' x axis.
        folder: Where to write it as ``<key>-<step>.png`` besides, or None.
        otherwise: Where to write it if there is neither a folder nor a logger to show it.
    """
    shows = [(_show_of(logger), logger) for logger in loggers]
    for show, logger in shows:
        if show is not None:
            show(logger, key, drawn, step)
    if folder is None and not any(show for show, _ in shows):
        folder = otherwise
    if folder is not None:
        write(drawn, folder / f"{key}-{step:06d}")


def chart(loggers: Iterable[Any], title: str, charts: Mapping[str, Sequence[str]]) -> None:
    """Lay scalars out together on TensorBoard's page of custom scalars.

    Args:
        loggers: Lightning's; only TensorBoard's has such a page.
        title: The name of the category.
        charts: The keys on every chart, by the chart's name.
    """
    layout = {title: {name: ["Multiline", list(keys)] for name, keys in charts.items()}}
    for logger in loggers:
        if _show_of(logger) is _tensorboard:
            logger.experiment.add_custom_scalars(layout)


def _show_of(logger: Any) -> Show | None:
    names = [cls.__name__ for cls in type(logger).__mro__]
    return next((_SHOWS[name] for name in names if name in _SHOWS), None)


def _tensorboard(logger: Any, key: str, drawn: Drawn, step: int) -> None:
    writer = logger.experiment
    if isinstance(drawn, Sentences):
        writer.add_text(key, drawn.markdown(), step)
    elif drawn.dim() == 3:
        writer.add_image(key, drawn.cpu(), step)
    else:
        from tensorboard.compat.proto.summary_pb2 import (  # type: ignore[import-untyped]
            Summary,  # slow to import
        )

        # Not add_video, which needs moviepy; this is what it would write.
        channels, height, width = drawn.shape[1:]
        gif = Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=encoded(drawn)[0]
        )
        summary = Summary(value=[Summary.Value(tag=key, image=gif)])
        # Private, since the writer that is public is None after a close, which Lightning does.
        writer._get_file_writer().add_summary(summary, step)


def _wandb(logger: Any, key: str, drawn: Drawn, step: int) -> None:
    if isinstance(drawn, Sentences):
        names = [f"column {k}" for k in range(len(drawn.columns))]
        logger.log_text(key, columns=names, data=drawn.rows(), step=step)
    elif drawn.dim() == 3:
        logger.log_image(key, [as_pillow(drawn)], step=step)
    else:
        with tempfile.TemporaryDirectory() as folder:  # W&B copies the file
            path = write(drawn, Path(folder) / "animation")
            logger.log_video(key, [str(path)], step=step, format=["gif"])


def _mlflow(logger: Any, key: str, drawn: Drawn, step: int) -> None:
    name = f"{key}/{step:06d}"
    if isinstance(drawn, Sentences):
        logger.experiment.log_text(logger.run_id, drawn.markdown(), f"{name}.md")
    elif drawn.dim() == 3:
        logger.experiment.log_image(logger.run_id, as_pillow(drawn), f"{name}.png")
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = write(drawn, Path(folder) / f"{step:06d}")
            logger.experiment.log_artifact(logger.run_id, str(path), key)


_SHOWS: dict[str, Show] = {
    "TensorBoardLogger": _tensorboard,
    "WandbLogger": _wandb,
    "MLFlowLogger": _mlflow,
}
