"""What is in a file of data, block by block: unpacked, and with one kind of line end.

Everything that reads symbols reads files by `blocks_of`, so that a file and its gzip are the same
corpus, and a text that was written on Windows is the same as one that was not.
"""

from __future__ import annotations

import codecs
import gzip
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lstm_sweep.models.data.opening import open_data
from lstm_sweep.models.errors import InputError

BLOCK_BYTES = 1 << 20
#: first bytes by which a kind of file is known
HEAD = 1 << 12
GZIP = b"\x1f\x8b"
#: a gzip file unpacks to so many times its size at most, and so many bytes more: logs take a
#: twentieth, lines that are all alike a hundredth; what takes less is made to fill disks
MOST_TIMES, FREE_BYTES = 300, 1 << 26
#: other packed files by their first bytes
PACKED = {
    b"PK\x03\x04": "a zip file",
    b"PK\x05\x06": "a zip file",
    b"\xfd7zXZ\0": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"7z\xbc\xaf\x27\x1c": "packed by 7z",
    b"\x04\x22\x4d\x18": "packed by lz4",
    b"\x1f\x9d": "packed by compress",
    GZIP: "packed by gzip twice",
}
#: bzip2 has a digit between these
BZIP2 = b"BZh", b"1AY&SY"
#: where a tar archive says that it is one
TAR, TAR_AT = b"ustar", 257
#: marks of encodings that are not read; those of UTF-32 begin like those of UTF-16
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
#: share of zeros at every other byte, at least, by which UTF-16 without a mark is known
ZEROS = 0.4


@dataclass
class Noted:
    """What was done to the files of some data, for people."""

    #: whether CR LF or CR was read as LF
    line_ends: bool = False
    #: files that were unpacked
    unpacked: int = 0

    def __str__(self) -> str:
        files = "a gzip file is" if self.unpacked == 1 else f"{self.unpacked} gzip files are"
        said = [f"{files} unpacked"] if self.unpacked else []
        return "; ".join([*said, *(["CR LF is read as LF"] if self.line_ends else [])])


def blocks_of(path: Path, noted: Noted | None = None) -> Iterator[bytes]:
    """The bytes of a file in blocks, without a byte order mark; a line ends with LF.

    A gzip file is unpacked. CR LF, and a CR alone, are LF. What was done is added to `noted`.

    Raises:
        InputError: it is packed in another way, in UTF-16, or a gzip file that is damaged or
            unpacks to far more than logs do.
    """
    noted = noted or Noted()
    with open_data(path) as file:
        packed = file.read(len(GZIP)) == GZIP
        file.seek(0)
        noted.unpacked += packed
        first, held = True, b""
        for read in _unpacked(path, file) if packed else iter(lambda: file.read(BLOCK_BYTES), b""):
            block = held + read
            if first and len(block) < HEAD and len(read) == BLOCK_BYTES:
                held = block  # blocks are smaller than a head, as in tests
                continue
            if first:
                check_head(path, block[:HEAD])
                block = block.removeprefix(codecs.BOM_UTF8)
            first, held = False, b""
            if b"\r" in block:
                noted.line_ends = True
                block, held = (block[:-1], b"\r") if block.endswith(b"\r") else (block, b"")
                block = _with_lf(block)
            yield block
        if first:
            check_head(path, held)
            held = held.removeprefix(codecs.BOM_UTF8)
        noted.line_ends |= b"\r" in held
        yield _with_lf(held)


def _with_lf(block: bytes) -> bytes:
    return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _unpacked(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """Blocks of what is packed in a gzip file."""
    most, size = MOST_TIMES * os.fstat(file.fileno()).st_size + FREE_BYTES, 0
    try:
        with gzip.GzipFile(fileobj=file) as packed:
            while block := packed.read(BLOCK_BYTES):
                size += len(block)
                if size > most:
                    raise InputError(
                        f"{path}: unpacks to more than {MOST_TIMES} times its size, expected a "
                        f"text or event ids; to use it all the same, unpack it before"
                    )
                yield block
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: is a damaged gzip file ({error}), expected a whole one"
        ) from None


def check_head(path: Path, head: bytes) -> None:
    """Refuse a file that begins as packed files, archives or UTF-16 do.

    Raises:
        InputError: it does; the message says what it is, and what to do.
    """
    found = next((what for magic, what in PACKED.items() if head.startswith(magic)), None)
    if head.startswith(BZIP2[0]) and head[4:].startswith(BZIP2[1]):
        found = "packed by bzip2"
    if head[TAR_AT:].startswith(TAR):
        found = "a tar archive"
    if found:
        raise InputError(f"{path}: is {found}, expected text, event ids or a gzip file: unpack it")
    if encoding := _encoding(head):
        raise InputError(
            f"{path}: is text in {encoding}, expected UTF-8: "
            f"`iconv -f {encoding} -t UTF-8` converts it"
        )


def _encoding(head: bytes) -> str:
    """The encoding of a head that is not UTF-8, by its mark or its zeros; empty if none is seen."""
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    for first, encoding in ((0, "UTF-16BE"), (1, "UTF-16LE")):
        zeros, others = head[first::2], head[1 - first :: 2]
        if len(head) > 3 and zeros.count(0) >= ZEROS * len(zeros) and 0 not in others:
            return encoding
    return ""
