"""`Sessions`: sessions of new data, read by the alphabet of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.data.alphabet import END, END_NAME, UNKNOWN, Alphabet
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.log_lines import UNMATCHED, LineFormat, Log, read_log, short_name
from lstm_sweep.models.data.reader import (
    Sequences,
    Words,
    read_symbols,
)
from lstm_sweep.models.data.source import SAMPLES, all_files, existing
from lstm_sweep.models.data.spool import Codes
from lstm_sweep.models.errors import InputError, shown

#: what stands between a file and the number of its session
NUMBERED = ", session "


@dataclass(frozen=True)
class Sessions:
    """Sessions of new data, concatenated."""

    #: symbols as codes of the alphabet
    split: Split
    #: original symbols as indices into `symbols`, `<uint8|uint16|uint32>[symbols]`; one may be
    #: `<end>`
    indices: Codes
    symbols: tuple[str | int, ...]
    #: file of each session as an index into `files`, `<int64>[sessions]`
    of_file: NDArray[np.int64]
    files: tuple[str, ...]
    #: whether a file may have several sessions
    several: bool
    #: whether the end of each is a symbol
    ends: bool
    #: records of a log; None: symbols are characters or event ids
    log: Log | None = None
    lines: LineFormat | None = None

    def __len__(self) -> int:
        return len(self.split.starts)

    @property
    def names(self) -> list[str]:
        return [self.name(session) for session in range(len(self))]

    def name(self, session: int) -> str:
        """Name of a session for users: its file and, if that has several, its number in it."""
        if self.lines and self.lines.session_by:
            head, _, _ = self.text(int(self.split.starts[session])).partition("\n")
            return short_name(self.lines.session()(head) or "")
        return name_in_file(self.files, self.of_file, session, several=self.several)

    def drawn_by(self, session: int) -> str:
        """The name that its verdict may hang on: of one file as of a stream, which has no file."""
        name = self.name(session)
        return number_of(name) if self.numbered else name

    @property
    def numbered(self) -> bool:
        """Whether the number of a session says which it is: all are in one file, without names."""
        return len(self.files) == 1 and not (self.lines and self.lines.session_by)

    def read(self, begin: int, end: int) -> list[str | int]:
        """Original symbols from `begin` up to and without `end`, unknown ones included."""
        return [self.symbols[index] for index in self.indices[begin:end]]

    def text(self, place: int) -> str:
        """The symbol at a place as its data have it: of a log the whole record."""
        symbol = str(self.symbols[self.indices[place]])
        if self.log is None or self.log.texts is None or symbol == END_NAME:
            return symbol
        session = int(np.searchsorted(self.split.starts, place, side="right")) - 1
        record = place - session if self.ends else place
        return self.log.texts[int(self.log.places[record])]

    @property
    def noted(self) -> str:
        """What was done to the data, for people; empty if nothing was."""
        if self.log is None:
            return ""
        unmatched = int((self.split.codes == UNKNOWN).sum())
        said = [f"{unmatched:,} records match no template"] if unmatched else []
        return "; ".join([*said, *filter(None, [str(self.log.counts), str(self.log.noted)])])


def number_of(name: str) -> str:
    """The number of a session that is named by its file and that; another name as it is."""
    return name.rpartition(NUMBERED)[2]


def name_in_file(
    files: Sequence[str], of_file: NDArray[np.int64], session: int, *, several: bool
) -> str:
    """Name of a session by its file and, if that may have several, its number in it."""
    file = int(of_file[session])
    first = int(np.searchsorted(of_file, file))
    return f"{files[file]}{NUMBERED}{session - first + 1}" if several else files[file]


T = TypeVar("T")


def labels_of(
    given: str, known: Mapping[str, T], names: Sequence[str], *, numbered: bool
) -> list[T | None]:
    """Labels of sessions with these names, or by their numbers from 1 if they are `numbered`."""
    short = {short_name(name): label for name, label in known.items()}
    found = [short.get(short_name(name)) for name in names]
    if numbered:
        found = [known.get(str(number)) if label is None else label
                 for number, label in enumerate(found, start=1)]  # fmt: skip
    if all(label is None for label in found):
        raise InputError(
            f"--labels {shown(given)}: names none of the sessions, expected names such as "
            f"{shown(names[0])}"
        )
    return found


def read_sessions(data: str, alphabet: Alphabet, *, ends: bool = False) -> Sessions:
    """Read a sample, a file or a folder as one split, all files of a folder included.

    Symbols that the alphabet does not have get the code `UNKNOWN`. With `ends`, which the alphabet
    must have, the end of each session is a symbol.
    """
    sequences = Sequences()
    log: Log | None = None
    symbols: tuple[str | int, ...] = ()
    words = Words(alphabet.words.split if alphabet.words else list)
    sample, paths, files = SAMPLES.get(data), list[Path](), [data]
    if sample:
        _check_sample(data, alphabet)
    else:
        path = existing(data)
        paths = all_files(path)
        files = [one.name if one == path else str(one.relative_to(path)) for one in paths]
    if alphabet.lines:
        log = read_log({"all": [sample] if sample else paths}, alphabet.lines, keep_texts=True)
        for numbers in log.numbers([str(one) for one in alphabet.symbols], alphabet.lines):
            sequences.append(numbers)
        sequences.line_starts.append(log.starts)
        names = (*alphabet.symbols, UNMATCHED)
        symbols = tuple(names[value] for value in sequences.values)
    else:
        read_symbols(alphabet.kind, [sample] if sample else paths, words, sequences)
    file_starts = [0] if sample else sequences.file_starts
    several = bool(sample) or sequences.lines_are_sessions
    if not sequences.length:
        raise InputError(f"data {shown(data)}: found no symbols, expected some")
    starts = sequences.session_starts()
    indices = np.concatenate(list(sequences.blocks))
    if alphabet.words:
        texts = [*words]
        symbols = tuple(texts[value] for value in sequences.values)
    elif not log:
        symbols = tuple(map(chr, sequences.values) if alphabet.is_text else sequences.values)
    codes = alphabet.encode(symbols).astype(np.uint32)
    read = Split(indices, starts)
    if ends:
        symbols, codes = (*symbols, END_NAME), np.append(codes, np.uint32(END))
        read = Split(indices.astype(np.uint32), starts).with_ends(len(symbols) - 1)
    # a file without symbols has the same start as the next one, and no session
    of_file = np.searchsorted(np.array(file_starts), starts, side="right") - 1
    return Sessions(
        Split(codes[read.codes], read.starts),
        read.codes,
        symbols,
        log.files if log else of_file,
        tuple(files),
        several,
        ends,
        log,
        alphabet.lines,
    )


def _check_sample(name: str, alphabet: Alphabet) -> None:
    expected = "chars" if alphabet.words else alphabet.kind
    if (symbols := SAMPLES[name].symbols) != expected:
        words = {"chars": "characters", "ids": "event ids"}.get(expected, expected)
        raise InputError(f"sample {name} has {symbols}, the network expects {words}")
