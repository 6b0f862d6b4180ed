"""Codes that are written block by block, in memory if they are few, else in a file without a name.

What is read of a mapped file is memory of the process until it is let go.
"""

from __future__ import annotations

import contextlib
import mmap
import tempfile
import weakref
from collections.abc import Iterator
from typing import IO

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
