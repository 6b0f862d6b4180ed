"""For `ray`: folders as arrays that travel through Ray's object store."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

#: bytes of a large file that travel at once
CHUNK = 1 << 25
#: end of the name of a file that is not complete
PARTIAL = ".partial"


def digest(folder: Path) -> str:
    """Hash of the names and contents of all files of a folder, 32 hexadecimal digits."""
    whole = hashlib.blake2b(digest_size=16)
    for file in _files(folder):
        whole.update(f"{file.name}\0{file.stat().st_size}\0".encode("utf-8", "surrogateescape"))
        for chunk in chunks(file):
            whole.update(chunk.data)
    return whole.hexdigest()


def chunks(file: Path) -> Iterator[Bytes]:
    """The bytes of a file, at most `CHUNK` at once."""
    for offset in range(0, file.stat().st_size, CHUNK):
        yield np.fromfile(file, np.uint8, CHUNK, offset=offset)


def read(folder: Path) -> dict[str, Bytes]:
    """The files of a folder by name, each as `<uint8>[bytes]`; none if there is no such folder."""
    found = {}
    for file in _files(folder):
        if not file.name.endswith(PARTIAL):
            found[file.name] = np.fromfile(file, np.uint8)
    return found


def put(folder: Path, store: Callable[[Bytes], Any]) -> dict[str, list[Any]]:
    """Put the files of a folder into an object store, in chunks; their references by name."""
    return {file.name: [store(chunk) for chunk in chunks(file)] for file in _files(folder)}


def write(folder: Path, files: Mapping[str, Iterable[Bytes]]) -> None:
    """Write files, each from its chunks; a file appears when it is complete.

    Raises:
        OSError: there is no room for them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, parts in files.items():
        partial = folder / f"{Path(name).name}{PARTIAL}"  # a name is no path out of the folder
        try:
            with partial.open("wb") as file:
                for part in parts:
                    file.write(part.data)
            partial.replace(folder / Path(name).name)
        finally:
            partial.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_file())
