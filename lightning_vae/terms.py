"""The numbers of a step: the loss, its terms, what is logged of them, and where one went wrong."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_vae.latents import VAEOutput
from lightning_vae.objectives import Objective
from lightning_vae.objectives.ranks import mean_over_ranks

__all__ = ["everywhere", "keyed", "terms"]


def terms(objective: Objective, output: VAEOutput, check: bool = True) -> dict[str, Tensor]:
    """The loss with its graph, and beside it the objective's parts, distortion and rate, detached.

    Args:
        objective: What to minimise.
        output: What a forward pass yielded.
        check: Whether to look that the loss is finite, which reads it off the device.

    Raises:
        ValueError: if it is not, and the first term that is not is named; or if a group of
            latents has another batch than x.
        TypeError: if the objective returned something else.
    """
    output.refuse_mismatch()
    parts = _checked(objective, objective(output))
    if check and not math.isfinite(parts["loss"].item()):
        raise ValueError(_not_finite(output, parts))
    for name in ("distortion", "rate"):
        if name not in parts:
            parts[name] = getattr(output, name).detach().mean()
    if len(output.latents) > 1:
        parts |= {f"rate/{g}": rate.detach().mean() for g, rate in enumerate(output.rates)}
    return parts


def keyed(stage: str, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The terms and the ELBO (β = 1, no free bits, no capacity) under the keys they are logged by.

    >>> keyed("val", {"distortion": torch.tensor(80.0), "rate": torch.tensor(20.0)})["val/elbo"]
    tensor(-100.)
    """
    elbo = -parts["distortion"] - parts["rate"]
    return {f"{stage}/{key}": value.detach() for key, value in {**parts, "elbo": elbo}.items()}


def everywhere(scalars: Mapping[str, Tensor]) -> dict[str, float]:
    """The means over all ranks, read off the device in one go."""
    values = torch.stack(list(scalars.values()))
    return dict(zip(scalars, mean_over_ranks(values).tolist(), strict=True))


def _checked(objective: Objective, parts: object) -> dict[str, Tensor]:
    """What an objective returned, if it is what it should be."""
    needed = ["loss", *(["own_loss"] if objective.optimizer is not None else [])]
    if isinstance(parts, Mapping):
        found = [parts.get(name) for name in needed]
        if all(isinstance(value, Tensor) and value.dim() == 0 for value in found):
            return dict(parts)
    raise TypeError(
        f"{type(objective).__name__} must return a dict with {' and '.join(needed)}, each a scalar "
        f"tensor, got {_said(parts)}; end it in return {{'loss': loss.mean(), ...}}."
    )


def _said(parts: object) -> str:
    if not isinstance(parts, Mapping):
        return f"a {type(parts).__name__}"
    return str({name: tuple(v.shape) if isinstance(v, Tensor) else v for name, v in parts.items()})


def _not_finite(output: VAEOutput, parts: Mapping[str, Tensor]) -> str:
    """Where it began: the terms in the order in which they are computed."""
    computed = {
        "distortion": output.distortion,
        **{f"rate of group {g}": latent.rate for g, latent in enumerate(output.latents)},
        **parts,
    }
    first = next(name for name, term in computed.items() if not bool(torch.isfinite(term).all()))
    return (
        f"the loss is {parts['loss'].item()}: not finite in {first}. Look for unscaled data in x, "
        f"or lower the learning rate."
    )
