"""Which numbers of a module a misspelt path may have meant."""

import re
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any

from torch import Tensor, nn

from lightning_vae.objectives import Objective

__all__ = ["nearest"]

_DEPTH = 2  # how far to look into what a module holds: its weights, and the parts of one of them
_MANY = 100  # what holds more than this is data


def nearest(module: nn.Module, path: str) -> list[str]:
    """The paths of up to three numbers named much like the last name of a path, or else of five.

    >>> from lightning_vae import VAEModule
    >>> nearest(VAEModule(), "objective.betta")
    ['objective.beta']
    """
    known = _numbers(module)
    alike = {other: _likeness(_last_name(path), _last_name(other)) for other in known}
    near = [other for other in known if alike[other] >= 0.6]
    near.sort(key=lambda other: (alike[other], _likeness(path, other)), reverse=True)
    return near[:3] or known[:5]


def _likeness(a: str, b: str) -> float:
    return SequenceMatcher(None, a, b).ratio()


def _last_name(path: str) -> str:
    """The last name of a path, with its places: ``beta.0``."""
    return re.sub(r".*\.(?=[^.]*[^.\d-])", "", path)


def _numbers(module: nn.Module) -> list[str]:
    """The paths of all that may be moved: floats, then parts of what holds several, then integers."""
    ranked = []
    for prefix, child in module.named_modules():
        layer = _is_layer(child)
        for depth, names, number in _inside(_settings(child)):
            whole = isinstance(number, int)
            if not (layer and whole):  # the integers of a layer are its shape
                ranked.append((layer or whole, depth, ".".join([prefix, *names]).lstrip(".")))
    return [path for *_, path in sorted(ranked, key=lambda entry: entry[:2])]


def _is_layer(module: nn.Module) -> bool:
    bases = [cls for cls in type(module).__mro__ if cls is not nn.Module]
    return any(cls.__module__.startswith("torch.nn") for cls in bases)


def _settings(module: nn.Module) -> Mapping[str, Any]:
    if not isinstance(module, Objective):
        return vars(module)
    # None is a coefficient that is off; it may be moved like a number.
    return {name: 0.0 if v is None else v for name, v in module.coefficients.items()}


def _inside(held: Any, depth: int = 0) -> Iterator[tuple[int, list[str], float]]:
    """The depth, the names and the value of every number in what a module holds."""
    parts = _parts(held)
    if depth > 0 and len(parts) > _MANY:
        return
    for name, value in parts.items():
        if type(value) is float or (type(value) is int and not isinstance(held, list | tuple)):
            yield depth, [name], value
        elif depth < _DEPTH:
            yield from (
                (d, [name, *names], number) for d, names, number in _inside(value, depth + 1)
            )


def _parts(held: Any) -> dict[str, Any]:
    """The parts of a dict, list, tuple or plain object that a path can name."""
    if isinstance(held, nn.Module | Tensor | type):
        return {}
    if isinstance(held, list | tuple):
        return {str(i): value for i, value in enumerate(held[: _MANY + 1])}
    named = held if isinstance(held, Mapping) else getattr(held, "__dict__", {})
    public = (k for k in named if isinstance(k, str) and not k.startswith("_") and "." not in k)
    return {name: named[name] for name in public}
