import gzip
import struct

import numpy as np
import pytest
import torch

from lightning_vae.data.idx import read_idx


def idx(array, kind):
    header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


TYPES = [
    (0x08, "u1", torch.uint8),
    (0x09, "i1", torch.int8),
    (0x0B, "i2", torch.int16),
    (0x0C, "i4", torch.int32),
    (0x0D, "f4", torch.float32),
    (0x0E, "f8", torch.float64),
]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(("kind", "dtype", "expected"), TYPES)
def test_reads_what_was_written(tmp_path, suffix, kind, dtype, expected):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    path = tmp_path / f"numbers{suffix}"
    path.write_bytes(gzip.compress(idx(array, kind)) if suffix else idx(array, kind))
    tensor = read_idx(path)
    assert tensor.dtype == expected
    assert tensor.tolist() == array.tolist()


GOOD = idx(np.zeros((2, 3), np.uint8), 0x08)
DAMAGED = {
    "empty": b"",
    "header cut": GOOD[:7],
    "data cut": GOOD[:-1],
    "data too long": GOOD + b"\0",
    "unknown type": GOOD[:2] + b"\x07" + GOOD[3:],
    "other format": b"\x93NUMPY" + GOOD,
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_file_is_named(tmp_path, data):
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"images-idx3-ubyte is no idx file or is damaged"):
        read_idx(path)


PACKED = gzip.compress(GOOD)
DAMAGED_GZIP = {
    "cut": PACKED[:-4],
    "not gzipped": GOOD,
    "torn": PACKED[:10] + b"\xff" + PACKED[11:],
}


@pytest.mark.parametrize("data", DAMAGED_GZIP.values(), ids=DAMAGED_GZIP.keys())
def test_damaged_gzip_is_named(tmp_path, data):
    path = tmp_path / "images.gz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"images.gz is no idx file or is damaged"):
        read_idx(path)
