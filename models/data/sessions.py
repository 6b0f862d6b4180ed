"""Reads new data for an existing network: sessions in the codes of its alphabet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.data.alphabet import END, END_NAME, Alphabet
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.reader import Sequences, code_points, read_ids, read_text
from lstm_sweep.models.data.samples import SAMPLES
from lstm_sweep.models.data.source import all_files, existing
from lstm_sweep.models.data.spool import Codes
from lstm_sweep.models.errors import InputError, shown


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

    def __len__(self) -> int:
        return len(self.split.starts)

    def name(self, session: int) -> str:
        """Name of a session for users: its file and, if that has several, its number in it."""
        file = int(self.of_file[session])
        if not self.several:
            return self.files[file]
        first = int(np.searchsorted(self.of_file, file))
        return f"{self.files[file]}, session {session - first + 1}"

    def read(self, begin: int, end: int) -> list[str | int]:
        """Original symbols from `begin` up to and without `end`, unknown ones included."""
        return [self.symbols[index] for index in self.indices[begin:end]]


def read_sessions(data: str, alphabet: Alphabet, *, ends: bool = False) -> Sessions:
    """Read a sample, a file or a folder as one split, all files of a folder included.

    Symbols that the alphabet does not have get the code `UNKNOWN`. With `ends`, which the alphabet
    must have, the end of each session is a symbol.

    Raises:
        InputError: the data cannot be used; the message names the file and the line.
    """
    sequences = Sequences()
    if data in SAMPLES:
        _read_sample(data, alphabet, sequences)
        files, file_starts, several = [data], [0], True
    else:
        path = existing(data)
        paths = all_files(path)
        (read_text if alphabet.is_text else read_ids)(paths, sequences)
        files = [one.name if one == path else str(one.relative_to(path)) for one in paths]
        file_starts, several = sequences.file_starts, sequences.lines_are_sessions
    if not sequences.length:
        raise InputError(f"data {shown(data)}: found no symbols, expected some")
    starts = sequences.session_starts()
    indices = np.concatenate(list(sequences.blocks))
    symbols: tuple[str | int, ...] = tuple(sequences.values)
    if alphabet.is_text:
        symbols = tuple(map(chr, sequences.values))
    codes = alphabet.encode(symbols).astype(np.uint32)
    read = Split(indices, starts)
    if ends:
        symbols, codes = (*symbols, END_NAME), np.append(codes, np.uint32(END))
        read = Split(indices.astype(np.uint32), starts).with_ends(len(symbols) - 1)
    return Sessions(
        Split(codes[read.codes], read.starts),
        read.codes,
        symbols,
        # a file without symbols has the same start as the next one, and no session
        np.searchsorted(np.array(file_starts), starts, side="right") - 1,
        tuple(files),
        several,
        ends,
    )


def _read_sample(name: str, alphabet: Alphabet, into: Sequences) -> None:
    sample = SAMPLES[name]
    if (sample.symbols == "chars") != alphabet.is_text:
        expected = "characters" if alphabet.is_text else "event ids"
        raise InputError(f"sample {name} has {sample.symbols}, the network expects {expected}")
    for session in sample.sessions():
        into.start_file()
        into.append(code_points(session) if isinstance(session, str) else session)
