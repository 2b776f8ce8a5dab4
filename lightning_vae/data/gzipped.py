"""Files that may be gzipped, as most published ones are."""

import gzip
from pathlib import Path
from typing import IO, cast

__all__ = ["opened"]


def opened(path: Path) -> IO[bytes]:
    """Open a file to read its bytes, unpacked where its name ends in `.gz`."""
    return cast(IO[bytes], gzip.open(path) if path.suffix == ".gz" else path.open("rb"))
