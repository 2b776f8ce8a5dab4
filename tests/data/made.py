"""Small files in the layout of each published data set, of noise, so that its config can run.

A function writes the files below a folder and takes them for the published ones.
"""

import hashlib
import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import sparse
from scipy.io import mmwrite, savemat

from lightning_vae.data import (
    MNIST,
    BinarizedMNIST,
    CelebA,
    DSprites,
    FreyFaces,
    Omniglot,
    PBMC3k,
    dsprites,
)

RNG = np.random.default_rng(0)


def publish(patch: pytest.MonkeyPatch, cls: type, root: Path, contents: dict[str, bytes]) -> None:
    """Write files and take them for those that a data module has published."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (root / name).write_bytes(content)
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    patch.setattr(cls, "published", replace(cls.published, checksums=checksums, mirrors=()))


def mnist(root: Path, patch: pytest.MonkeyPatch) -> None:
    contents = {}
    for part, n in (("train", 60_000), ("t10k", 10_000)):
        images = struct.pack(">IIII", 2051, n, 28, 28) + RNG.bytes(n * 28 * 28)
        contents[f"{part}-images-idx3-ubyte"] = images
        contents[f"{part}-labels-idx1-ubyte"] = struct.pack(">II", 2049, n) + bytes(n)
    publish(patch, MNIST, root, contents)


def images(root: Path, patch: pytest.MonkeyPatch, count: int = 40) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        pixels = RNG.integers(0, 256, (60 + k, 80, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{k:03}.png")


def celeba(root: Path, patch: pytest.MonkeyPatch) -> None:
    counts = {"train": 30, "val": 5, "test": 5}
    patch.setattr(CelebA, "counts", counts)
    parts = [part for part, n in enumerate(counts.values()) for _ in range(n)]
    lines = [f"{k + 1:06}.jpg {part}" for k, part in enumerate(parts)]
    (root / "img_align_celeba").mkdir(parents=True)
    (root / "list_eval_partition.txt").write_text("\n".join(lines))
    for k in range(len(parts)):
        pixels = RNG.integers(0, 256, (218, 178, 3), np.uint8)
        Image.fromarray(pixels).save(root / "img_align_celeba" / f"{k + 1:06}.jpg")


def binarized_mnist(root: Path, patch: pytest.MonkeyPatch) -> None:
    def text() -> bytes:
        bits = RNG.integers(0, 2, (40, 784))
        return "".join(" ".join(map(str, row)) + "\n" for row in bits).encode()

    names = [f"binarized_mnist_{part}.amat" for part in ("train", "valid", "test")]
    publish(patch, BinarizedMNIST, root, {name: text() for name in names})


def omniglot(root: Path, patch: pytest.MonkeyPatch) -> None:
    def archive(top: str) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as made:
            for k in range(40):
                png = io.BytesIO()
                Image.fromarray(RNG.random((105, 105)) < 0.9).save(png, "PNG")
                made.writestr(f"{top}/Latin/character{k // 4:02}/{k:04}.png", png.getvalue())
        return file.getvalue()

    tops = ("images_background", "images_evaluation")
    publish(patch, Omniglot, root, {f"{top}.zip": archive(top) for top in tops})


def frey_faces(root: Path, patch: pytest.MonkeyPatch) -> None:
    pixels = RNG.integers(0, 256, (560, 1965), np.uint8)
    patch.setattr(FreyFaces, "checksum", hashlib.sha256(pixels.T.tobytes()).hexdigest())
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / "frey_rawface.mat", {"ff": pixels})


def pbmc3k(root: Path, patch: pytest.MonkeyPatch) -> None:
    genes, cells = 13_714, 230
    counts = sparse.random(genes, cells, 0.01, "coo", random_state=0)
    counts.data[:] = 1
    every = sparse.csr_matrix(np.ones((genes, 1)))  # each gene in four cells at least
    matrix = io.BytesIO()
    mmwrite(matrix, sparse.hstack([*[every] * 4, counts.tocsc()[:, 4:]]))
    contents = {
        "matrix.mtx": matrix.getvalue(),
        "genes.tsv": "".join(f"ENSG{k}\tGENE{k}\n" for k in range(genes)).encode(),
        "barcodes.tsv": "".join(f"ACGT{k}-1\n" for k in range(cells)).encode(),
    }
    publish(patch, PBMC3k, root, contents)


def bits(root: Path, patch: pytest.MonkeyPatch) -> None:
    packed = np.zeros((dsprites.COUNT, dsprites.BYTES), np.uint8)
    patch.setattr(dsprites, "pack", lambda path: packed)
    publish(patch, DSprites, root, {dsprites.FILE: b"the images"})


# The data set of a configuration -> what makes its files.
MADE: dict[str, Callable[[Path, pytest.MonkeyPatch], None]] = {
    "mnist": mnist,
    "dsprites": bits,
    "celeba": celeba,
    "celeba_hq": images,
    "image_folder": images,
    "binarized_mnist": binarized_mnist,
    "omniglot": omniglot,
    "frey_faces": frey_faces,
    "pbmc3k": pbmc3k,
}
