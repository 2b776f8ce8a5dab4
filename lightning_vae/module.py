"""The VAE as a LightningModule: an encoder, a prior, a decoder and an objective."""

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.distributions import Distribution
from typing_extensions import override

from lightning_vae import clock
from lightning_vae.divergences import kl
from lightning_vae.hyperparameters import save_plain_hyperparameters
from lightning_vae.latents import Latent, RunningRate, VAEOutput, distortion
from lightning_vae.objectives import ELBO, Objective, Value
from lightning_vae.optimizers import LRSchedulerCallable, OptimizerCallable, adam, with_scheduler
from lightning_vae.priors import Prior, Product, StandardNormal

__all__ = ["VAEModule"]

Latents = Tensor | tuple[Tensor, ...]


class VAEModule(LightningModule):
    r"""A variational autoencoder: encoder, prior, decoder and objective, each a value.

    .. math:: \log p(x) \ge \mathbb E_{q(z|x)}[\log p(x|z)] - \mathrm{KL}(q(z|x)\,\|\,p(z))

    Pass the four, or subclass and write ``encode`` and ``decode``. The module does not know who
    moves its objective's coefficients; without a callback they stay, and at the defaults the loss
    is the negative ELBO in nats.

    Logged: ``train/`` and ``val/`` with ``loss``, ``elbo``, ``distortion``, ``rate`` and the
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
        self.prior = _as_prior(prior)
        self._prior_is_default = prior is None
        self.objective = ELBO() if objective is None else objective
        self._optimizer, self._lr_scheduler = optimizer, lr_scheduler
        self.train_rate, self.val_rate = RunningRate(), RunningRate()

    # ---- the model: override encode and decode, or infer for a hierarchy -------------------------

    def encode(self, x: Tensor, **context: Any) -> Distribution | tuple[Distribution, ...]:
        """q(z|x), with batch shape [B, ...]; a tuple is several latent spaces."""
        posterior: Distribution = self.encoder(x, **context)
        return posterior

    def decode(self, z: Latents, **context: Any) -> Distribution:
        """p(x|z) in x's shape; z is a tuple where ``encode`` returns one."""
        likelihood: Distribution = self.decoder(z, **context)
        return likelihood

    def infer(self, x: Tensor, samples: int | None = None, **context: Any) -> tuple[Latent, ...]:
        """The posterior, prior, draw and rate of every group; a hierarchy overrides this."""
        posteriors = _as_tuple(self.encode(x, **context))
        draws = [_draw(q, samples) for q in posteriors]
        priors = self._priors(draws, skip=1 if samples is None else 2)
        return tuple(
            Latent(q, p, z, kl(q, p, z)) for q, p, z in zip(posteriors, priors, draws, strict=True)
        )

    def forward(self, x: Tensor, samples: int | None = None, **context: Any) -> VAEOutput:
        """Encode, draw, decode: every term of the ELBO, per example and in nats.

        Args:
            x: The data, [B, ...].
            samples: K draws of z, which give z, rate and distortion a leading K; None is one draw
                without it.
            context: What ``encode`` and ``decode`` need besides.
        """
        latents = self.infer(x, samples=samples, **context)
        draws = [latent.z for latent in latents]
        if samples is None:
            likelihood = self.decode(_as_given(draws), **context)
            return VAEOutput(x, likelihood, latents, distortion(x, likelihood, self._watching))
        repeated = {name: _repeat(value, samples, len(x)) for name, value in context.items()}
        likelihood = self.decode(_as_given([z.flatten(0, 1) for z in draws]), **repeated)
        terms = distortion(_repeat(x, samples, len(x)), likelihood, self._watching)
        return VAEOutput(x, likelihood, latents, terms.view(samples, len(x)))

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

    # ---- what a trained model is for ---------------------------------------------------------------

    def sample(self, n: int, **context: Any) -> Tensor:
        """The means of p(x|z) at n draws z ~ p(z), on the module's device: [n, ...]."""
        if self.prior is None:
            raise RuntimeError(
                "the latent shape is not known before the first batch; write "
                "prior=StandardNormal(20), with your number of latents."
            )
        with self._evaluating():
            draws = [p.sample(torch.Size([n])) for p in _as_tuple(self.prior())]
            return self.decode(_as_given(draws), **context).mean

    def reconstruct(self, x: Tensor, **context: Any) -> Tensor:
        """The mean of p(x|z) at z the posterior mean: x's shape, the same at every call."""
        with self._evaluating():
            return self.decode(self._embed(x.to(self.device), **context), **context).mean

    def embed(self, x: Tensor, sample: bool = False, **context: Any) -> Latents:
        """The posterior mean of z given x, or a draw: [B, *factors], a tuple for several spaces."""
        with self._evaluating():
            return self._embed(x.to(self.device), sample, **context)

    def _embed(self, x: Tensor, sample: bool = False, **context: Any) -> Latents:
        posteriors = _as_tuple(self.encode(x, **context))
        return _as_given([_draw(q, None) if sample else _mean(q) for q in posteriors])

    @override
    def setup(self, stage: str) -> None:
        for network, method in (("encoder", "encode"), ("decoder", "decode")):
            overridden = getattr(type(self), method) is not getattr(VAEModule, method)
            hierarchy = method == "encode" and type(self).infer is not VAEModule.infer
            if not (overridden or hierarchy or hasattr(self, network)):
                raise TypeError(
                    f"{type(self).__name__} has no {network}: pass encoder and decoder, or write "
                    f"encode and decode in a subclass."
                )

    # ---- steps -------------------------------------------------------------------------------------

    @override
    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        output = self(self.inputs(batch), samples=self.objective.samples, **self.context(batch))
        terms: dict[str, Tensor] = self._train_terms(output, batch_idx)
        return terms

    # Lightning works the signature out at every step; a stored one it reads.
    training_step.__signature__ = inspect.signature(training_step)  # type: ignore[attr-defined]

    @override
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("val", batch, batch_idx, dataloader_idx)

    @override
    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("test", batch, batch_idx, dataloader_idx)

    @override
    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """The embedding (posterior mean) and the ELBO of every example, the same at every call."""
        x, context = self.inputs(batch), self.context(batch)
        with self._evaluating(), self._seeded(batch_idx, dataloader_idx):
            elbo = self(x, **context).elbo
            return {"embedding": self._embed(x, **context), "elbo": elbo}

    def _terms(self, output: VAEOutput) -> dict[str, Tensor]:
        """The loss with its graph, and every other number to log, detached."""
        parts: dict[str, Tensor] = self.objective(output)
        if self._watching and not math.isfinite(parts["loss"].item()):
            raise ValueError(_not_finite(output, parts))
        for name in ("distortion", "rate"):
            if name not in parts:
                parts[name] = getattr(output, name).detach().mean()
        return {**parts, "elbo": -parts["distortion"] - parts["rate"]}

    # The objective runs eagerly: inductor reuses a stale float in clamp without a word.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _train_terms(self, output: VAEOutput, batch_idx: int) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = self._terms(output)
        self.train_rate.update(output)
        trainer = self._trainer
        if trainer is not None and clock.writes_step(trainer, batch_idx):
            scalars = {f"train/{key}": value.item() for key, value in terms.items()}
            clock.write(trainer, scalars)
            clock.show(trainer, {"train/elbo": scalars["train/elbo"]})
        return terms

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _evaluate(self, stage: str, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        x, context = self.inputs(batch), self.context(batch)
        with self._seeded(batch_idx, dataloader_idx):
            output = self(x, samples=self.objective.samples, **context)
        self.val_rate.update(output)
        terms = {f"{stage}/{key}": value.detach() for key, value in self._terms(output).items()}
        headline = f"{stage}/elbo"
        self.log(headline, terms.pop(headline), batch_size=len(x), sync_dist=True, prog_bar=True)
        self.log_dict(terms, batch_size=len(x), sync_dist=True)

    @override
    def on_train_epoch_start(self) -> None:
        self.train_rate.reset()

    @override
    def on_validation_epoch_start(self) -> None:
        self.val_rate.reset()

    @override
    def on_test_epoch_start(self) -> None:
        self.val_rate.reset()

    # lightning <= 2.6.6 inspects its own method in log, which torch >= 2.12 cannot trace (#21836).
    @override
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def log(self, *args: Any, **kwargs: Any) -> None:
        super().log(*args, **kwargs)

    # ---- optimisation and persistence --------------------------------------------------------------

    @override
    def configure_optimizers(self) -> Any:
        parameters = [p for p in self.parameters() if p.requires_grad]
        optimizer = (self._optimizer or partial(adam, trainer=self.trainer))(parameters)
        if self._lr_scheduler is None:
            return optimizer
        return with_scheduler(optimizer, self._lr_scheduler(optimizer))

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        shapes = None
        if self._prior_is_default and self.prior is not None:
            shapes = [list(p.event_shape) for p in _as_tuple(self.prior())]
        coefficients = self.objective.coefficients
        checkpoint["lightning_vae"] = {"coefficients": coefficients, "latent_shapes": shapes}

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get("lightning_vae", {})
        if self.prior is None and saved.get("latent_shapes"):
            self.prior = _standard_normal(saved["latent_shapes"]).to(self.device)
        self._restore_coefficients(saved.get("coefficients", {}))

    def _restore_coefficients(self, saved: Mapping[str, Value]) -> None:
        before = self.objective.coefficients
        changed = {n: v for n, v in saved.items() if n in before and before[n] != v}
        taken = self.objective.restore(saved)
        if changed:
            said = [
                f"{n}={v} from the checkpoint (the module had {before[n]})"
                if n in taken
                else f"{n}={before[n]} as given (the checkpoint had {v})"
                for n, v in changed.items()
            ]
            rank_zero_warn(
                f"The objective goes on with {', '.join(said)}. An argument given to the objective "
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

    def _priors(self, draws: Sequence[Tensor], skip: int) -> tuple[Distribution, ...]:
        if self.prior is None:
            self.prior = _standard_normal([z.shape[skip:] for z in draws]).to(draws[0])
        priors = _as_tuple(self.prior())
        if len(priors) != len(draws):
            raise ValueError(
                f"prior has {len(priors)} latent spaces but encode returned {len(draws)}; give a "
                f"prior for each, as a list in encode's order."
            )
        return priors

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Eval mode without gradients; afterwards every submodule is in the mode it was in."""
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for module, training in modes.items():
                module.training = training

    @contextmanager
    def _seeded(self, batch_idx: int, dataloader_idx: int) -> Iterator[None]:
        """The same draws at every validation, and training's random state as if none were made."""
        device = self.device
        devices = [] if device.type == "cpu" else [device]
        seed = (self.global_rank * 8191 + dataloader_idx) * 1_000_003 + batch_idx
        with torch.random.fork_rng(devices, device_type="cuda" if not devices else device.type):
            torch.manual_seed(seed)
            yield


_OWN_ARGUMENTS = list(inspect.signature(VAEModule).parameters)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _as_given(draws: Sequence[Tensor]) -> Latents:
    return draws[0] if len(draws) == 1 else tuple(draws)


def _as_prior(prior: Prior | Sequence[Prior] | None) -> Prior | None:
    if isinstance(prior, Sequence):
        return Product(*prior)
    if prior is not None and not isinstance(prior, nn.Module):
        raise ValueError(
            f"prior must be a module that returns a distribution, got {type(prior).__name__}; "
            f"write prior=StandardNormal(20)."
        )
    return prior


def _standard_normal(shapes: Iterable[Sequence[int]]) -> Prior:
    priors = [StandardNormal(shape) for shape in shapes]
    return priors[0] if len(priors) == 1 else Product(*priors)


def _repeat(value: Any, samples: int, batch: int) -> Any:
    """[B, ...] to [K·B, ...] in the order of K draws; what is not one a example stays."""
    if not isinstance(value, Tensor) or value.dim() == 0 or len(value) != batch:
        return value
    return value.repeat(samples, *[1] * (value.dim() - 1))


def _draw(posterior: Distribution, samples: int | None) -> Tensor:
    try:
        return posterior.rsample(torch.Size() if samples is None else torch.Size([samples]))
    except NotImplementedError:
        raise TypeError(
            f"posterior {type(posterior).__name__} has no rsample, so the encoder would get no "
            f"gradient; return a reparameterised distribution, such as DiagonalGaussian."
        ) from None


def _mean(posterior: Distribution) -> Tensor:
    try:
        return posterior.mean
    except (AttributeError, NotImplementedError):
        raise TypeError(
            f"posterior {type(posterior).__name__} has no mean to embed with; give it a mean "
            f"property, or write embed(x, sample=True)."
        ) from None


def _not_finite(output: VAEOutput, parts: Mapping[str, Tensor]) -> str:
    terms = {
        "distortion": output.distortion,
        **{f"rate of group {g}": latent.rate for g, latent in enumerate(output.latents)},
        **parts,
    }
    bad = [name for name, term in terms.items() if not bool(torch.isfinite(term).all())]
    return (
        f"the loss is {parts['loss'].item()}: not finite in {', '.join(bad)}. Look for non-finite "
        f"or unscaled data in x, or lower the learning rate."
    )
