"""The amat format of the binarised MNIST: zeros and ones as text, a line an example."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_vae.data.gzipped import opened

__all__ = ["read_amat"]

SPACE = np.frombuffer(b" \r\n", np.uint8)


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
            return torch.from_numpy(_parsed(np.frombuffer(file.read(), np.uint8), columns))
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise ValueError(
            f"{path} is no amat file of {columns} zeros and ones a line, or is damaged ({error}): "
            "fetch it again."
        ) from error


def _parsed(text: np.ndarray, columns: int) -> np.ndarray:
    # All digits are one byte long, so that a million numbers need no loop over words.
    digits = text[~np.isin(text, SPACE)]
    if not np.isin(digits, (ord("0"), ord("1"))).all():
        raise ValueError("it has something other than 0 and 1")
    line = (text == ord("\n")).cumsum()[~np.isin(text, SPACE)]
    counts = np.bincount(line)
    if not len(digits) or set(counts[counts > 0].tolist()) != {columns}:
        raise ValueError(f"its lines have {sorted(set(counts.tolist()))} numbers")
    bits: np.ndarray = (digits == ord("1")).reshape(-1, columns)
    return bits
