"""Files from the network: checked by hash, resumed where they broke off, placed in one step."""

import hashlib
import os
from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

__all__ = ["digest", "download", "kind"]

CHUNK = 1 << 18  # bytes
TIMEOUT = 30  # seconds without an answer
RANGE_NOT_SATISFIABLE = 416


def kind(checksum: str) -> str:
    """Return which checksum a string is, by its length: "SHA-256" or "MD5"."""
    return {64: "SHA-256", 32: "MD5"}[len(checksum)]


def digest(file: IO[bytes], like: str) -> str:
    """Return the checksum of a file's bytes, in hexadecimal, of the kind that `like` is."""
    digest = hashlib.new(kind(like).replace("-", ""))
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def download(urls: Sequence[str], path: Path, checksum: str) -> None:
    """Download a file from the first of `urls` that has it, unless it is at `path` already.

    The bytes go to `<path>.part`, which a later call goes on with, and only a complete file with
    the right checksum (SHA-256, or MD5 where no other is on record) gets the name `path`.

    Raises:
        OSError: If no url gave the file; says what was tried, and where to put the file by hand.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A second process that wants the same file waits here, and then finds it.
    with FileLock(f"{path}.lock"):
        if not path.exists():
            _first_of(urls, path, checksum)


def _first_of(urls: Sequence[str], path: Path, checksum: str) -> None:
    part = path.with_name(f"{path.name}.part")
    failures = []
    for url in urls:
        failure = _attempt(url, part, checksum)
        if failure is None:
            os.replace(part, path)
            return
        failures.append(f"\n  {url}: {failure}")
    raise OSError(
        f"{path.name} could not be downloaded. Tried:{''.join(failures)}\n"
        "Run again to go on where it broke off, or get the file by other means and put it at "
        f"{path} ({kind(checksum)} {checksum})."
    )


def _attempt(url: str, part: Path, checksum: str) -> Exception | None:
    try:
        _fetch(url, part, checksum)
    except (OSError, HTTPException) as error:
        return error
    return None


def _fetch(url: str, part: Path, checksum: str) -> None:
    start = part.stat().st_size if part.exists() else 0
    try:
        _transfer(url, part, start)
    except HTTPError as error:
        if error.code != RANGE_NOT_SATISFIABLE:
            raise
        # There is nothing beyond `start`: the part is complete, or of another file.
    with part.open("rb") as file:
        received = digest(file, checksum)
    if received == checksum:
        return
    part.unlink()
    if not start:
        raise OSError(f"the file there does not have the {kind(checksum)} {checksum}")
    _fetch(url, part, checksum)


def _transfer(url: str, part: Path, start: int) -> None:
    request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urlopen(request, timeout=TIMEOUT) as response:
        resumes = response.status == 206
        with part.open("ab" if resumes else "wb") as file:
            expected = int(response.headers.get("Content-Length", 0))
            received = _copy(response, file.write, part.stem, expected)
    if received < expected:
        raise OSError(f"the connection broke after {received} of {expected} bytes")


def _copy(response: HTTPResponse, write: Callable[[bytes], int], name: str, expected: int) -> int:
    received = 0
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns) as progress:
        task = progress.add_task(name, total=expected or None)
        while chunk := response.read(CHUNK):
            received += write(chunk)
            progress.advance(task, len(chunk))
    return received
