"""The idx file format of MNIST: a header of sizes, then the numbers.

Format: http://yann.lecun.com/exdb/mnist/ ("THE IDX FILE FORMAT").
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_vae.data.gzipped import opened

__all__ = ["read_idx"]

# The third byte of a file -> the type of its numbers, most significant byte first.
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | Path) -> Tensor:
    """Return the array in an idx file, gzipped (`.gz`) or not, in the shape its header gives.

    Raises:
        ValueError: If the file is damaged or of another format.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "labels-idx1-ubyte")
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
        ...     read_idx(path)
        tensor([5, 0, 4], dtype=torch.uint8)
    """
    path = Path(path)
    try:
        with opened(path) as file:
            return parse_idx(file.read())
    except (EOFError, gzip.BadGzipFile, zlib.error, struct.error, ValueError) as error:
        raise ValueError(
            f"{path} is no idx file or is damaged ({error}): fetch it again."
        ) from error


def parse_idx(data: bytes) -> Tensor:
    """Return the array in the bytes of an idx file."""
    zero, kind, ndim = struct.unpack_from(">HBB", data)
    if zero or kind not in TYPES:
        raise ValueError(f"it starts with {data[:4].hex(' ')}")
    shape = struct.unpack_from(f">{ndim}I", data, 4)
    dtype, start = np.dtype(TYPES[kind]), 4 + 4 * ndim
    array = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return torch.from_numpy(array.astype(dtype.newbyteorder("=")))
