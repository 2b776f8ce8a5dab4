"""DisentanglementEvaluation: what the latents mean, on data whose factors are known."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from torch import Tensor
from torch.distributions import Distribution
from torchmetrics import Metric
from typing_extensions import override

from lightning_vae.callbacks.printing import as_written
from lightning_vae.callbacks.scores import named, scores, table
from lightning_vae.data.factored import Factored, random_factors
from lightning_vae.evaluation import evaluating, seeded
from lightning_vae.metrics import (
    IRS,
    MIG,
    SAP,
    BetaVAEScore,
    Explicitness,
    FactorVAEScore,
    GaussianTotalCorrelation,
    GaussianWassersteinCorrelation,
    Modularity,
    PosteriorMIG,
)
from lightning_vae.metrics.fresh import Codebook

__all__ = ["DisentanglementEvaluation", "default_metrics"]


def default_metrics() -> list[Metric]:
    """Every score of codes and factors that takes seconds: all but DCI and the exact MIG.

    >>> ", ".join(named(default_metrics()))  # doctest: +NORMALIZE_WHITESPACE
    'mig, sap, factor_vae_score, beta_vae_score, modularity, explicitness, irs,
    gaussian_total_correlation, gaussian_wasserstein_correlation'
    """
    return [
        MIG(),
        SAP(),
        FactorVAEScore(),
        BetaVAEScore(),
        Modularity(),
        Explicitness(),
        IRS(),
        GaussianTotalCorrelation(),
        GaussianWassersteinCorrelation(normalised=True),
    ]


class DisentanglementEvaluation(Callback):
    """Score how the latents stand for the known factors of a data module, and log it.

    Logged as ``val/mig`` and so on, by the names of the metrics' classes, at validation every n
    epochs and whenever ``Trainer.validate`` is called, and as ``test/mig`` by ``Trainer.test``. One
    set of examples with factors drawn at random, the same at each evaluation, is drawn, encoded and
    shared by all metrics. Nothing of the training is changed: neither its random state nor the
    module's mode. Under several processes the first does the work, and all log its result.

    Args:
        metrics: What to report: `CodeMetric` s, Gaussian correlations, `PosteriorMIG`; by default
            ``default_metrics()``, all that take seconds.
        points: How many examples to draw.
        every_n_epochs: At which validations during training to do so.
        batch_size: How many examples to draw and encode at once.
        seed: Seed of the factors.
        fresh_votes: Whether the FactorVAE and β-VAE scores draw fresh examples for every vote, as
            they are defined, rather than from the set of the others. All votes' combinations are
            rendered and encoded together, each once: of Sprites most of the 737,280, six minutes of
            a processor's core. A set of 10,000 gave the same within 0.01.
        table: Whether to print the scores as a table, too.

    Raises:
        ModuleNotFoundError: if a metric needs scikit-learn, and it is not installed.
        ValueError: if a number is not positive, or two metrics have one name; in ``setup``, if the
            data module does not tell its factors or the module has no ``embed``.

    >>> DisentanglementEvaluation(every_n_epochs=5)
    DisentanglementEvaluation(every_n_epochs=5)
    """

    def __init__(
        self,
        metrics: Sequence[Metric] | None = None,
        points: int = 10_000,
        every_n_epochs: int = 1,
        batch_size: int = 256,
        seed: int = 0,
        fresh_votes: bool = False,
        table: bool = False,
    ) -> None:
        for name, value in (
            ("points", points),
            ("every_n_epochs", every_n_epochs),
            ("batch_size", batch_size),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        self.metrics = metrics
        self.points, self.every_n_epochs, self.batch_size = points, every_n_epochs, batch_size
        self.seed, self.fresh_votes, self.table = seed, fresh_votes, table
        self.scores: dict[str, float] = {}
        self._named = named(default_metrics() if metrics is None else metrics)

    def __repr__(self) -> str:
        return as_written(self)

    def report(self) -> dict[str, Any]:
        """The last scores, and how they came about, for a file of results."""
        return {
            "scores": self.scores,
            "points": self.points,
            "fresh_votes": self.fresh_votes,
            "seed": self.seed,
        }

    # ---- hooks -------------------------------------------------------------------------------------

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        _refuse_unfactored(_data(trainer))
        if not callable(getattr(pl_module, "embed", None)):
            raise ValueError(
                f"{type(pl_module).__name__} has no embed(x), which returns the codes [B, ...] of "
                f"examples: write one."
            )

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if not trainer.sanity_checking and (due or trainer.state.fn == "validate"):
            self._evaluate(trainer, pl_module, "val")

    @override
    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluate(trainer, pl_module, "test")

    # ---- private -----------------------------------------------------------------------------------

    def _evaluate(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        found = self._scores(module, _data(trainer)) if trainer.is_global_zero else {}
        self.scores = trainer.strategy.broadcast(found)
        keyed = {f"{stage}/{name}": value for name, value in self.scores.items()}
        module.log_dict(
            {key: torch.tensor(value, device=module.device) for key, value in keyed.items()},
            sync_dist=True,
        )
        if self.table and trainer.is_global_zero:
            Console().print(table("disentanglement", self.scores))

    def _scores(self, module: Any, data: Factored) -> dict[str, float]:
        metrics = {name: metric.clone() for name, metric in self._named.items()}
        for metric in metrics.values():
            metric.reset()
            metric.distributed_available_fn = _alone  # other processes do not take part
        voting = {n: m for n, m in metrics.items() if self.fresh_votes and _votes(m)}
        pooled = {name: metric for name, metric in metrics.items() if name not in voting}
        with seeded(self.seed, module.device), torch.no_grad():
            for x, factors in self._batches(data):
                _update(pooled.values(), module, x, factors)
            return scores(pooled) | self._voted(voting, module, data)

    def _voted(self, voting: Mapping[str, Any], module: Any, data: Factored) -> dict[str, float]:
        def encode(classes: Tensor) -> Tensor:
            batches = map(data.render, classes.split(self.batch_size))
            return torch.cat([_flat(module.embed(x)).cpu() for x in batches])

        codes = Codebook(encode, data.factor_sizes)
        return {name: float(m.of_fresh(codes, data.factor_sizes)) for name, m in voting.items()}

    def _batches(self, data: Factored) -> Iterator[tuple[Tensor, Tensor]]:
        drawn = random_factors(data.factor_sizes, self.points, self.seed)
        for factors in drawn.split(self.batch_size):
            yield data.render(factors), factors


def _alone() -> bool:
    return False


def _votes(metric: Metric) -> bool:
    return isinstance(metric, FactorVAEScore | BetaVAEScore)


def _update(metrics: Iterable[Metric], module: Any, x: Tensor, factors: Tensor) -> None:
    codes = _flat(module.embed(x)).cpu()
    for metric in metrics:
        if isinstance(metric, PosteriorMIG):
            metric.update(_posterior(module, x), factors.to(module.device))
        else:
            metric.update(codes, factors)


def _data(trainer: Trainer) -> Any:
    return trainer.datamodule  # type: ignore[attr-defined]


def _refuse_unfactored(data: object) -> None:
    if not isinstance(data, Factored):
        raise ValueError(
            f"DisentanglementEvaluation needs a data module with known factors, such as Sprites: "
            f"one with factor_names, factor_sizes and render(factors); got "
            f"{'none' if data is None else type(data).__name__}."
        )


def _flat(embedded: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Codes as [B, D]; several latent spaces side by side."""
    spaces = embedded if isinstance(embedded, tuple) else (embedded,)
    return torch.cat([space.flatten(1) for space in spaces], 1).float()


def _posterior(module: Any, x: Tensor) -> Distribution:
    with evaluating(module):
        x = x.to(module.device, module.dtype)
        context = module.objective.context(x) if hasattr(module, "objective") else {}
        posterior: Distribution = module.encode(x, **context)
        return posterior
