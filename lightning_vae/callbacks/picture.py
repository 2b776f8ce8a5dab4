"""Picture: what every callback that draws is.

A picture is drawn by rank zero alone, in eval mode and from draws of its own, so that training goes
on as if there were none: the same random state, the same modes, nothing on other steps.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal, TypedDict

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from lightning_vae import clock
from lightning_vae.arguments import one_of, whole
from lightning_vae.callbacks.printing import as_written
from lightning_vae.evaluation import evaluating, seeded
from lightning_vae.module import VAEModule
from lightning_vae.pictures import Drawn, Examples
from lightning_vae.pictures.loggers import publish

__all__ = ["On", "Picture", "PictureOptions"]

On = Literal["train", "val"]


class PictureOptions(TypedDict, total=False):
    """What every picture takes; see :class:`Picture`."""

    on: On
    every_n_epochs: int
    key: str | None
    folder: str | None
    data: Any
    seed: int


class Picture(Callback, ABC):
    """A picture of a VAE, shown to the loggers once an epoch.

    It goes to the loggers of TensorBoard, W&B and MLflow, at the step they are at, and without one
    of them to a folder ``pictures``. Before the first training epoch it is drawn once and shown to
    nobody, so that what cannot be drawn is refused there. The one of your own overrides ``draw``.

    Args:
        on: When, and of whose examples: ``"val"``, at the end of validation; ``"train"``, of an
            epoch. The first examples of the first loader are drawn.
        every_n_epochs: Every how many epochs.
        key: What the loggers call it; by default ``pictures/`` and what it shows.
        folder: Where to write it as a file as well, ``<key>-<step>.png``.
        data: A batch to draw, whenever it is, instead of those that come by; a tensor is x.
        seed: Of its random draws, the same each time.

    Raises:
        ValueError: if an option is none of these; before the first batch, if two pictures have
            one key.
        TypeError: before the first batch, if the module is no VAEModule.

    >>> from lightning_vae.pictures import grid, pixels
    >>> class Inputs(Picture):
    ...     shows = "inputs"
    ...
    ...     def draw(self, module, examples):
    ...         return grid(pixels(examples.x[:8]), row_size=8)
    >>> Inputs(every_n_epochs=5).tag
    'pictures/inputs'
    """

    shows: str  # the end of the default key
    needs: int = 1  # how many examples, if there are as many

    latest: Drawn | None  # the last that was shown

    def __init__(
        self,
        on: On = "val",
        every_n_epochs: int = 1,
        key: str | None = None,
        folder: str | None = None,
        data: Any = None,
        seed: int = 0,
    ) -> None:
        self.on = one_of("on", on, ("train", "val"))
        self.every_n_epochs = whole("every_n_epochs", every_n_epochs)
        self.key, self.folder, self.data, self.seed = key, folder, data, seed
        self.latest = None
        self._held: Examples | None = None
        self._tried = False

    def __repr__(self) -> str:
        return as_written(self)

    @property
    def tag(self) -> str:
        """What the loggers call it."""
        return f"pictures/{self.shows}" if self.key is None else self.key

    @abstractmethod
    def draw(self, module: VAEModule, examples: Examples) -> Drawn:
        """The picture: uint8 [C, H, W], [T, C, H, W] for an animation, or Sentences."""

    def examples(self, module: VAEModule, batch: Any) -> Examples:
        """What is drawn of a batch."""
        return Examples(*module.unpack(batch))

    def render(self, module: VAEModule, *batches: Any) -> Drawn:
        """The picture of these batches; nothing else is changed, neither modes nor random state."""
        with evaluating(module), seeded(self.seed, module.device):
            held = [self.examples(module, self.there(module, batch)) for batch in batches]
            return self.draw(module, sum(held[1:], start=held[0]))

    def there(self, module: LightningModule, batch: Any) -> Any:
        """A batch where the module is."""
        return module.transfer_batch_to_device(batch, module.device, 0)

    # ---- hooks -------------------------------------------------------------------------------------

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not isinstance(pl_module, VAEModule):
            raise TypeError(
                f"{type(self).__name__} draws a VAEModule, got {type(pl_module).__name__}; write "
                f"encode and decode in a subclass of VAEModule."
            )
        for other in clock.callbacks(trainer):
            if other is not self and isinstance(other, Picture) and other.tag == self.tag:
                raise ValueError(
                    f"two pictures are called {self.tag!r}: {self} and {other}; give one another "
                    f"name: {type(self).__name__}(..., key='pictures/other')."
                )
        self._held, self._tried = None, False

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self.on == "train" and self._collects(trainer):
            self._hold(pl_module, batch)
            if not self._tried:
                self._draw(pl_module)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.on == "train":
            self._show(trainer, pl_module, clock.last_step(trainer))

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.on == "val" and dataloader_idx == 0 and self._collects(trainer):
            self._hold(pl_module, batch)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.on == "val":
            self._show(trainer, pl_module, clock.logger_step(trainer))

    # ---- private -----------------------------------------------------------------------------------

    def _due(self, trainer: Trainer) -> bool:
        fits = trainer.state.fn == "fit" and not trainer.sanity_checking
        return not fits or (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def _collects(self, trainer: Trainer) -> bool:
        if self._held is not None and (self.data is not None or len(self._held) >= self.needs):
            return False
        first = self.on == "train" and not self._tried
        return trainer.is_global_zero and (first or self._due(trainer))

    def _hold(self, module: LightningModule, batch: Any) -> None:
        assert isinstance(module, VAEModule)
        if self.data is not None:
            batch = self.there(module, self.data)
        with evaluating(module), seeded(self.seed, module.device):
            examples = self.examples(module, batch)
            # A copy, so that the rest of the batch is freed.
            examples = examples.take(range(min(self.needs, len(examples))))
        self._held = examples if self._held is None else self._held + examples

    def _draw(self, module: LightningModule) -> Drawn:
        assert isinstance(module, VAEModule)
        assert self._held is not None
        self._tried = True
        with evaluating(module), seeded(self.seed, module.device):
            return self.draw(module, self._held)

    def _show(self, trainer: Trainer, module: LightningModule, step: int) -> None:
        if self._held is None:
            return
        if self._due(trainer):
            drawn = self._draw(module)
            if not clock.rehearses(trainer):
                self.latest = drawn
                self._publish(trainer, drawn, step)
        self._held = None

    def _publish(self, trainer: Trainer, drawn: Drawn, step: int) -> None:
        folder = None if self.folder is None else Path(self.folder)
        # Not trainer.log_dir, which all ranks must ask for.
        roots = [getattr(logger, "log_dir", None) for logger in trainer.loggers]
        root = next((root for root in roots if root), trainer.default_root_dir)
        publish(trainer.loggers, self.tag, drawn, step, folder, otherwise=Path(root))
