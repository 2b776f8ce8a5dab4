"""The VAE as a LightningModule: an encoder, a prior, a decoder and an objective."""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.optim import Optimizer
from typing_extensions import override

from lightning_vae import checkpoints, clock, posteriors
from lightning_vae.divergences import kl
from lightning_vae.evaluation import evaluating, seeded
from lightning_vae.hyperparameters import built_by_cli, save_plain_hyperparameters
from lightning_vae.latents import Latent, RunningRate, VAEOutput
from lightning_vae.likelihoods import distortion, expectation
from lightning_vae.likelihoods.nll import finite_extremes
from lightning_vae.objectives import ELBO, Objective
from lightning_vae.optimizers import (
    LRSchedulerCallable,
    OptimizerCallable,
    adam,
    as_optimizer,
    callable_or_none,
    free_gradients,
    step_plateaus,
    step_schedulers,
    with_scheduler,
)
from lightning_vae.priors import Prior, as_prior, standard_normal, standard_shapes
from lightning_vae.terms import everywhere, keyed, terms

__all__ = ["VAEModule"]

Latents = Tensor | tuple[Tensor, ...]


class VAEModule(LightningModule):
    r"""A variational autoencoder: encoder, prior, decoder and objective, each a value.

    .. math:: \log p(x) \ge \mathbb E_{q(z|x)}[\log p(x|z)] - \mathrm{KL}(q(z|x)\,\|\,p(z))

    Pass the four, or subclass and write ``encode`` and ``decode``. The module does not know who
    moves its objective's coefficients; without a callback they stay, and at the defaults the loss
    is the negative ELBO in nats.

    Overriding one of Lightning's hooks, call ``super()``'s too. Logged: ``train/`` and ``val/`` with ``loss``, ``elbo``, ``distortion``, ``rate`` and the
    objective's parts. ``val/elbo`` is at β = 1 without free bits and capacity, from the same draws
    at every validation: the one to monitor.

    Args:
        encoder: x → q(z|x), a Distribution (or a tuple of them: several latent spaces).
        decoder: z → p(x|z), a Distribution in x's shape.
        prior: p(z); a sequence is one a latent space. By default the standard normal in the shape
            of the first posterior.
        objective: What to minimise; by default the negative ELBO.
        optimizer: Parameters → optimizer; by default Adam at 1e-3, fused where torch can.
        lr_scheduler: Optimizer → learning-rate scheduler, stepped once an epoch.

    Raises:
        TypeError: if a part is not what it should be; before the first batch, if there is no
            encoder or decoder and neither method is overridden.

    Source: Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014.

    >>> from lightning_vae.networks import MLPDecoder, MLPEncoder
    >>> vae = VAEModule(MLPEncoder((8,), latent=2), MLPDecoder((8,), latent=2))
    >>> output = vae(torch.rand(16, 8))
    >>> output.elbo.shape, output.latents[0].rate.shape
    (torch.Size([16]), torch.Size([16, 2]))
    >>> vae.sample(4).shape, vae.embed(torch.rand(3, 8)).shape
    (torch.Size([4, 8]), torch.Size([3, 2]))
    """

    def __init__(
        self,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        prior: Prior | Sequence[Prior] | None = None,
        objective: Objective | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__()
        save_plain_hyperparameters(self, inspect.currentframe(), ignore=_OWN_ARGUMENTS)
        if encoder is not None:
            self.encoder = encoder
        if decoder is not None:
            self.decoder = decoder
        self.prior = as_prior(prior, encoder)
        self.objective = ELBO() if objective is None else _checked(objective)
        self._optimizer = callable_or_none("optimizer", optimizer)
        self._lr_scheduler = callable_or_none("lr_scheduler", lr_scheduler)
        self._built_by_cli = built_by_cli()
        self.train_rate, self.val_rate, self.test_rate = (RunningRate() for _ in range(3))

    # ---- the model: override encode and decode, or infer for a hierarchy -------------------------

    def encode(self, x: Tensor, **context: Any) -> Distribution | tuple[Distribution, ...]:
        """q(z|x), with batch shape [B, ...]; a tuple is several latent spaces, if not of one."""
        posterior: Distribution = self.encoder(x, **context)
        return posterior

    def decode(self, z: Latents, **context: Any) -> Distribution:
        """p(x|z) in x's shape; z is a tuple where ``encode`` returns one."""
        likelihood: Distribution = self.decoder(z, **context)
        return likelihood

    def infer(self, x: Tensor, samples: int | None = None, **context: Any) -> tuple[Latent, ...]:
        """The posterior, prior, draw and rate of every group; a hierarchy overrides this."""
        encoded = posteriors.each(self.encode(x, **context))
        batch_dims = 1 if samples is None else 2
        draws = [posteriors.draw(q, samples, len(x)) for q in encoded]
        priors = self._priors([z.shape[batch_dims:] for z in draws], context)
        return tuple(
            Latent(q, p, z, kl(q, p, z, batch_dims))
            for q, p, z in zip(encoded, priors, draws, strict=True)
        )

    def draw(self, n: int, **context: Any) -> Latents:
        """n draws z ~ p(z): a tuple for several spaces; a hierarchy overrides this with infer.

        Raises:
            RuntimeError: if the prior is not known yet, or ``infer`` alone is overridden.
        """
        self._refuse_undrawable()
        priors = _as_tuple(self.prior(**context)) if self.prior is not None else ()
        return _as_given([_draw_prior(p, n) for p in priors])

    def forward(self, x: Tensor, samples: int | None = None, **context: Any) -> VAEOutput:
        """Encode, draw, decode: every term of the ELBO, per example and in nats.

        Args:
            x: The data, [B, ...].
            samples: K draws of z, which give z, rate and distortion a leading K; None is one draw
                without it.
            context: What ``encode`` and ``decode`` need besides.
        """
        if samples is not None and samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}; None is one draw.")
        several = {} if samples is None else {"samples": samples}  # a hierarchy may take none
        latents = self.infer(x, **several, **context)
        draws = [latent.z for latent in latents]
        if samples is None:
            likelihood = self.decode(_as_given(draws), **context)
            distortions = distortion(x, likelihood, self._watching)
        else:  # as one batch of K·B
            draws, targets = [z.flatten(0, 1) for z in draws], _repeat(x, samples, len(x))
            repeated = {name: _repeat(value, samples, len(x)) for name, value in context.items()}
            likelihood = self.decode(_as_given(draws), **repeated)
            distortions = distortion(targets, likelihood, self._watching).view(samples, len(x))
        return VAEOutput(x, likelihood, latents, distortions, context)

    # ---- what a batch is ---------------------------------------------------------------------------

    def inputs(self, batch: Any) -> Tensor:
        """The x of a batch: itself, a tuple's first element, or a dict's ``"x"``."""
        if isinstance(batch, Mapping):
            if "x" not in batch:
                raise ValueError(
                    f'the batch has keys {sorted(batch)} but no "x"; override inputs(batch).'
                )
            batch = batch["x"]
        elif isinstance(batch, list | tuple):
            batch = batch[0]
        if not isinstance(batch, Tensor):
            raise ValueError(
                f"x must be a Tensor, got {type(batch).__name__}; override inputs(batch)."
            )
        return batch

    def context(self, batch: Any) -> dict[str, Any]:
        """What ``encode`` and ``decode`` get as keywords besides x: labels, covariates. Empty."""
        return {}

    def unpack(self, batch: Any) -> tuple[Tensor, dict[str, Any]]:
        """The x of a batch, and all that encode and decode are given besides."""
        x = self._acceptable(self.inputs(batch))
        return x, self._here({**self.context(batch), **self.objective.context(x)})

    # ---- what a trained model is for ---------------------------------------------------------------

    def sample(self, n: int, **context: Any) -> Tensor:
        """The means of p(x|z) at n draws z ~ p(z), on the module's device: [n, ...].

        Of counts these are expected counts, of tokens the likeliest ones: see ``expectation``. For
        draws of x write ``vae.decode(vae.draw(n)).sample()``.
        """
        with evaluating(self):
            context = self._here(context)
            return expectation(self.decode(self.draw(n, **context), **context))

    def reconstruct(self, x: Tensor, **context: Any) -> Tensor:
        """The mean of p(x|z) at z the posterior mean: x's shape, the same at every call."""
        with evaluating(self):
            x, context = self._asked(x, context)
            return expectation(self.decode(self._means(x, context), **context))

    def embed(self, x: Tensor, sample: bool = False, **context: Any) -> Latents:
        """The posterior mean of z given x, or a draw: [B, *factors], a tuple for several spaces.

        Where ``infer`` is overridden, the means given one and the same draw at every call.
        """
        with evaluating(self):
            x, context = self._asked(x, context)
            if sample:
                return _as_given([latent.z for latent in self.infer(x, **context)])
            return self._means(x, context)

    def _means(self, x: Tensor, context: dict[str, Any]) -> Latents:
        if not self._hierarchical:
            return _as_given(
                [posteriors.mean(q) for q in posteriors.each(self.encode(x, **context))]
            )
        with self._seeded(0, 0):
            return _mean_latents(self.infer(x, **context))

    def _asked(self, x: Tensor, context: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """What a user calls with, where the module is; its own context wins over the objective's."""
        if not isinstance(x, Tensor):
            raise TypeError(
                f"x must be a Tensor, got {type(x).__name__}; write torch.as_tensor(x)."
            )
        x = self._here(self._acceptable(x))
        return x, {**self.objective.context(x), **self._here(context)}

    def _acceptable(self, x: Tensor) -> Tensor:
        """What networks can take: float64, as numpy has it, at the module's own precision."""
        if x.dtype in (torch.uint8, torch.bool):
            remedy = "x.float() / 255" if x.dtype == torch.uint8 else "x.float()"
            raise ValueError(f"x has dtype {x.dtype}; write {remedy} where the data is made.")
        return x.to(self._precision) if x.dtype == torch.float64 else x

    def _here(self, value: Any) -> Any:
        """Tensors on the module's device, floats at its precision."""
        if isinstance(value, dict) and not value:
            return value

        def move(tensor: Tensor) -> Tensor:
            dtype = self._precision if tensor.is_floating_point() else tensor.dtype
            return tensor.to(self.device, dtype)

        return apply_to_collection(value, Tensor, move)

    @override
    def setup(self, stage: str) -> None:
        for network, method in (("encoder", "encode"), ("decoder", "decode")):
            overridden = getattr(type(self), method) is not getattr(VAEModule, method)
            hierarchy = method == "encode" and self._hierarchical
            if not (overridden or hierarchy or hasattr(self, network)):
                raise TypeError(
                    f"{type(self).__name__} has no {network}: pass encoder and decoder, or write "
                    f"encode and decode in a subclass."
                )

    # ---- steps -------------------------------------------------------------------------------------

    @override
    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = self._train_terms(self._pass(batch), batch_idx)
        return parts

    # Lightning works the signature out at every step; a stored one it reads.
    training_step.__signature__ = inspect.signature(training_step)  # type: ignore[attr-defined]

    # More than Lightning's types allow a step to return, and what it hands to callbacks as it is.
    @override
    def validation_step(  # type: ignore[override]
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> VAEOutput:
        output: VAEOutput = self._evaluate("val", batch, batch_idx, dataloader_idx)
        return output

    @override
    def test_step(  # type: ignore[override]
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> VAEOutput:
        output: VAEOutput = self._evaluate("test", batch, batch_idx, dataloader_idx)
        return output

    @override
    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """The embedding (posterior mean) and the ELBO of every example, the same at every call."""
        with evaluating(self), self._seeded(batch_idx, dataloader_idx):
            output = self._pass(batch, samples=None)
            return {"embedding": _mean_latents(output.latents), "elbo": output.elbo}

    def _pass(self, batch: Any, **kwargs: Any) -> VAEOutput:
        x, context = self.unpack(batch)
        try:
            output: VAEOutput = self(x, **{"samples": self.objective.samples, **kwargs}, **context)
        except (ValueError, RuntimeError):
            finite_extremes(x)  # a posterior that validates would blame its own parameters
            raise
        return output

    # The objective runs eagerly: inductor reuses a stale float in clamp without a word.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _train_terms(self, output: VAEOutput, batch_idx: int) -> dict[str, Tensor]:
        parts = terms(self.objective, output, check=self._watching)
        self.train_rate.update(output)
        trainer = self._trainer
        if trainer is not None and self.objective.optimizer is not None:
            self._optimise(parts["loss"], parts["own_loss"])
            parts["own_loss"] = parts["own_loss"].detach()
        if trainer is not None and clock.writes_step(trainer, batch_idx):
            scalars = everywhere(keyed("train", parts))
            clock.write(trainer, scalars)
            clock.show(trainer, {"train/elbo": scalars["train/elbo"]})
        return parts

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _evaluate(self, stage: str, batch: Any, batch_idx: int, dataloader_idx: int) -> VAEOutput:
        with self._seeded(batch_idx, dataloader_idx):
            output = self._pass(batch)
        getattr(self, f"{stage}_rate").update(output)
        scalars = keyed(stage, terms(self.objective, output, check=self._watching))
        # Over ranks, Lightning averages the counts and cuts them to whole ones: times the ranks,
        # their average is whole, and the mean over uneven shares exact.
        ranks = 1 if self._trainer is None else self._trainer.world_size
        headline, examples = f"{stage}/elbo", len(output.x) * ranks
        self.log(
            headline, scalars.pop(headline), batch_size=examples, sync_dist=True, prog_bar=True
        )
        self.log_dict(scalars, batch_size=examples, sync_dist=True)
        return output  # what callbacks measure, without a pass of their own

    @override
    def on_train_start(self) -> None:
        told, examples = self.objective.training_size, clock.training_examples(self.trainer)
        if None not in (told, examples) and told != examples:
            rank_zero_warn(
                f"The objective has size={told} but the training set {examples} examples, so that "
                f"its loss is not the one it says; write size={examples}."
            )
        self._start_priors()

    @override
    def on_train_epoch_start(self) -> None:
        self.train_rate.reset()

    # Lightning does so after the forward pass, which then has no room where the gradients were.
    @override
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.automatic_optimization and batch_idx % self.trainer.accumulate_grad_batches == 0:
            free_gradients(self.trainer)

    @override
    def on_validation_epoch_start(self) -> None:
        self.val_rate.reset()

    @override
    def on_test_epoch_start(self) -> None:
        self.test_rate.reset()

    # lightning <= 2.6.6 inspects its own method in log, which torch >= 2.12 cannot trace (#21836).
    @override
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def log(self, *args: Any, **kwargs: Any) -> None:
        super().log(*args, **kwargs)

    # ---- optimisation and persistence --------------------------------------------------------------

    @property
    @override
    def automatic_optimization(self) -> bool:
        """Whether Lightning optimises: not where the objective trains networks of its own."""
        # Asked seven times a step; nn.Module's own way to an attribute costs a microsecond.
        objective: Any = self._modules["objective"]
        return self._automatic_optimization and objective.optimizer is None

    @automatic_optimization.setter
    def automatic_optimization(self, automatic: bool) -> None:
        self._automatic_optimization = automatic

    @override
    def configure_optimizers(self) -> Any:
        own = self._own_optimizer()
        theirs = set(self.objective.parameters()) if own is not None else set()
        parameters = [p for p in self.parameters() if p.requires_grad and p not in theirs]
        make = self._optimizer or partial(adam, trainer=self.trainer)
        optimizer = as_optimizer("optimizer", make(parameters))
        scheduler = None if self._lr_scheduler is None else self._lr_scheduler(optimizer)
        configured = with_scheduler(optimizer, scheduler, by_hand=own is not None)
        return configured if own is None else (configured, {"optimizer": own})

    def _own_optimizer(self) -> Optimizer | None:
        make = self.objective.optimizer
        if make is None:
            return None
        return as_optimizer("objective.optimizer", make(self.objective.parameters()))

    def _optimise(self, loss: Tensor, own_loss: Tensor) -> None:
        """One step of the VAE, then one of the objective's own networks."""
        both: Any = self.optimizers()
        # In this order: the VAE's loss leaves gradients in the objective's networks too.
        for optimizer, minimised in zip(both, (loss, own_loss), strict=True):
            optimizer.zero_grad()
            self.manual_backward(minimised)
            optimizer.step()
        if self.trainer.is_last_batch:
            step_schedulers(self.trainer)

    @override
    def on_train_epoch_end(self) -> None:
        if self.objective.optimizer is not None:
            step_plateaus(self.trainer)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["lightning_vae"] = {
            "version": 1,
            "coefficients": checkpoints.coefficients(self),
            "given": checkpoints.given(self),
            "latent_shapes": standard_shapes(self.prior),
        }

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get("lightning_vae", {})
        if self.prior is None and saved.get("latent_shapes"):
            self.prior = standard_normal(saved["latent_shapes"]).to(self.device)
        repeats = self._built_by_cli or self._trainer is None
        if said := checkpoints.restore(self, saved, repeats):
            rank_zero_warn(
                f"The module goes on with {', '.join(said)}. An argument given to the objective "
                f"wins over the checkpoint; a scheduling callback wins over both."
            )

    # Lightning sets this name some 44 times a step; nn.Module's own way costs 3 µs each.
    @override
    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    # ---- private -----------------------------------------------------------------------------------

    @property
    def _watching(self) -> bool:
        """Whether to look at values now: always on a CPU, elsewhere when the loggers write."""
        if self.device.type == "cpu" or self._trainer is None or not self.training:
            return True
        return clock.writes_now(self._trainer)

    @property
    def _precision(self) -> torch.dtype:
        return cast(torch.dtype, self.dtype)  # declared to be a str as well

    @property
    def _hierarchical(self) -> bool:
        return type(self).infer is not VAEModule.infer

    def _priors(
        self, shapes: Sequence[torch.Size], context: dict[str, Any]
    ) -> tuple[Distribution, ...]:
        if self.prior is None:
            self.prior = standard_normal(shapes).to(self.device, self._precision)
        priors = _as_tuple(self.prior(**context))
        if len(priors) != len(shapes):
            raise ValueError(
                f"prior has {len(priors)} latent spaces but encode returned {len(shapes)}; give a "
                f"prior for each, as a list in encode's order."
            )
        return priors

    def _start_priors(self) -> None:
        """Hand training examples to the priors that start from some."""
        parts = [] if self.prior is None else self.prior.modules()
        for part in parts:
            if isinstance(part, Prior) and part.wanted:
                examples = self._training_examples(part.wanted)
                # Every rank has a share of its own.
                part.start(self._here(self.trainer.strategy.broadcast(examples)))

    def _training_examples(self, count: int) -> Tensor:
        """The first examples that the training loader gives, so many or all."""
        found: list[Tensor] = []
        for batch in self.trainer.train_dataloader or ():
            found.append(self._acceptable(self.inputs(batch)))
            if sum(map(len, found)) >= count:
                break
        return torch.cat(found)[:count]

    def _refuse_undrawable(self) -> None:
        if self._hierarchical:
            raise RuntimeError(
                f"{type(self).__name__} overrides infer, so its groups may depend on each other; "
                f"write draw(n), which draws every group's z from the prior, as well."
            )
        if self.prior is None:
            raise RuntimeError(
                "the latent shape is not known before the first batch; write "
                "prior=StandardNormal(20), with your number of latents."
            )

    def _seeded(self, batch_idx: int, dataloader_idx: int) -> AbstractContextManager[None]:
        """The same draws at every validation."""
        seed = (self.global_rank * 8191 + dataloader_idx) * 1_000_003 + batch_idx
        return seeded(seed, self.device)


_OWN_ARGUMENTS = list(inspect.signature(VAEModule).parameters)


def _checked(objective: Objective) -> Objective:
    if isinstance(objective, Objective):
        return objective
    raise TypeError(f"objective must be an Objective, got {objective!r}; write ELBO(beta=4.0).")


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _as_given(draws: Sequence[Tensor]) -> Latents:
    return draws[0] if len(draws) == 1 else tuple(draws)


def _mean_latents(latents: Sequence[Latent]) -> Latents:
    return _as_given([posteriors.mean(latent.posterior) for latent in latents])


def _draw_prior(prior: Distribution, n: int) -> Tensor:
    """n draws; a prior conditioned on n examples has them as its batch."""
    given = prior.batch_shape[0] if prior.batch_shape and prior.event_shape else None
    if given is None:
        return prior.sample(torch.Size([n]))
    if given not in (1, n):
        raise ValueError(f"the prior is conditioned on {given} examples, but n={n}; give it {n}.")
    drawn: Tensor = prior.expand(torch.Size([n])).sample()
    return drawn


def _repeat(value: Any, samples: int, batch: int) -> Any:
    """[B, ...] to [K·B, ...] in the order of K draws; what is not one an example stays."""
    if not isinstance(value, Tensor) or value.dim() == 0 or len(value) != batch:
        return value
    return value.repeat(samples, *[1] * (value.dim() - 1))
