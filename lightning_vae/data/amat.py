"""The amat format of the binarised MNIST: zeros and ones as text, a line an example."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_vae.data.gzipped import opened

__all__ = ["read_amat"]


def read_amat(path: str | Path, columns: int) -> Tensor:
    """Return the zeros and ones in an amat file, gzipped (`.gz`) or not, [N, columns] bool.

    Raises:
        ValueError: If the file has anything else, or a line of another length.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "bits.amat")
        ...     _ = path.write_text("0 1 1\\n1 0 0\\n")
        ...     read_amat(path, columns=3).int()
        tensor([[0, 1, 1],
                [1, 0, 0]], dtype=torch.int32)
    """
    path = Path(path)
    try:
        with opened(path) as file:
            return torch.from_numpy(_parsed(file.read(), columns))
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise ValueError(
            f"{path} is no amat file of {columns} zeros and ones a line, or is damaged ({error}): "
            "fetch it again."
        ) from error


def _parsed(text: bytes, columns: int) -> np.ndarray:
    # All numbers are one byte long, so that none of the millions is parsed by itself.
    lines = [digits for line in text.splitlines() if (digits := line.translate(None, b" "))]
    if (lengths := {len(digits) for digits in lines}) != {columns}:
        raise ValueError(f"its lines have {sorted(lengths)} numbers")
    digits = b"".join(lines)
    if digits.translate(None, b"01"):
        raise ValueError("it has something other than 0 and 1")
    bits: np.ndarray = np.frombuffer(digits, np.uint8).reshape(-1, columns) == ord("1")
    return bits
