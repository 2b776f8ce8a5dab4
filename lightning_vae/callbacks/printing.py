"""Callbacks print as they are written."""

import inspect
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
    return value.__name__ if isinstance(value, type | FunctionType) else repr(value)
