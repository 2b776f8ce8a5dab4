"""CollapseMonitor: whether the latents live, measured at every validation."""

import inspect
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from rich.console import Console
from rich.markup import escape
from typing_extensions import override

from lightning_vae import clock
from lightning_vae.callbacks.actions import Action
from lightning_vae.callbacks.measures import Measures, chosen_metrics, measured, table
from lightning_vae.callbacks.owner import Owner
from lightning_vae.callbacks.printing import as_written
from lightning_vae.callbacks.targets import find
from lightning_vae.callbacks.verdict import Verdict, verdict
from lightning_vae.evaluation import seeded
from lightning_vae.latents import VAEOutput
from lightning_vae.metrics import MarginalLikelihood, OutputMetric, ShuffledGap, passes
from lightning_vae.module import VAEModule
from lightning_vae.objectives.ranks import mean_over_ranks, ranks

__all__ = ["CollapseMonitor"]

_ALARMS = ("collapsed", "unregularised")


class CollapseMonitor(Callback):
    r"""Measure at every validation whether the latents live, log it, and say what to try next.

    Logged beside ``val/elbo`` (``test/`` in a test), as far as the distributions allow:
    ``active_units``, ``mutual_information``, ``total_correlation``, ``dimension_wise_kl``,
    ``shuffled_gap``, ``variance_at_prior``, ``variance_at_zero``; with ``samples`` also ``nll`` and
    ``bits_per_dimension``, of text ``perplexity``. ``measures`` keeps the last, the rate of every latent among them, and
    ``verdict`` what they mean: healthy, collapsed, partly dead, or unregularised, with the next
    edit to try. A warning says so once a verdict of collapsed or unregularised holds for
    ``patience`` validations; not while a schedule or controller is still to raise β, or the capacity.

    It takes the draws of the validation itself, changes neither the random state nor the mode of
    the module, and costs one more pass through the decoder and ``examples``² densities. Of several
    validation sets the first is measured. Several latent spaces count as one; a hierarchy (a module
    that overrides ``infer``) is judged by its rates and by the decoder.

    Args:
        examples: How many examples of each process enter the aggregate posterior, the first.
        samples: K, the draws of an importance-weighted likelihood; None leaves it out.
        patience: The validations in a row after which a verdict is an alarm.
        action: What to do at a collapse, by itself: ``LowerBeta()``, ``RaiseFloor()`` or
            ``RestartCycle()``; done again after as many validations, and once resumed.
        table: Whether to print the measures at every validation; ``show()`` does at any time.

    Raises:
        ValueError: if a count is out of its range; before the first batch, if the module's
            validation yields no :class:`VAEOutput`, there is none, or the action cannot be done;
            at validation, if one of several ranks has no batch.

    >>> CollapseMonitor(patience=3)
    CollapseMonitor(patience=3)
    """

    measures: Measures | None
    verdict: Verdict | None
    _set: dict[str, float]

    def __init__(
        self,
        examples: int = 10_000,
        samples: int | None = None,
        patience: int = 2,
        action: Action | None = None,
        table: bool = False,
    ) -> None:
        for name, count, least in (("examples", examples, 2), ("patience", patience, 1)):
            if count < least:
                raise ValueError(f"{name} must be at least {least}, got {count}.")
        if samples is not None and samples < 1:
            raise ValueError(f"samples must be at least 1, or None for none; got {samples}.")
        self.examples, self.samples, self.patience = examples, samples, patience
        self.action, self.table = action, table
        self._metrics: dict[str, OutputMetric] | None = None
        self._left_out: set[str] = set()
        self._latents = 0
        self._fits = True
        self._forget()

    def __repr__(self) -> str:
        return as_written(self)

    def show(self) -> None:
        """Print the last measures and the verdict.

        Raises:
            RuntimeError: if there are none yet.
        """
        if self.measures is None or self.verdict is None:
            raise RuntimeError("nothing has been measured yet; validate first.")
        console = Console(soft_wrap=True, highlight=False)
        console.print(table(self.measures))
        kind = f"{self.verdict.kind}{', as planned' if self.verdict.planned else ''}"
        console.print(f"[bold]{kind}[/bold]: {escape(self.verdict.advice)}")

    def report(self) -> dict[str, Any]:
        """The last measures and the verdict, for :class:`EvaluationReport`."""
        if self.measures is None or self.verdict is None:
            return {}
        return {**vars(self.measures), "verdict": self.verdict.kind, "advice": self.verdict.advice}

    # ---- hooks -------------------------------------------------------------------------------------

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._fits = stage == "fit"
        self._refuse_foreign(pl_module, "test_step" if stage == "test" else "validation_step")
        if self._fits and trainer.global_step == 0:
            self._forget()

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.enable_validation:
            raise ValueError(
                f"{self} measures at validation, and there is none; give validation data."
            )
        if self.action is not None:
            self.action.prepare(trainer, pl_module)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for path, value in self._set.items():
            find(pl_module, path).set(value)
            rank_zero_info(f"{self} goes on with {path}={value:.6g}, which it set before.")

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._metrics = None

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._metrics = None

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
        if dataloader_idx == 0 and not trainer.sanity_checking:
            # The mode that validation runs in has ended, and with it its precision.
            with trainer.precision_plugin.forward_context():
                self._update(pl_module, _checked(outputs), batch_idx)

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
        if not trainer.sanity_checking:
            self._refuse_idle_ranks(pl_module)
        if self._metrics is None:
            return
        self._leave_out_the_gap_of_none()
        self.measures = measured(self._metrics, self._latents)
        self.verdict = verdict(self.measures, *_rising(trainer))
        stage = "test" if trainer.testing else "val"
        scalars = {f"{stage}/{name}": value for name, value in self.measures.scalars.items()}
        pl_module.log_dict(scalars, sync_dist=True, batch_size=1)
        if self.table and trainer.is_global_zero:
            self.show()
        if trainer.state.fn == "fit":
            self._judge(trainer, pl_module, self.verdict)

    @override
    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_validation_epoch_end(trainer, pl_module)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"streak": list(self._streak), "actions": self._actions, "set": dict(self._set)}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._fits:
            kind, length = state_dict["streak"]
            self._streak = (kind, length)
            self._actions, self._set = state_dict["actions"], dict(state_dict["set"])

    # ---- private -----------------------------------------------------------------------------------

    def _forget(self) -> None:
        """What belongs to one run, and not to the next with the same callback."""
        self.measures, self.verdict = None, None
        self._streak = ("healthy", 0)  # a verdict, and how often it came in a row
        self._actions = 0
        self._set = {}  # what was set, by target

    def _refuse_foreign(self, module: LightningModule, step: str) -> None:
        said = inspect.signature(getattr(module, step)).return_annotation
        if said not in (VAEOutput, "VAEOutput"):
            raise ValueError(
                f"{self} measures what {type(module).__name__}.{step} returns, which must be a "
                f"VAEOutput, and be said to be: def {step}(self, batch, batch_idx) -> VAEOutput."
            )
        if self.samples is not None and not isinstance(module, VAEModule):
            raise ValueError(
                f"samples={self.samples} needs a VAEModule, to draw them; leave it out for "
                f"{type(module).__name__}."
            )

    def _refuse_idle_ranks(self, module: LightningModule) -> None:
        """All ranks together, or those that measured would wait for the others for ever."""
        idle = torch.tensor(float(self._metrics is None), device=module.device)
        share = mean_over_ranks(idle).item()
        if 0 < share < 1:
            raise ValueError(
                f"{round(share * ranks())} of {ranks()} ranks had no validation batch, and {self} "
                f"measures on all of them: give each at least one, or take fewer devices."
            )

    def _update(self, module: LightningModule, output: VAEOutput, batch_idx: int) -> None:
        if self._metrics is None:
            hierarchical = isinstance(module, VAEModule) and module._hierarchical
            self._latents = _size(output)
            self._metrics = chosen_metrics(output, self.examples, hierarchical)
            if hasattr(module, "decode"):
                self._metrics["gap"] = ShuffledGap()
            if self.samples is not None:
                self._metrics["likelihood"] = MarginalLikelihood(self.samples)
            for metric in self._metrics.values():
                metric.to(output.x.device)
        for name in list(self._metrics):
            self._take(name, module, output, batch_idx)

    def _take(self, name: str, module: LightningModule, output: VAEOutput, batch_idx: int) -> None:
        assert self._metrics is not None
        metric: Any = self._metrics[name]
        if name == "gap":
            if len(output.x) > 1:
                metric.update(output, module.decode)
        elif name == "likelihood":
            with seeded(batch_idx, output.x.device):
                metric.update(passes(module, output.x, metric.samples, **output.context))
        else:
            try:
                metric.update(output)
            except (TypeError, ValueError) as reason:
                self._leave_out(name, reason)

    def _leave_out_the_gap_of_none(self) -> None:
        gap = None if self._metrics is None else self._metrics.get("gap")
        if isinstance(gap, ShuffledGap) and not mean_over_ranks(gap.examples.float()):
            alone = "every batch held one example, which has no other to take z from"
            self._leave_out("gap", ValueError(f"{alone}; give batches of two or more."))

    def _leave_out(self, name: str, reason: Exception) -> None:
        """What these distributions cannot tell, said once."""
        assert self._metrics is not None
        metric = self._metrics.pop(name)
        if name not in self._left_out:
            self._left_out.add(name)
            rank_zero_warn(f"{self} leaves {type(metric).__name__} out: {reason}")

    def _judge(self, trainer: Trainer, module: LightningModule, said: Verdict) -> None:
        """Count the validations of an alarm; warn, and act."""
        kind = "healthy" if said.planned or said.kind not in _ALARMS else said.kind
        before, length = self._streak
        length = length + 1 if kind == before else 1
        self._streak = (kind, length)
        if kind not in _ALARMS or length < self.patience:
            return
        if length == self.patience and self._actions == 0:
            rank_zero_warn(f"the latents are {kind}: {said.advice}")
        if kind == "collapsed" and self.action is not None:
            self._act(trainer, module, self.action)

    def _act(self, trainer: Trainer, module: LightningModule, action: Action) -> None:
        values = action.act(trainer, module)
        self._set |= values
        self._actions += 1
        self._streak = ("healthy", 0)  # time to see what comes of it
        keyed = {f"schedule/{path.removeprefix('objective.')}": v for path, v in values.items()}
        clock.write(trainer, {**keyed, "collapse/actions": float(self._actions)})
        done = ", ".join(f"{path}={value:.6g}" for path, value in values.items())
        rank_zero_info(f"the latents are collapsed: {action} {done}".rstrip())


def _size(output: VAEOutput) -> int:
    """How many latents an example has, in all groups."""
    batch_dims = output.distortion.dim()
    return sum(latent.z.shape[batch_dims:].numel() for latent in output.latents)


def _checked(outputs: Any) -> VAEOutput:
    if not isinstance(outputs, VAEOutput):
        raise TypeError(
            f"the validation step returned a {type(outputs).__name__}, not a VAEOutput; return "
            f"what the forward pass yields."
        )
    return outputs


def _rising(trainer: Trainer) -> tuple[bool, bool]:
    """Whether the callbacks' plans still raise a weight of the rate, and whether a limit of it."""
    if trainer.state.fn != "fit":
        return False, False
    plans = [c for c in clock.callbacks(trainer) if isinstance(c, Owner) and c.enabled]
    weights = [plan for plan in plans if not plan.limits]
    return any(w.rises(trainer) for w in weights), any(p.loosens(trainer) for p in plans)
