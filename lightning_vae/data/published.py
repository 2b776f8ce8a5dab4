"""Where the files of a data set are published, and what is in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightning_vae.data.download import digest, download, kind
from lightning_vae.data.gzipped import opened

__all__ = ["Published"]


@dataclass(frozen=True)
class Published:
    """Where the files of a data set are published, and what is in them.

    A file may be there gzipped or not, whichever way it is published: its checksum is that of its
    bytes as they are, or as they unpack.

    Args:
        folders: Folders looked into below `root`; downloads go to the first.
        mirrors: Addresses to which the name of a file is appended.
        checksums: SHA-256, or MD5 where no other is on record, by the name of the file.
    """

    folders: tuple[str, ...]
    mirrors: tuple[str, ...]
    checksums: Mapping[str, str]

    def find(self, root: Path, name: str) -> Path | None:
        """Return the path of a file, gzipped or not, or None where there is none."""
        folders = (root, *(root / folder for folder in self.folders))
        names = [f"{name}.gz", *([name] if name in self.checksums else [])]
        paths = (folder / each for folder in folders for each in names)
        return next((path for path in paths if path.is_file()), None)

    def download(self, root: Path, name: str) -> Path:
        """Download a file, unless it can be found; return its path."""
        if (found := self.find(root, name)) is not None:
            return found
        wanted = self._wanted(name)
        path = root / self.folders[0] / wanted
        download([mirror + wanted for mirror in self.mirrors], path, self.checksums[wanted])
        return path

    def verified(self, root: Path, name: str) -> Path:
        """Return the path of a file, after a look at its checksum.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is not what was published.
        """
        path = self.find(root, name)
        if path is None:
            raise FileNotFoundError(
                f"{self._wanted(name)} is neither in root={str(root)!r} nor in one of "
                f"{self.folders} below: put it there, name the folder that has it, or let "
                "download=True fetch it."
            )
        # What is published unpacked may have been gzipped since; then its content counts.
        as_it_is = path.name in self.checksums
        checksum = self.checksums[path.name if as_it_is else path.stem]
        with path.open("rb") if as_it_is else opened(path) as file:
            if digest(file, checksum) != checksum:
                raise ValueError(
                    f"{path} does not have the published {kind(checksum)} {checksum}: it is "
                    "damaged or of another data set. Delete it, or name another folder as root."
                )
        return path

    def _wanted(self, name: str) -> str:
        return f"{name}.gz" if f"{name}.gz" in self.checksums else name
