"""PBMC3k: 2,700 blood cells of one donor, the set that single-cell tutorials begin with."""

from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from lightning_vae.data.archives import unpack
from lightning_vae.data.counts import CountData
from lightning_vae.data.published import Published
from lightning_vae.data.split import Sizes

__all__ = ["PBMC3k"]

ARCHIVE = "pbmc3k_filtered_gene_bc_matrices.tar.gz"
FILES = ("matrix.mtx", "genes.tsv", "barcodes.tsv")
UNPACKED = 256 << 20  # bytes; the three files have some 30 MB
INSIDE = "filtered_gene_bc_matrices/hg19"
TO = "pbmc3k/unpacked"


class PBMC3k(CountData):
    """Counts of genes in 2,700 cells, in batches x [B, genes] float32, or (x, y) with labels.

    There are 32,738 genes, of which 13,714 are in three cells or more. Nothing is downloaded where
    `root`, or its folder `pbmc3k`, has `filtered_gene_bc_matrices/hg19`. The data is not part of
    this package. What is not named here is as in `Counts`.

    Args:
        root: Folder of the files; if they are missing, they are downloaded to `root/pbmc3k`, and
            unpacked.
        labels: A file of two columns split by a tab, cell and label, with a heading, or None.
        min_cells: Genes that are found in fewer cells are left out.
        batch_size: Examples a batch and rank.
        train_size: Cells to train on, a count or a share; None for all that are left.
        val_size: Cells to validate on, a count or a share; 0 for none.
        test_size: Cells to test on, a count or a share; 0 for none.
        drop_last: Whether training leaves out a last batch that is shorter.
        download: Whether to download the files if they are missing.
        seed: Seed of the choice of cells and of their order.

    Raises:
        ValueError: If an argument is out of its range, or a file lacks its published checksum.
        FileNotFoundError: If a file is missing and `download` is False.
        OSError: If the download fails.

    Source: 10x Genomics (2016), 3k PBMCs from a Healthy Donor, Cell Ranger 1.1.0.

    Example:
        >>> PBMC3k("data", min_cells=3).batch_size
        128
    """

    published: ClassVar[Published] = Published(
        folders=("pbmc3k", f"pbmc3k/{INSIDE}", INSIDE, f"{TO}/{INSIDE}"),
        mirrors=("https://cf.10xgenomics.com/samples/cell-exp/1.1.0/pbmc3k/",),
        # The three SHA-256 were checked on the published files. The MD5 of their archive is on record
        # elsewhere: the archive was not at hand.
        checksums={
            ARCHIVE: "f76d73bf7a582aaf32b798bcae9574d3",
            "matrix.mtx": "7d92358b9d29128a225c50f2a662d6ccca9c71bc665e0af82692ed1361eb94e4",
            "genes.tsv": "8778dd78085086be6dcafa8334f95f7cf76b25526e8ef2b63186db5127a1492c",
            "barcodes.tsv": "58c2a224a2b4258f7e8799a18890bda6d23824b247b80db2b08a0dcc36a4c660",
        },
    )

    def __init__(
        self,
        root: str | Path = "data",
        labels: str | Path | None = None,
        min_cells: int = 3,
        batch_size: int = 128,
        train_size: float | None = None,
        val_size: float = 0.1,
        test_size: float = 0,
        drop_last: bool = False,
        download: bool = True,
        seed: int = 0,
    ) -> None:
        sizes = Sizes(train_size, val_size, test_size)
        super().__init__(labels, None, min_cells, sizes, batch_size, drop_last, seed)
        self.root = Path(root)
        self.download = download

    @override
    def prepare_data(self) -> None:
        if self.download and self.published.find(self.root, FILES[0]) is None:
            archive = self.published.download(self.root, ARCHIVE)
            unpack(archive, self.root / TO, UNPACKED)

    @override
    def place(self) -> Path:
        matrix, *_ = (self.published.verified(self.root, file) for file in FILES)
        return matrix.parent
