"""What a checkpoint says of coefficients, by path, and who wins when a module has its own."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from lightning_vae.coefficients import HasCoefficients, Value

__all__ = ["coefficients", "given", "restore"]


def coefficients(module: nn.Module) -> dict[str, Value]:
    """The value of every coefficient on a module and below, by path.

    >>> from lightning_vae import ELBO, VAEModule
    >>> coefficients(VAEModule(objective=ELBO(beta=4)))["objective.beta"]
    4.0
    """
    return {path: owner.coefficients[name] for path, owner, name in _places(module)}


def given(module: nn.Module) -> dict[str, Value]:
    """Those that a constructor was given, as they were given, by path.

    >>> from lightning_vae import ELBO, VAEModule
    >>> given(VAEModule(objective=ELBO(beta=4)))
    {'objective.beta': 4.0}
    """
    return {path: owner.given[name] for path, owner, name in _places(module) if name in owner.given}


def restore(module: nn.Module, saved: Mapping[str, Any], repeats: bool) -> list[str]:
    """Take saved coefficients over, but for those that the module's constructors were given.

    Args:
        module: The module that has them.
        saved: ``coefficients`` and ``given`` of the module that was saved.
        repeats: Whether the module was made from the checkpoint's own hyperparameters: then an
            argument equal to the saved module's was not given anew, and does not win.

    Returns:
        What is to be said of every value that differed.
    """
    values, once_given = saved.get("coefficients", {}), saved.get("given", {})
    said = []
    for path, owner, name in list(_places(module)):
        here = owner.coefficients[name]
        if path not in values or values[path] == here:
            continue
        # A value that a callback has moved since is no longer the one that was given.
        stands = name in owner.given and owner.given[name] == here
        again = repeats and once_given.get(path, ()) == here
        if stands and not again:
            said.append(f"{path}={here} as given (the checkpoint had {values[path]})")
        else:
            setattr(owner, name, values[path])
            said.append(f"{path}={values[path]} from the checkpoint (the module had {here})")
    return said


def _places(module: nn.Module) -> Iterator[tuple[str, HasCoefficients, str]]:
    for prefix, owner in module.named_modules():
        if isinstance(owner, HasCoefficients):
            for name in owner.coefficients:
                yield (f"{prefix}.{name}" if prefix else name), owner, name
