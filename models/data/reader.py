"""Reads files of text and of event IDs, packed ones too, into symbols.

What is in a file of data, block by block: unpacked, and with one kind of line end.

Everything that reads symbols reads files by `blocks_of`, so that a file and its gzip are the same
corpus, and a text that was written on Windows is the same as one that was not.

Provisional codes count symbols in the order of their first appearance. No Python object is created
per symbol: a block of a megabyte becomes an array of numbers and then of codes.
"""

from __future__ import annotations

import codecs
import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.data.source import Sample, is_confined, open_data
from lstm_sweep.models.data.spool import Spool
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
    #: tables whose first lines are headers
    headers: int = 0

    def __str__(self) -> str:
        files = "a gzip file is" if self.unpacked == 1 else f"{self.unpacked} gzip files are"
        said = [f"{files} unpacked"] if self.unpacked else []
        said += ["the first line of a table is its header"] if self.headers else []
        return "; ".join([*said, *(["CR LF is read as LF"] if self.line_ends else [])])


def blocks_of(path: Path, noted: Noted | None = None) -> Iterator[bytes]:
    """The bytes of a file in blocks, without a byte order mark; a line ends with LF.

    A gzip file is unpacked. CR LF, and a CR alone, are LF. What was done is added to `noted`.
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
    """Refuse a file that begins as packed files, archives or UTF-16 do."""
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


#: numbers below this are converted by a table, which sorts nothing
TABLE_SIZE = 1 << 21
#: largest number of digits of an event id, so that it fits into 64 bits
ID_DIGITS = 18
#: bytes by which it is guessed what symbols are
HEAD_BYTES = 1 << 16
#: share of NUL bytes of a text, at most
MOST_NULS = 0.01
#: what separates columns, and lines with as many of them by which a table is known
SEPARATORS, TABLE_LINES = "\t;,", 10
#: a time, within so many bytes of a line, and lines that are looked at for it
TIME, TIME_WITHIN, LOG_LINES = re.compile(rb"\d\d:\d\d:\d\d"), 40, 50
#: bytes between two ids, and of a word that is no id, whatever follows
BLANKS, LONG_WORD = b" \n\t\r\v\f", 64


@dataclass
class Sequences:
    """Symbols of all sessions, concatenated, as provisional codes."""

    blocks: Spool = field(default_factory=Spool)
    length: int = 0
    #: index of the first symbol of each file, and of each line if lines are sessions
    file_starts: list[int] = field(default_factory=list)
    line_starts: list[NDArray[np.int64]] = field(default_factory=list)
    #: whether a session is a line rather than a file
    lines_are_sessions: bool = False
    #: what was done to the files that were read
    noted: Noted = field(default_factory=Noted)
    #: code of each number, which is the code point of a character, or an event id
    _code_of: dict[int, int] = field(default_factory=dict)

    @property
    def values(self) -> list[int]:
        """Number of each code."""
        return [*self._code_of]

    def start_file(self) -> None:
        """Let the next symbol begin a new file; a file without symbols has no session."""
        self.file_starts.append(self.length)

    def append(self, numbers: NDArray[np.integer]) -> None:
        """Append non-negative numbers `<integer>[n]` to the current file."""
        if not len(numbers):
            return
        codes = self._codes(numbers)
        self.blocks.append(codes.astype(smallest_type(len(self._code_of))))
        self.length += len(numbers)

    def _codes(self, numbers: NDArray[np.integer]) -> NDArray[np.uint32]:
        most = int(numbers.max())
        if most >= min(TABLE_SIZE, 64 * len(numbers) + 1024):
            distinct, inverse = np.unique(numbers, return_inverse=True)
            return self._codes_of(distinct)[inverse]
        distinct, table = np.flatnonzero(np.bincount(numbers)), np.empty(most + 1, np.uint32)
        table[distinct] = self._codes_of(distinct)
        codes: NDArray[np.uint32] = table[numbers]
        return codes

    def _codes_of(self, distinct: NDArray[np.integer]) -> NDArray[np.uint32]:
        known = self._code_of
        return np.array([known.setdefault(one, len(known)) for one in distinct.tolist()], np.uint32)

    def session_starts(self) -> NDArray[np.int64]:
        """Index of the first symbol of each session that has symbols, ascending."""
        files = np.array(self.file_starts, np.int64)
        starts = np.concatenate([files, *self.line_starts])
        starts.sort(kind="stable")  # in place, and at once where they ascend, as those of a log do
        first = starts < self.length
        first[1:] &= starts[1:] != starts[:-1]
        return starts[first]


def smallest_type(size: int) -> type[np.unsignedinteger]:
    """The smallest type that has room for codes from 0 up to and without `size`."""
    return np.uint8 if size <= 1 << 8 else np.uint16 if size <= 1 << 16 else np.uint32


def read_symbols(
    symbols: str, files: Iterable[Path | Sample], words: Words, into: Sequences
) -> None:
    """Read files or samples as `chars`, `words` or `ids`; one is a session, or lines of ids are."""
    of_text = words.numbers if symbols == "words" else code_points
    for file in files:
        if isinstance(file, Sample):
            for session in file.sessions():
                into.start_file()
                into.append(of_text(session) if isinstance(session, str) else session)
            continue
        into.start_file()
        if symbols == "ids":
            _read_ids(file, into)
        elif symbols == "words":
            _read_words(file, words, into)
        else:
            for block in decoded(file, into.noted):
                into.append(code_points(block))


class Words(dict[str, int]):
    """Numbers of words, in the order of their first appearance."""

    def __init__(self, split: Callable[[str], list[str]]) -> None:
        self._split = split

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number

    def numbers(self, text: str) -> NDArray[np.int64]:
        """The numbers of the words of a text, `<int64>[words]`."""
        return np.array([*map(self.__getitem__, self._split(text))], np.int64)


def _read_words(path: Path, words: Words, into: Sequences) -> None:
    rest = ""
    for block in decoded(path, into.noted):
        text = rest + block
        *whole, rest = text.rsplit(maxsplit=1) if text and not text[-1].isspace() else (text, "")
        if len(rest) > BLOCK_BYTES:  # a word without end
            whole, rest = [text], ""
        into.append(words.numbers("".join(whole)))
    into.append(words.numbers(rest))


def code_points(text: str) -> NDArray[np.uint32]:
    """Unicode code points of a text, `<uint32>[characters]`."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def decoded(path: Path, noted: Noted) -> Iterator[str]:
    """The text of a file in UTF-8, in blocks."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    for block in blocks_of(path, noted):
        try:
            yield decoder.decode(block)
        except UnicodeDecodeError as error:
            _refuse_bytes(path, line, error)
        line += block.count(b"\n")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        _refuse_bytes(path, line, error)


def _refuse_bytes(path: Path, line: int, error: UnicodeDecodeError) -> None:
    line += error.object[: error.start].count(b"\n")
    found = "another byte" if is_confined() else f"the byte 0x{error.object[error.start]:02x}"
    raise InputError(f"{path}:{line}: found {found}, expected text in UTF-8") from None


def _read_ids(path: Path, into: Sequences) -> None:
    """Read a file of event ids, without blank lines.

    If no line of any file has more than one id, each file is a session, otherwise each line is.
    """
    last_line = 0
    for block, first_line in _whole_words(path, into.noted):
        numbers, lines = _parse_ids(block, path, first_line)
        if not len(numbers):
            continue
        heads = np.flatnonzero(np.diff(lines, prepend=last_line))
        last_line = int(lines[-1])
        if len(heads) < len(lines) and not into.lines_are_sessions:
            into.lines_are_sessions = True
            into.line_starts.append(np.arange(into.length))  # each had a line so far
        if into.lines_are_sessions:
            into.line_starts.append(heads + into.length)
        into.append(numbers)


def _whole_words(path: Path, noted: Noted) -> Iterator[tuple[bytes, int]]:
    """Blocks of a file that end between two ids, and the number of the line that each begins in."""
    line, rest = 1, b""
    for read in blocks_of(path, noted):
        block = rest + read
        end = 1 + max(block.rfind(blank) for blank in BLANKS)
        if not end and len(block) > LONG_WORD:
            end = len(block)  # it is refused
        block, rest = block[:end], block[end:]
        yield block, line
        line += block.count(b"\n")
    yield rest, line


def _parse_ids(
    block: bytes, path: Path, first_line: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Parse a block of whole ids into these and the line number of each, both `<int64>[ids]`."""
    raw = np.frombuffer(block, np.uint8)
    digit = (raw >= ord("0")) & (raw <= ord("9"))
    blank = (raw == ord(" ")) | ((raw >= ord("\t")) & (raw <= ord("\r")))
    edges = np.flatnonzero(np.diff(digit, prepend=False, append=False))
    begins, ends = edges[::2], edges[1::2]
    if not (digit | blank).all() or (len(begins) and (ends - begins).max() > ID_DIGITS):
        _refuse_id(block, path, first_line)
    if not len(begins):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    places = np.flatnonzero(digit)
    lengths = ends - begins
    exponents = np.repeat(ends, lengths) - 1 - places
    worth = (raw[places] - ord("0")).astype(np.int64) * np.power(10, exponents, dtype=np.int64)
    numbers = np.add.reduceat(worth, np.cumsum(lengths) - lengths)
    newlines = np.cumsum(raw == ord("\n"))
    return numbers, first_line + newlines[begins]


def _refuse_id(block: bytes, path: Path, first_line: int) -> None:
    for number, line in enumerate(block.split(b"\n"), start=first_line):
        for token in line.split():
            if not re.fullmatch(rb"[0-9]{1,18}", token):
                hint = _column_hint(path, separator) if (separator := _separator(line)) else ""
                raise InputError(
                    f"{path}:{number}: found {_shown(token)}, expected an event id: an integer "
                    f"from 0 of at most {ID_DIGITS} digits{hint and f'; {hint}'}"
                )
    raise InputError(f"{path}:{first_line}: found a control byte, expected event ids")


def _shown(token: bytes) -> str:
    """A word of a file for a message; not what it says where that is read for others."""
    if is_confined():
        return "another word"
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return f"the byte 0x{next(byte for byte in token if byte > 127):02x}"
    return repr(text if len(text) <= 40 else text[:40] + "...")


@dataclass(frozen=True)
class Guess:
    """The likely kind of symbols of a file, `chars` or `ids`, and the reason."""

    symbols: str
    reason: str
    #: what the user may have wanted instead; empty if nothing speaks for it
    hint: str = ""


def guess_symbols(path: Path) -> Guess:
    """Guess from the first 64 KiB of a file whether its symbols are characters or event ids.

    They are ids if at least half of all words are numbers. Other words are then errors in the file.
    """
    head = _head(path)
    if b"\0" in head:
        _refuse_nul(path, head)
    tokens = head.split()
    numeric = [bool(re.fullmatch(rb"[-+]?[0-9]+(\.[0-9]*)?", token)) for token in tokens]
    share = sum(numeric) / max(1, len(numeric))
    if tokens and share >= 0.5:
        return Guess("ids", f"{share:.0%} of the words at the head of {path.name} are numbers")
    if not tokens:
        return Guess("chars", f"the head of {path.name} is white space")
    odd = tokens[numeric.index(False)][:60].decode(errors="ignore")[:20]
    such = "" if is_confined() else f", such as {odd!r}"
    separator = _table_separator(path, head)
    return Guess(
        "chars",
        f"{path.name} has words that are no numbers{such}",
        f"it looks like a table: {_column_hint(path, separator)}" if separator else _log_hint(head),
    )


def _log_hint(head: bytes) -> str:
    """What is likely wanted of a text of which most lines begin with a time; else empty."""
    lines = [line[:TIME_WITHIN] for line in head.split(b"\n") if line.strip()][:LOG_LINES]
    if len(lines) < TABLE_LINES or 2 * sum(map(bool, map(TIME.search, lines))) < len(lines):
        return ""
    return (
        "it looks like a log: --symbols lines takes its lines, with --header and --session-by such "
        r"as '\S+ \S+ ' and 'request=(\w+)'"
    )


def _head(path: Path) -> bytes:
    """The first bytes of a file, up to the end of a line if there is one."""
    head = b""
    for block in blocks_of(path):
        head += block
        if len(head) > HEAD_BYTES:
            return head[: head.rfind(b"\n", 0, HEAD_BYTES) + 1] or head[:HEAD_BYTES]
    return head


def _refuse_nul(path: Path, head: bytes) -> None:
    """Refuse a file with a NUL byte; only of a text it is said how to take it for a character."""
    line = head[: head.index(b"\0")].count(b"\n") + 1
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
        is_text = head.count(b"\0") <= len(head) * MOST_NULS
    except UnicodeDecodeError:
        is_text = False
    found = f"{path}:{line}: found the byte 0x00, as binary files have, expected text or event ids"
    if is_text:
        raise InputError(f"{found}; --symbols chars takes it for a character")
    raise InputError(found)


def _table_separator(path: Path, head: bytes) -> str:
    """What separates the columns of a table, by the name of the file or its lines; else empty."""
    lines = [line for line in head.split(b"\n") if line.strip()][:TABLE_LINES]
    if len(lines) < 2 or not (
        len(lines) >= TABLE_LINES or {".csv", ".tsv"} & {one.lower() for one in path.suffixes}
    ):
        return ""
    separator = "" if lines[0][:1] in (b"{", b"[") else _separator(lines[0])  # as JSON begins
    counts = {line.count(separator.encode()) for line in lines} if separator else {0}
    return separator if len(counts) == 1 and counts != {0} else ""


def _separator(line: bytes) -> str:
    return next((one for one in SEPARATORS if one.encode() in line), "")


def _column_hint(path: Path, separator: str) -> str:
    """How to get a file of ids from a table."""
    by = "" if separator == "\t" else f" -d'{separator}'"
    cat = f"zcat {path.name}" if path.suffix == ".gz" else f"cat {path.name}"
    return (
        f"of a table one column with event ids is wanted, in a file of its own, such as the second "
        f"one without its head: {cat} | tail -n +2 | cut{by} -f2 > ids.txt"
    )
