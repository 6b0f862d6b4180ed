"""Codes and lines that are kept in files for temporary files, codes in memory if they are few.

What is read of a mapped file is memory of the process until it is let go.
"""

from __future__ import annotations

import contextlib
import mmap
import tempfile
import weakref
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.errors import NoRoomError

Codes = NDArray[np.unsignedinteger]

#: bytes of a spool that are kept in memory
KEPT_BYTES = 64 << 20
#: codes of a block that is read from an array, and how many of these stay in memory
BLOCK, MAPPED_BLOCKS = 1 << 20, 16


class Spool:
    """Blocks of codes in the order in which they were appended; each may have a type of its own.

    Small blocks that follow one another are read as one. The file lies in the folder for temporary
    files (`TMPDIR`), and goes with the process.

    All methods raise `NoRoomError` if that folder cannot take what is written.
    """

    def __init__(self) -> None:
        self._kept = KEPT_BYTES
        self._file = tempfile.SpooledTemporaryFile(self._kept)  # noqa: SIM115
        weakref.finalize(self, _close, self._file)
        self._kinds: list[tuple[np.dtype[np.unsignedinteger], int]] = []
        self._bytes = 0

    def append(self, codes: Codes) -> None:
        """Write one more block."""
        with needing_room():
            self._file.write(codes.tobytes())
        self._bytes += codes.nbytes
        if self._kinds:
            kind, count = self._kinds[-1]
            if kind == codes.dtype and count + len(codes) <= BLOCK:
                self._kinds[-1] = (kind, count + len(codes))
                return
        self._kinds.append((codes.dtype, len(codes)))

    def __iter__(self) -> Iterator[Codes]:
        """The blocks from the first on; nothing may be appended before the last is read."""
        with needing_room():  # what is buffered is written
            self._file.seek(0)
        for kind, count in self._kinds:
            yield np.frombuffer(self._file.read(count * kind.itemsize), kind)

    def joined(self) -> Codes:
        """All codes, `<unsigned>[codes]`; their blocks, at least one, must be of one type."""
        (kind,) = {kind for kind, _ in self._kinds}
        if self._bytes <= self._kept:
            self._file.seek(0)
            return np.frombuffer(self._file.read(), kind)
        with needing_room():
            self._file.flush()
        return np.memmap(self._file, kind, mode="r")


def _close(file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # what is still buffered is wanted no more
        file.close()


@contextlib.contextmanager
def needing_room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        folder = tempfile.tempdir or "the folder for temporary files"
        raise NoRoomError(
            f"{folder}: {error.strerror or error}, expected room for all symbols of the data; "
            f"TMPDIR names another folder"
        ) from None


def blocks(codes: Codes) -> Iterator[Codes]:
    """Views of all of an array in order; what was read of a mapped file does not stay in memory."""
    for number, begin in enumerate(range(0, len(codes), BLOCK)):
        if number % MAPPED_BLOCKS == 0:
            let_go(codes)
        yield codes[begin : begin + BLOCK]
    let_go(codes)


def let_go(codes: Codes) -> None:
    """Let memory go that holds what was read of a mapped file; it is read again when needed."""
    base: object = codes
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


class Texts:
    """Lines in a file for temporary files, which goes with this value; others may have copies."""

    def __init__(self) -> None:
        with needing_room():
            self._file = tempfile.NamedTemporaryFile(prefix="lstm-sweep-", delete=False)  # noqa: SIM115
        self._path = Path(self._file.name)
        self._begins = array("q", [0])
        weakref.finalize(self, _remove, self._file)

    def append(self, line: str) -> int:
        """Write one more line; its number."""
        with needing_room():
            written = self._file.write(line.encode("utf-8", "replace"))
        self._begins.append(self._begins[-1] + written)
        return len(self._begins) - 2

    def extend_last(self, line: str) -> None:
        """Go on with the last line, after a line end."""
        with needing_room():
            self._begins[-1] += self._file.write(b"\n" + line.encode("utf-8", "replace"))

    def __len__(self) -> int:
        return len(self._begins) - 1

    def __iter__(self) -> Iterator[str]:
        self._flush()
        with self._path.open("rb") as file:
            for begin, end in zip(self._begins, self._begins[1:], strict=False):
                yield file.read(end - begin).decode()

    def __getitem__(self, number: int) -> str:
        self._flush()
        begin, end = self._begins[number], self._begins[number + 1]
        with self._path.open("rb") as file:
            file.seek(begin)
            return file.read(end - begin).decode()

    def __getstate__(self) -> dict[str, Any]:
        self._flush()
        return {"_path": self._path, "_begins": self._begins, "_file": None}

    def _flush(self) -> None:
        if self._file:
            with needing_room():
                self._file.flush()


def _remove(file: Any) -> None:
    with contextlib.suppress(OSError):
        file.close()
    with contextlib.suppress(OSError):
        Path(file.name).unlink()
