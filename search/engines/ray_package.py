"""A package of files for a job on a Ray cluster: a ZIP that is the same for the same content."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lstm_sweep.models.errors import InputError

#: the oldest time that a ZIP can hold: files have none of their own, so that a package has no time
NO_TIME = (1980, 1, 1, 0, 0, 0)
#: bytes that are copied at once
BLOCK = 1 << 20


@dataclass(frozen=True)
class Package:
    """A package on this machine."""

    #: fingerprint of its content, 32 hexadecimal digits
    digest: str
    file: IO[bytes]
    size: int

    @property
    def name(self) -> str:
        """Its name among the packages of a Ray cluster."""
        return f"_ray_pkg_{self.digest}.zip"


class TooLargeError(Exception):
    """The files are too many for a package."""


@contextmanager
def packed(files: Mapping[str, Path | bytes], limit: int) -> Iterator[Package]:
    """A package of files by their names in it; it is deleted afterwards.

    Raises:
        TooLargeError: it would have `limit` bytes or more.
        InputError: a file cannot be read.
    """
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(files):
                _add(archive, name, files[name], limit)
        size = file.seek(0, 2)
        if size >= limit:
            raise TooLargeError
        file.seek(0)
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        file.seek(0)
        yield Package(digest, file, size)


def _add(archive: zipfile.ZipFile, name: str, content: Path | bytes, limit: int) -> None:
    entry = zipfile.ZipInfo(name, NO_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    with archive.open(entry, "w", force_zip64=True) as into:
        for block in _blocks(content):
            into.write(block)
            if archive.fp is not None and archive.fp.tell() >= limit:
                raise TooLargeError


def _blocks(content: Path | bytes) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    try:
        with contextlib.closing(content.open("rb")) as source:
            while block := source.read(BLOCK):
                yield block
    except OSError as error:
        raise InputError(f"{content}: {error.strerror}, expected a readable file") from None
