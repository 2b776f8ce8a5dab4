"""Archives unpacked with nothing left to them: no way out, no links, no more bytes than allowed."""

import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Protocol

from filelock import FileLock

__all__ = ["unpack"]

DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression that zipfile does not have
    RuntimeError,  # a password is needed
)


@dataclass(frozen=True)
class _Member:
    """A file or a folder of an archive."""

    name: str
    size: int
    is_folder: bool
    is_plain: bool  # neither a link nor a device


class _Archive(Protocol):
    members: list[_Member]

    def open(self, name: str) -> IO[bytes]: ...


def unpack(archive: Path, folder: Path, limit: int) -> None:
    """Unpack a zip or tar archive, compressed or not, to a folder that is not there yet.

    All members are looked at before the first is written; the folder gets its name when it is
    complete. A folder that is there is left as it is.

    Args:
        archive: The archive.
        folder: Where its members go.
        limit: The most bytes that they may have together.

    Raises:
        ValueError: If the archive is damaged or of another format, if it has more bytes, or if a
            member is a link or a device, or has a name that leads out of the folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A second process that wants the same folder waits here, and then finds it.
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            _unpack(archive, folder, limit)


def _unpack(archive: Path, folder: Path, limit: int) -> None:
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    try:
        with _opened(archive) as members:
            for member in members.members:
                _check(archive, member)
            _check_size(archive, sum(member.size for member in members.members), limit)
            _write(members, part)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _opened(path: Path) -> Iterator[_Archive]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                yield _Zip(file)
        else:
            with tarfile.open(path) as tar:
                yield _Tar(tar)
    except DAMAGED as error:
        raise ValueError(
            f"{path} cannot be unpacked ({error}): it is damaged, or neither a zip nor a tar "
            "archive. Fetch it again."
        ) from error


class _Zip:
    def __init__(self, file: zipfile.ZipFile) -> None:
        self.open = file.open
        self.members = [
            # The upper half of external_attr is the mode, where the archive comes from Unix.
            _Member(m.filename, m.file_size, m.is_dir(), not stat.S_ISLNK(m.external_attr >> 16))
            for m in file.infolist()
        ]


class _Tar:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.members = [
            _Member(m.name, m.size, m.isdir(), m.isreg() or m.isdir()) for m in tar.getmembers()
        ]

    def open(self, name: str) -> IO[bytes]:
        file = self._tar.extractfile(name)
        assert file is not None, "only plain files are opened"
        return file


def _check(archive: Path, member: _Member) -> None:
    if not member.is_plain:
        raise ValueError(f"{archive} has {member.name!r}, a link or a device: it is not unpacked.")
    # As Windows reads them too: a drive letter or a backslash leads out there.
    parts = {*PurePosixPath(member.name).parts, *PureWindowsPath(member.name).parts}
    escapes = ".." in parts or "\0" in member.name or PureWindowsPath(member.name).drive
    if escapes or member.name.startswith(("/", "\\")):
        raise ValueError(
            f"{archive} has {member.name!r}, which leads out of its folder: it is not unpacked."
        )


def _check_size(archive: Path, size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(
            f"{archive} unpacks to {size:,} bytes, which is over the limit of {limit:,}: "
            "it is not unpacked. Unpack it by hand if it is what you want."
        )


def _write(members: _Archive, folder: Path) -> None:
    folder.mkdir()
    for member in members.members:
        path = folder / member.name
        if member.is_folder:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        # No more comes out than the archive says, whatever it has.
        with members.open(member.name) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)
