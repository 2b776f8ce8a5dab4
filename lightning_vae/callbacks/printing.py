"""Callbacks print as they are written."""

import inspect
from functools import partial
from types import FunctionType

__all__ = ["as_written"]


def as_written(made: object) -> str:
    """The call that makes an object which keeps its arguments, without those at their defaults.

    An argument that is not kept under its name is ``...``. Arguments that are handed on as
    ``**options`` are those of the class above.

    >>> class Ramp:
    ...     def __init__(self, start, stop=1.0, shape=abs, over=None):
    ...         self.start, self.stop, self.shape = start, stop, shape
    >>> as_written(Ramp(0, shape=as_written))
    'Ramp(0, shape=as_written, over=...)'
    """
    kept, arguments = vars(made), []
    for name, parameter in _parameters(type(made)).items():
        if name not in kept:
            arguments.append(f"{name}=...")
        elif parameter.default is parameter.empty:
            arguments.append(repr(kept[name]))
        elif kept[name] != parameter.default:
            arguments.append(f"{name}={_name_or_repr(kept[name])}")
    return f"{type(made).__name__}({', '.join(arguments)})"


def _parameters(cls: type) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(cls).parameters)
    handed_on = [name for name, p in parameters.items() if p.kind is p.VAR_KEYWORD]
    for name in handed_on:
        del parameters[name]
        parameters.update(_parameters(cls.__mro__[1]))
    return parameters


def _name_or_repr(value: object) -> str:
    if isinstance(value, partial):  # as LightningCLI holds a class that is to be made later
        value = next((held for held in value.args if isinstance(held, type)), value)
    return value.__name__ if isinstance(value, type | FunctionType) else repr(value)
