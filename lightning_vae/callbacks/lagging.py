r"""LaggingInference: let the encoder catch up with the decoder before every step of the decoder.

Early in training the approximate posterior lags behind the true one, and a decoder that can do
without z learns to. While the phase lasts, each training step is many of the encoder alone, until
its loss stalls, and then one of everything else.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.utils.data import DataLoader
from typing_extensions import override

from lightning_vae import clock
from lightning_vae.arguments import whole
from lightning_vae.callbacks.owner import Owner
from lightning_vae.callbacks.printing import as_written
from lightning_vae.distributions.sentences import PADDING
from lightning_vae.evaluation import seeded
from lightning_vae.metrics.mutual_information import mutual_information
from lightning_vae.module import VAEModule
from lightning_vae.objectives.ranks import mean_over_ranks
from lightning_vae.optimizers import free_gradients
from lightning_vae.terms import terms

__all__ = ["LaggingInference"]


def size(x: Tensor) -> Tensor:
    """What a loss is divided by to compare batches: the words of sentences, or else the examples."""
    is_text = x.dim() == 2 and not x.is_floating_point()
    return (x != PADDING).sum() if is_text else x.new_tensor(len(x), dtype=torch.long)


class LaggingInference(Callback):
    r"""Before each step of the decoder, train the encoder alone until its loss stalls.

    A training step is then up to ``most`` steps of the encoder, on batches of their own, ended as
    soon as ``window`` of them have not lowered the mean loss of the ``window`` before; and one step
    of all but the encoder on the trainer's batch. The phase ends for good after ``patience``
    validations at which the mutual information of x and z was no higher than its best; from then
    on training is as without the callback. It logs ``val/mutual_information``,
    ``schedule/aggressive`` and ``schedule/encoder_steps``.

    All steps are the module's one optimizer's: what has no gradient it leaves alone, and a norm is
    clipped of what is stepped (in the paper's code of both). The state is
    in the checkpoint, with the place in the encoder's own batches where the loader can tell it. A
    resume is exact but for one case, Lightning's own: after a checkpoint of an epoch's very last
    step, made before the validation there, that validation is skipped, and the phase judges later.

    Args:
        modules: The encoder: a dotted path from the module, or several.
        most: How many steps of the encoder at most.
        window: How many losses are averaged before they are compared.
        patience: Validations without a rise that end the phase: 1 for text in the paper's code, 5
            for images.

    Raises:
        ValueError: if a count is below 1; before the first batch, if there is no such module or
            nothing to validate on, several optimizers, float16 with a scaled loss, or a loader
            that can be iterated only once at a time.

    Source: He, Spokoyny, Neubig & Berg-Kirkpatrick 2019, "Lagging Inference Networks and Posterior
    Collapse in Variational Autoencoders", algorithm 1.

    >>> LaggingInference(patience=5)
    LaggingInference(patience=5)
    """

    aggressive: bool
    best: float  # the highest mutual information so far
    waited: int  # validations since
    _place: dict[str, Any] | None  # where in the encoder's own batches a checkpoint was saved
    _loader: Any
    _parameters: list[nn.Parameter]

    def __init__(
        self,
        modules: str | Sequence[str] = "encoder",
        most: int = 100,
        window: int = 15,
        patience: int = 1,
    ) -> None:
        for name, count in (("most", most), ("window", window), ("patience", patience)):
            whole(name, count)
        self.modules, self.most, self.window, self.patience = modules, most, window, patience
        self._forget()

    def __repr__(self) -> str:
        return as_written(self)

    # ---- the phase -----------------------------------------------------------------------------------

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.global_step == 0:
            self._forget()

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._refuse(trainer, pl_module)
        self._parameters = [
            p for m in self._encoders(pl_module) for p in m.parameters() if p.requires_grad
        ]
        self._loader = own_loader(trainer.train_dataloader)
        if self._place is not None and hasattr(self._loader, "load_state_dict"):
            self._loader.load_state_dict(self._place)
        self._batches = _endless(self._loader)

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.aggressive and batch_idx % trainer.accumulate_grad_batches == 0:
            assert isinstance(pl_module, VAEModule)
            # Whoever moves a coefficient and is listed after this one has not yet done so.
            for owner in clock.callbacks(trainer):
                if isinstance(owner, Owner):
                    owner.on_train_batch_start(trainer, pl_module, batch, batch_idx)
            steps = self._catch_up(trainer, pl_module)
            if clock.writes_now(trainer):
                clock.write(trainer, {"schedule/encoder_steps": float(steps)})

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if self.aggressive:
            for parameter in self._parameters:
                parameter.grad = None

    @override
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seen = torch.zeros(2, device=pl_module.device)  # the sum over examples, their number

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
        if self.aggressive and isinstance(pl_module, VAEModule):
            x = pl_module._acceptable(pl_module.inputs(batch))
            own = pl_module.objective.context(x)
            context = pl_module._here({**pl_module.context(batch), **own})
            with seeded(batch_idx, pl_module.device):
                latents = pl_module.infer(x, **context)
            posteriors, draws = [each.posterior for each in latents], [each.z for each in latents]
            # As the paper's code has it: of every batch, at the draws.
            told = mutual_information(posteriors, draws, entropy="drawn").mutual_information
            examples = float(len(x))
            self._seen += torch.stack([told * examples, told.new_tensor(examples)])

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.aggressive and trainer.state.fn == "fit" and not trainer.sanity_checking:
            total, examples = mean_over_ranks(self._seen).tolist()
            self._judge(total / examples)
            clock.write(
                trainer,
                {
                    "val/mutual_information": total / examples,
                    "schedule/aggressive": float(self.aggressive),
                },
            )

    @override
    def state_dict(self) -> dict[str, Any]:
        loader = self._loader
        place = loader.state_dict() if hasattr(loader, "state_dict") else self._place
        return {
            "aggressive": self.aggressive,
            "best": self.best,
            "waited": self.waited,
            "place": place,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.aggressive, self.best = state_dict["aggressive"], state_dict["best"]
        self.waited, self._place = state_dict["waited"], state_dict["place"]

    # ---- private -----------------------------------------------------------------------------------

    def _forget(self) -> None:
        self.aggressive, self.best, self.waited = True, -math.inf, 0
        self._place = None
        self._loader = None
        self._parameters = []

    def _judge(self, information: float) -> None:
        self.waited = 0 if information > self.best else self.waited + 1
        self.best = max(information, self.best)
        if self.waited >= self.patience:
            self.aggressive = False
            rank_zero_info(
                f"{self} ends: the mutual information is {information:.3f} nats, its best "
                f"{self.best:.3f}."
            )

    def _catch_up(self, trainer: Trainer, vae: VAEModule) -> int:
        """Step the encoder until its loss stalls; how often it was stepped."""
        before, done = math.inf, 0
        while done < self.most:
            count = min(self.window, self.most - done)
            loss = self._window(trainer, vae, count)
            done += count
            if loss >= before:
                break
            before = loss
        return done

    def _window(self, trainer: Trainer, vae: VAEModule, count: int) -> float:
        """So many steps; their mean loss, a word or an example, over all ranks."""
        sums = torch.zeros(2, device=vae.device)
        for batch in islice(self._batches, count):
            batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
            loss, x = self._step(trainer, vae, batch), vae.inputs(batch)
            sums += torch.stack([loss * len(x), size(x).to(loss.dtype)])
        total, sizes = mean_over_ranks(sums).tolist()
        return float(total / sizes)

    def _step(self, trainer: Trainer, vae: VAEModule, batch: Any) -> Tensor:
        free_gradients(trainer)
        with trainer.precision_plugin.train_step_context():
            loss = terms(vae.objective, vae._pass(batch), check=vae._watching)["loss"]
        # Not backward: DDP's own hooks would wait for the decoder's gradients.
        gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else mean_over_ranks(gradient)
        (optimizer,) = trainer.optimizers
        vae.configure_gradient_clipping(
            optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm
        )
        optimizer.step()
        free_gradients(trainer)
        return loss.detach()

    def _encoders(self, module: nn.Module) -> list[nn.Module]:
        paths = (self.modules,) if isinstance(self.modules, str) else self.modules
        return [module.get_submodule(path) for path in paths]

    def _refuse(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, VAEModule):
            raise ValueError(f"{self} needs a VAEModule, got {type(pl_module).__name__}.")
        try:
            self._encoders(pl_module)
        except AttributeError as reason:
            names = [name for name, _ in pl_module.named_children()]
            raise ValueError(f"modules={self.modules!r}: {reason}; there are {names}.") from reason
        if not pl_module.automatic_optimization or len(trainer.optimizers) != 1:
            raise ValueError(f"{self} needs one optimizer, stepped by Lightning.")
        if trainer.precision == "16-mixed":
            raise ValueError(f"{self} scales no losses; write Trainer(precision='bf16-mixed').")
        if not sum(trainer.num_val_batches):
            raise ValueError(f"{self} watches the mutual information in validation; give val data.")


def own_loader(loader: Any) -> Any:
    """A loader of the same data, whose position is its own, and whose order where that is seeded.

    Raises:
        ValueError: if it can be iterated only once at a time.
    """
    if not hasattr(loader, "__iter__") or isinstance(loader, list | tuple | dict):
        raise ValueError(f"one train_dataloader is needed, got {type(loader).__name__}.")
    if isinstance(loader, DataLoader) and loader.persistent_workers:
        raise ValueError(
            "train_dataloader has persistent_workers, which serve one iteration at a time; write "
            "persistent_workers=False."
        )
    own = copy.copy(loader)
    if hasattr(own, "seed") and hasattr(own, "set_epoch"):
        own.seed += 1  # else the encoder would be trained on the very batches to come
        own.set_epoch(0)
    return own


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader
