"""Callbacks print as they are written."""

import inspect
from functools import partial
from types import FunctionType

__all__ = ["as_written"]


def as_written(made: object) -> str:
    """The call that makes an object which keeps its arguments, without those at their defaults.

    An argument that is not kept under its name is ``...``.

    >>> class Ramp:
    ...     def __init__(self, start, stop=1.0, shape=abs, over=None):
    ...         self.start, self.stop, self.shape = start, stop, shape
    >>> as_written(Ramp(0, shape=as_written))
    'Ramp(0, shape=as_written, over=...)'
    """
    kept, arguments = vars(made), []
    for name, parameter in inspect.signature(type(made)).parameters.items():
        if name not in kept:
            arguments.append(f"{name}=...")
        elif parameter.default is parameter.empty:
            arguments.append(repr(kept[name]))
        elif kept[name] != parameter.default:
            arguments.append(f"{name}={_name_or_repr(kept[name])}")
    return f"{type(made).__name__}({', '.join(arguments)})"


def _name_or_repr(value: object) -> str:
    if isinstance(value, partial):  # as LightningCLI holds a class that is to be made later
        value = next((held for held in value.args if isinstance(held, type)), value)
    return value.__name__ if isinstance(value, type | FunctionType) else repr(value)
