"""Classifiers from scikit-learn, which only the metrics that train one need."""

import importlib
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["as_arrays", "scikit_learn"]


def scikit_learn(module: str, asked_by: str) -> Any:
    """A module of scikit-learn.

    Raises:
        ModuleNotFoundError: if it is not installed; says how to.

    >>> scikit_learn("linear_model", "BetaVAEScore").LogisticRegression.__name__
    'LogisticRegression'
    """
    try:
        return importlib.import_module(f"sklearn.{module}")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{asked_by} trains classifiers of scikit-learn, which is not installed; write "
            f'pip install "lightning-vae[disentanglement]".'
        ) from error


def as_arrays(*tensors: Tensor) -> list[np.ndarray]:
    """Tensors as arrays, floats as float64.

    >>> import torch
    >>> [array.dtype.name for array in as_arrays(torch.ones(2), torch.arange(2))]
    ['float64', 'int64']
    """
    moved = [tensor.detach().cpu() for tensor in tensors]
    return [t.double().numpy() if t.is_floating_point() else t.numpy() for t in moved]
