"""Counts of molecules in cells: the matrix folders of 10x Genomics, and h5ad files."""

import gzip
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.io import mmread
from torch import Tensor
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.data.batches import Batch
from lightning_vae.data.gzipped import opened
from lightning_vae.data.split import Part, Sizes, SplitData

__all__ = ["CountData", "CountMatrix", "Counts", "Rows", "read_10x", "read_h5ad"]


@dataclass(frozen=True)
class CountMatrix:
    """A matrix of counts and the names of its rows and columns.

    Args:
        counts: [cells, genes], integers of at least 0, as float32 in compressed rows.
        cells: A name for each row, such as its barcode.
        genes: A name for each column; not always unique.

    Raises:
        ValueError: If the numbers of names are others, or an entry is no count.
    """

    counts: sparse.csr_matrix
    cells: tuple[str, ...]
    genes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.counts.shape != (len(self.cells), len(self.genes)):
            raise ValueError(
                f"it has a matrix of {self.counts.shape} for {len(self.cells)} cells and "
                f"{len(self.genes)} genes"
            )
        values = self.counts.data
        if not (np.isfinite(values).all() and (values >= 0).all() and (values % 1 == 0).all()):
            raise ValueError("it has entries that are no counts, as after a normalisation")

    def having(self, genes: np.ndarray) -> "CountMatrix":
        """Return the columns for which `genes`, [genes] bool, is true."""
        kept = np.flatnonzero(genes)
        return CountMatrix(self.counts[:, kept], self.cells, tuple(self.genes[k] for k in kept))


def read_10x(folder: Path) -> CountMatrix:
    """Read a matrix folder of Cell Ranger, gzipped or not.

    It has `matrix.mtx` (genes x cells), `barcodes.tsv` and `genes.tsv` or, since version 3,
    `features.tsv`, of which only gene expression is kept.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or they do not belong together.
    """
    features = _table(_one_of(folder, "genes.tsv", "features.tsv"))
    cells = tuple(fields[0] for fields in _table(_one_of(folder, "barcodes.tsv")))
    path = _one_of(folder, "matrix.mtx")
    try:
        counts = sparse.csr_matrix(mmread(path).T, dtype=np.float32)
        matrix = CountMatrix(
            counts, cells, tuple(fields[min(1, len(fields) - 1)] for fields in features)
        )
    except (ValueError, OverflowError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is no matrix of counts, or is damaged ({error}).") from error
    return matrix.having(np.array([fields[2:] in ([], ["Gene Expression"]) for fields in features]))


def _one_of(folder: Path, *names: str) -> Path:
    paths = [folder / f"{name}{ending}" for name in names for ending in ("", ".gz")]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"{folder} has no {' or '.join(names)}, gzipped or not.")
    return found


def _table(path: Path) -> list[list[str]]:
    with opened(path) as file:
        return [line.split("\t") for line in file.read().decode().splitlines()]


def read_h5ad(path: Path, layer: str | None = None) -> CountMatrix:
    """Read the counts of an h5ad file, from X or from a layer.

    Raises:
        ImportError: If h5py is not installed.
        ValueError: If the file has no such counts.
    """
    where = "X" if layer is None else f"layers/{layer}"
    with _h5(path) as file:
        try:
            counts = _matrix(file[where])
            return CountMatrix(counts, *(_names(file[axis]) for axis in ("obs", "var")))
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(
                f"{path} has no counts under {where} ({error}): name the layer that has the raw "
                "counts, with layer=..."
            ) from error


def _h5(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            'an h5ad file needs h5py: pip install "lightning-vae[counts]".'
        ) from error
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} is no h5ad file, or is damaged ({error}).") from error


def _matrix(group: Any) -> sparse.csr_matrix:
    kind = group.attrs.get("encoding-type", "array")
    if kind not in ("csr_matrix", "csc_matrix"):
        return sparse.csr_matrix(np.asarray(group[()]), dtype=np.float32)
    make = {"csr_matrix": sparse.csr_matrix, "csc_matrix": sparse.csc_matrix}[kind]
    parts = (group["data"][()], group["indices"][()], group["indptr"][()])
    return sparse.csr_matrix(make(parts, shape=tuple(group.attrs["shape"])), dtype=np.float32)


def _names(group: Any) -> tuple[str, ...]:
    return _strings(group[group.attrs.get("_index", "_index")])


def _strings(column: Any) -> tuple[str, ...]:
    if "categories" in getattr(column, "keys", tuple)():
        categories = _strings(column["categories"])
        return tuple(categories[code] if code >= 0 else "NA" for code in column["codes"][()])
    return tuple(v.decode() if isinstance(v, bytes) else str(v) for v in column[()])


class Rows:
    """Rows of a sparse matrix, made dense when asked for, with labels where there are some.

    `rows[k]`, for k [B] int64, is x [B, columns] float32, or (x, y) with y [B] int64.

    Args:
        matrix: [N, columns].
        labels: [N] int64, or None.
    """

    def __init__(self, matrix: sparse.csr_matrix, labels: Tensor | None = None) -> None:
        self.matrix = matrix
        self.labels = labels

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def __getitem__(self, index: Tensor) -> Batch:
        x = torch.from_numpy(self.matrix[index.numpy()].toarray())
        return x if self.labels is None else (x, self.labels[index])


def number(names: Sequence[str]) -> tuple[tuple[str, ...], Tensor]:
    """Return the names in order, and the number of each, [N] int64."""
    found = sorted(set(names))
    position = {name: k for k, name in enumerate(found)}
    return tuple(found), torch.tensor([position[name] for name in names])


class CountData(SplitData[Batch], ABC):
    """Counts of genes in cells; a subclass says where they are.

    Args:
        labels: What y is, as in `Counts`.
        layer: The layer of an h5ad file that has the counts; None for X.
        min_cells: Genes that are found in fewer cells are left out.
        sizes: How many cells each part has.
        batch_size: Examples a batch and rank.
        drop_last: Whether training leaves out a last batch that is shorter.
        seed: Seed of the choice of cells and of their order.
    """

    def __init__(
        self,
        labels: str | Path | None,
        layer: str | None,
        min_cells: int,
        sizes: Sizes,
        batch_size: int,
        drop_last: bool,
        seed: int,
    ) -> None:
        super().__init__(batch_size, drop_last, seed)
        whole("min_cells", min_cells, 0)
        self.labels = labels
        self.layer = layer
        self.min_cells = min_cells
        self.sizes = sizes
        self._matrix: CountMatrix | None = None

    @property
    def matrix(self) -> CountMatrix:
        """All cells, with the genes that are kept."""
        if self._matrix is None:
            self._matrix = self._read()
        return self._matrix

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels, by their numbers."""
        return () if self.labels is None else number(self._labels())[0]

    @override
    def part(self, name: Part) -> Rows | None:
        rows = self.sizes.rows(name, len(self.matrix.cells), self.seed)
        if not len(rows):
            return None
        labels = None if self.labels is None else number(self._labels())[1][rows]
        return Rows(self.matrix.counts[rows.numpy()], labels)

    @abstractmethod
    def place(self) -> Path:
        """Return the matrix folder or h5ad file."""

    def _read(self) -> CountMatrix:
        path = self.place()
        matrix = read_h5ad(path, self.layer) if path.suffix == ".h5ad" else read_10x(path)
        if not self.min_cells:
            return matrix
        kept = matrix.having(matrix.counts.getnnz(axis=0) >= self.min_cells)
        if not kept.genes:
            raise ValueError(f"min_cells={self.min_cells} leaves no gene: pass a smaller number.")
        return kept

    def _labels(self) -> tuple[str, ...]:
        path = self.place()
        if path.suffix == ".h5ad" and not Path(str(self.labels)).is_file():
            with _h5(path) as file:
                if self.labels not in file["obs"]:
                    raise ValueError(
                        f"labels={self.labels!r} is neither a file nor one of the columns "
                        f"{sorted(file['obs'])} of obs."
                    )
                return _strings(file["obs"][self.labels])
        known = {fields[0]: fields[1] for fields in _table(Path(str(self.labels)))[1:]}
        return tuple(known.get(cell, "NA") for cell in self.matrix.cells)


class Counts(CountData):
    """Counts of genes in cells, in batches x [B, genes] float32, or (x, y) with y [B] int64.

    They are raw: integers of at least 0, for `likelihoods.NegativeBinomial` and its like. The
    matrix stays sparse in memory; a batch is made dense when it is asked for.

    Args:
        path: A matrix folder of Cell Ranger (`matrix.mtx`, `barcodes.tsv`, `genes.tsv` or
            `features.tsv`, gzipped or not), or an `.h5ad` file, which needs the extra `counts`.
        labels: What y is: a file of two columns split by a tab, cell and label, with a heading, or,
            of an h5ad file, the name of a column of obs. Cells that are not in the file are "NA".
        layer: The layer of an h5ad file that has the counts; None for X.
        min_cells: Genes that are found in fewer cells are left out.
        batch_size: Examples a batch and rank.
        train_size: Cells to train on, a count or a share; None for all that are left.
        val_size: Cells to validate on, a count or a share; 0 for none.
        test_size: Cells to test on, a count or a share; 0 for none.
        drop_last: Whether training leaves out a last batch that is shorter.
        seed: Seed of the choice of cells and of their order.

    Raises:
        ValueError: If an argument is out of its range, or a file is damaged or has no counts.
        FileNotFoundError: If a file is missing.
        ImportError: If h5py is needed and is not installed.

    Source: https://support.10xgenomics.com ("Feature-Barcode Matrices");
    https://anndata.readthedocs.io ("On-disk format").

    Example:
        >>> Counts("filtered_gene_bc_matrices/hg19", min_cells=3).batch_size
        128
    """

    def __init__(
        self,
        path: str | Path,
        labels: str | Path | None = None,
        layer: str | None = None,
        min_cells: int = 0,
        batch_size: int = 128,
        train_size: float | None = None,
        val_size: float = 0.1,
        test_size: float = 0,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        sizes = Sizes(train_size, val_size, test_size)
        super().__init__(labels, layer, min_cells, sizes, batch_size, drop_last, seed)
        self.path = Path(path)

    @override
    def place(self) -> Path:
        return self.path
