import gzip
import hashlib
import io
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.io import mmwrite

from lightning_vae.data import Counts, PBMC3k
from lightning_vae.data.counts import read_10x, read_h5ad
from lightning_vae.data.pbmc3k import ARCHIVE, FILES

CELLS, GENES = 12, 7
COUNTS = np.random.default_rng(0).poisson(0.8, (CELLS, GENES))
COUNTS[:, 5] = 0
COUNTS[0, 5] = 3
BARCODES = [f"ACGT{k}-1" for k in range(CELLS)]
SYMBOLS = [f"GENE{k // 2}" for k in range(GENES)]  # they repeat


def write_10x(folder, version=2, packed=False, counts=COUNTS):
    folder.mkdir(parents=True, exist_ok=True)
    matrix = io.BytesIO()
    mmwrite(matrix, sparse.coo_matrix(counts.T))
    kind = ["Gene Expression"] if version == 3 else []
    genes = ["\t".join([f"ENSG{k}", name, *kind]) for k, name in enumerate(SYMBOLS)]
    files = {
        "matrix.mtx": matrix.getvalue(),
        "genes.tsv" if version == 2 else "features.tsv": "\n".join(genes).encode() + b"\n",
        "barcodes.tsv": "\n".join(BARCODES).encode() + b"\n",
    }
    for name, content in files.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    return folder


def rows(loader):
    return torch.cat(list(loader)).tolist()


def labelled(loader):
    x, y = (torch.cat(column).tolist() for column in zip(*loader, strict=True))
    return {tuple(counts): label for counts, label in zip(x, y, strict=True)}


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_a_matrix_folder_is_read(tmp_path, version, packed):
    matrix = read_10x(write_10x(tmp_path / "hg19", version, packed))
    assert (matrix.counts.toarray() == COUNTS).all()
    assert matrix.cells == tuple(BARCODES)
    assert matrix.genes == tuple(SYMBOLS)


def test_only_gene_expression_is_kept(tmp_path):
    folder = write_10x(tmp_path, version=3)
    lines = (folder / "features.tsv").read_text().splitlines()
    lines[2] = lines[2].replace("Gene Expression", "Antibody Capture")
    (folder / "features.tsv").write_text("\n".join(lines))
    kept = [0, 1, 3, 4, 5, 6]
    matrix = read_10x(folder)
    assert (matrix.counts.toarray() == COUNTS[:, kept]).all()
    assert matrix.genes == tuple(SYMBOLS[k] for k in kept)


def test_batches_are_dense_rows_in_a_partition(tmp_path):
    data = Counts(write_10x(tmp_path), batch_size=5, val_size=2, test_size=3)
    for stage in ("fit", "test"):
        data.setup(stage)
    for x in data.train_dataloader():
        assert x.dtype == torch.float32
        assert x.shape[1] == GENES
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    parts = [rows(loader) for loader in loaders]
    assert [len(part) for part in parts] == [7, 2, 3]
    assert sorted(parts[0] + parts[1] + parts[2]) == sorted(COUNTS.tolist())


def test_rare_genes_are_left_out(tmp_path):
    data = Counts(write_10x(tmp_path), min_cells=2, val_size=0)
    kept = np.flatnonzero((COUNTS > 0).sum(0) >= 2)
    assert len(kept) == 6
    assert sorted(rows(data.train_dataloader())) == sorted(COUNTS[:, kept].tolist())
    with pytest.raises(ValueError, match=r"^min_cells=13 leaves no gene"):
        Counts(tmp_path, min_cells=13).setup("fit")


def test_labels_go_with_their_cells(tmp_path):
    lines = ["barcode\tcell_type", *(f"{BARCODES[k]}\t{'BT'[k % 2]}" for k in reversed(range(11)))]
    (tmp_path / "types.tsv").write_text("\n".join(lines))
    data = Counts(write_10x(tmp_path / "hg19"), labels=tmp_path / "types.tsv", val_size=0)
    assert data.classes == ("B", "NA", "T")
    found = labelled(data.train_dataloader())
    expected = {tuple(COUNTS[k].tolist()): 1 if k == 11 else 2 * (k % 2) for k in range(CELLS)}
    assert found == expected


@pytest.mark.parametrize("name", ["matrix.mtx", "genes.tsv", "barcodes.tsv"])
def test_a_missing_file_is_named(tmp_path, name):
    (write_10x(tmp_path) / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"has no {name}"):
        read_10x(tmp_path)


def damage(folder, how):
    matrix = folder / "matrix.mtx"
    text = matrix.read_text()
    if how == "cut":
        matrix.write_text(text[: len(text) * 2 // 3])
    elif how == "text":
        matrix.write_text("no matrix")
    elif how == "barcodes":
        (folder / "barcodes.tsv").write_text("\n".join(BARCODES[1:]))
    else:
        value = {"negative": -1, "normalised": 0.7}[how]
        mmwrite(matrix, sparse.coo_matrix(COUNTS.T * value))


@pytest.mark.parametrize("how", ["cut", "text", "barcodes", "negative", "normalised"])
def test_a_damaged_folder_is_named(tmp_path, how):
    damage(write_10x(tmp_path), how)
    with pytest.raises(ValueError, match=r"matrix\.mtx is no matrix of counts, or is damaged"):
        read_10x(tmp_path)


# h5ad


def write_h5ad(path, kind="csr_matrix", layer=None, counts=COUNTS):
    """The on-disk format of anndata, of which only what is read is written."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        where = "X" if layer is None else f"layers/{layer}"
        if layer is not None:
            file["X"] = np.log1p(counts)
        if kind == "array":
            file[where] = counts.astype(np.float32)
        else:
            matrix = getattr(sparse, kind)(counts)
            group = file.create_group(where)
            group.attrs["encoding-type"] = kind
            group.attrs["shape"] = matrix.shape
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(matrix, name)
        for axis, names in (("obs", BARCODES), ("var", SYMBOLS)):
            group = file.create_group(axis)
            group.attrs["_index"] = "name"
            group["name"] = names
        column = file["obs"].create_group("louvain")
        column["codes"] = np.array([0, 1, -1] * 4, np.int8)
        column["categories"] = ["T", "B"]
    return path


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix", "array"])
@pytest.mark.parametrize("layer", [None, "raw"])
def test_an_h5ad_file_is_read(tmp_path, kind, layer):
    matrix = read_h5ad(write_h5ad(tmp_path / "x.h5ad", kind, layer), layer)
    assert (matrix.counts.toarray() == COUNTS).all()
    assert matrix.cells == tuple(BARCODES)
    assert matrix.genes == tuple(SYMBOLS)


def test_labels_may_be_a_column_of_obs(tmp_path):
    data = Counts(write_h5ad(tmp_path / "x.h5ad"), labels="louvain", val_size=0)
    assert data.classes == ("B", "NA", "T")
    found = labelled(data.train_dataloader())
    assert found == {tuple(COUNTS[k].tolist()): [2, 0, 1][k % 3] for k in range(CELLS)}
    with pytest.raises(ValueError, match=r"^labels='leiden' is neither a file nor .*'louvain'"):
        Counts(tmp_path / "x.h5ad", labels="leiden").setup("fit")


def test_normalised_values_ask_for_a_layer(tmp_path):
    path = write_h5ad(tmp_path / "x.h5ad", layer="raw")
    with pytest.raises(ValueError, match=r"x\.h5ad has no counts under X .*: name the layer"):
        read_h5ad(path)
    with pytest.raises(ValueError, match=r"x\.h5ad has no counts under layers/other"):
        read_h5ad(path, "other")


def test_a_damaged_h5ad_file_is_named(tmp_path):
    pytest.importorskip("h5py")
    (tmp_path / "x.h5ad").write_text("no file of this kind")
    with pytest.raises(ValueError, match=r"x\.h5ad is no h5ad file, or is damaged"):
        read_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(FileNotFoundError):
        read_h5ad(tmp_path / "y.h5ad")


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r'pip install "lightning-vae\[counts\]"'):
        Counts(tmp_path / "x.h5ad").setup("fit")


# PBMC3k


@pytest.fixture
def published(tmp_path, monkeypatch):
    """An archive in the published layout, in tmp_path/archive, taken for the published one."""
    write_10x(tmp_path / "made")
    path = tmp_path / "archive" / ARCHIVE
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        for name in FILES:
            archive.add(tmp_path / "made" / name, f"filtered_gene_bc_matrices/hg19/{name}")
    checksums = {name: hashlib.sha256((tmp_path / "made" / name).read_bytes()) for name in FILES}
    checksums[ARCHIVE] = hashlib.md5(path.read_bytes())
    digests = {name: checksum.hexdigest() for name, checksum in checksums.items()}
    monkeypatch.setattr(
        PBMC3k, "published", replace(PBMC3k.published, checksums=digests, mirrors=())
    )
    return path


def test_the_archive_is_unpacked_and_read(tmp_path, published):
    root = tmp_path / "root"
    (root / "pbmc3k").mkdir(parents=True)
    published.rename(root / "pbmc3k" / ARCHIVE)
    data = PBMC3k(root, min_cells=0, val_size=0)
    for _ in range(2):
        data.prepare_data()
    assert sorted(rows(data.train_dataloader())) == sorted(COUNTS.tolist())


def test_an_unpacked_folder_is_found(tmp_path, published):
    write_10x(tmp_path / "root" / "pbmc3k" / "filtered_gene_bc_matrices" / "hg19", packed=True)
    data = PBMC3k(tmp_path / "root", min_cells=0, val_size=0)
    data.prepare_data()
    assert sorted(rows(data.train_dataloader())) == sorted(COUNTS.tolist())


def test_other_counts_are_refused(tmp_path, published):
    write_10x(tmp_path / "root", counts=COUNTS + 1)
    with pytest.raises(ValueError, match=r"matrix\.mtx does not have the published SHA-256"):
        PBMC3k(tmp_path / "root").setup("fit")


def test_nothing_at_hand_and_no_download(tmp_path):
    data = PBMC3k(tmp_path, download=False)
    data.prepare_data()
    with pytest.raises(FileNotFoundError, match=r"^matrix\.mtx is neither in root="):
        data.setup("fit")


def test_as_published(real_data):
    types = real_data / "pbmc3k" / "cell_types.tsv"
    data = PBMC3k(real_data, labels=types, min_cells=3, download=False, val_size=200)
    data.prepare_data()
    data.setup("fit")
    x, y = next(iter(data.val_dataloader()))
    # 13,714 genes in three cells or more, as in Seurat's tutorial.
    assert x.shape == (128, 13_714)
    assert len(data.classes) == 10
    assert PBMC3k(real_data, min_cells=0).matrix.counts.sum() == 6_390_631
    assert len(data.train_dataloader().dataset) == 2_500
    assert y.max() < 10
