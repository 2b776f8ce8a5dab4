"""SampleQuality: how good samples and reconstructions are, by metrics that compare images."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.callbacks.printing import as_written
from lightning_vae.callbacks.prior_samples import refuse_undrawable
from lightning_vae.callbacks.scores import named, scores, table
from lightning_vae.evaluation import seeded
from lightning_vae.module import VAEModule
from lightning_vae.objectives.ranks import of_all_ranks

__all__ = ["SampleQuality", "of_samples"]


def of_samples(metric: Metric) -> bool:
    """Whether a metric compares two sets, ``update(x, real)``, or pairs, ``update(again, x)``.

    Raises:
        ValueError: if it does neither.

    >>> from lightning_vae.metrics import PrecisionRecall, ReconstructionQuality
    >>> of_samples(PrecisionRecall(torch.nn.Flatten())), of_samples(ReconstructionQuality())
    (True, False)
    """
    taken = list(inspect.signature(metric.update).parameters)
    if len(taken) != 2 or {"codes", "posterior"} & set(taken):
        raise ValueError(
            f"metrics: {type(metric).__name__} compares no images, its update takes "
            f"({', '.join(taken)}); SampleQuality runs those of (x, real) and of "
            f"(reconstruction, x)."
        )
    return "real" in taken


class SampleQuality(Callback):
    """Measure how good samples and reconstructions are, at validation and test, and log it.

    Logged as ``val/frechet_distance``, ``val/reconstruction_quality_psnr`` and so on, by the names
    of the metrics' classes, at validation every n epochs and whenever ``Trainer.validate`` is
    called, and as ``test/...`` by ``Trainer.test``. Metrics whose ``update`` takes ``(x, real)`` are
    given every example and as many samples, ``module.sample`` of the examples' context, the same
    draws at each evaluation; all others are given ``module.reconstruct`` of every example, and it.
    Of several sets the first is measured. Nothing of the training is changed: neither its random
    state nor the module's mode. It costs two more passes through the decoder.

    Args:
        metrics: What to report: :class:`~lightning_vae.metrics.FrechetDistance`,
            :class:`~lightning_vae.metrics.PrecisionRecall`,
            :class:`~lightning_vae.metrics.ReconstructionQuality`, or torchmetrics' own of images.
        every_n_epochs: At which validations during training to do so.
        seed: Seed of the samples.
        table: Whether to print the scores as a table, too.

    Raises:
        ValueError: if there is no metric, one compares no images, two have one name, or a number is
            out of its range; before the first batch, if the module is no ``VAEModule``; at
            validation, if one of several ranks has no batch, or a metric has too few images.
        TypeError: before the first batch, if there are samples to draw and the module is a
            hierarchy that cannot.

    Source: Heusel et al. 2017; Kynkäänniemi et al. 2019.

    >>> from lightning_vae.metrics import FrechetDistance
    >>> SampleQuality([FrechetDistance(lambda x: x.flatten(1), features=784)], every_n_epochs=5)
    SampleQuality([FrechetDistance()], every_n_epochs=5)
    """

    scores: dict[str, float]

    def __init__(
        self,
        metrics: Sequence[Metric],
        every_n_epochs: int = 1,
        seed: int = 0,
        table: bool = False,
    ) -> None:
        if not metrics:
            raise ValueError("metrics is empty: write [ReconstructionQuality()].")
        self.metrics, self.table = metrics, table
        self.every_n_epochs = whole("every_n_epochs", every_n_epochs)
        self.seed = whole("seed", seed, 0)
        self._named = named(metrics)
        self._of_samples = {name: of_samples(metric) for name, metric in self._named.items()}
        self.scores, self.images = {}, 0
        self._images = 0  # of this rank, and of the evaluation that goes on

    def __repr__(self) -> str:
        return as_written(self)

    def report(self) -> dict[str, Any]:
        """The last scores, and how they came about, for a file of results."""
        return {"scores": self.scores, "images": self.images, "seed": self.seed}

    # ---- hooks -------------------------------------------------------------------------------------

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not isinstance(pl_module, VAEModule):
            raise ValueError(
                f"SampleQuality needs a VAEModule, whose samples and reconstructions it measures; "
                f"got {type(pl_module).__name__}."
            )
        if any(self._of_samples.values()):
            refuse_undrawable(pl_module)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(pl_module)

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(pl_module)

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
        if dataloader_idx == 0 and self._is_due(trainer):
            assert isinstance(pl_module, VAEModule)
            self._update(trainer, pl_module, batch, batch_idx)

    @override
    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_due(trainer):
            self._evaluate(trainer, pl_module, "test" if trainer.testing else "val")

    @override
    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_validation_epoch_end(trainer, pl_module)

    # ---- private -----------------------------------------------------------------------------------

    def _is_due(self, trainer: Trainer) -> bool:
        due = trainer.state.fn != "fit" or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        return due and not trainer.sanity_checking

    def _begin(self, module: LightningModule) -> None:
        self._images = 0
        for metric in self._named.values():
            metric.reset()
            metric.to(module.device)

    def _update(self, trainer: Trainer, vae: VAEModule, batch: Any, batch_idx: int) -> None:
        x = vae.inputs(batch)
        self._images += len(x)
        seed = (self.seed * 8191 + trainer.global_rank) * 1_000_003 + batch_idx
        with seeded(seed, vae.device):
            sampled, reconstructed = self._made(trainer, vae, batch)
            for name, metric in self._named.items():
                if not self._of_samples[name]:
                    metric.update(reconstructed, x.float())
                else:
                    metric.update(x.float(), real=True)
                    metric.update(sampled, real=False)

    def _made(
        self, trainer: Trainer, vae: VAEModule, batch: Any
    ) -> tuple[Tensor | None, Tensor | None]:
        """Samples and reconstructions, those that some metric takes."""
        wanted = set(self._of_samples.values())
        # The mode that validation runs in has ended, and with it its precision.
        with trainer.precision_plugin.forward_context():
            x, context = vae.unpack(batch)
            sampled = vae.sample(len(x), **context).float() if True in wanted else None
            again = vae.reconstruct(x, **context).float() if False in wanted else None
        return sampled, again

    def _evaluate(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        seen = of_all_ranks(self._images)
        if 0 in seen:
            raise ValueError(
                f"{seen.count(0)} of {len(seen)} ranks had no batch, and {self} measures on all of "
                f"them: give each at least one, or take fewer devices."
            )
        self.images, self.scores = sum(seen), scores(self._named)
        keyed = {f"{stage}/{name}": value for name, value in self.scores.items()}
        module.log_dict(
            {key: torch.tensor(value, device=module.device) for key, value in keyed.items()},
            sync_dist=True,
        )
        if self.table and trainer.is_global_zero:
            Console().print(table("quality", self.scores))
        for metric in self._named.values():
            metric.reset()  # images are large
