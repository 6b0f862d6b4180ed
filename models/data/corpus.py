"""`Corpus`: the user's sequences as arrays of codes, in sessions and splits, with a digest."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.data import alphabet as alphabets
from lstm_sweep.models.data.alphabet import END, END_NAME, PREDICTED, UNKNOWN, Alphabet
from lstm_sweep.models.data.log_lines import (
    LineFormat,
    format_of,
    read_log,
    symbols_of,
)
from lstm_sweep.models.data.reader import (
    Noted,
    Sequences,
    Words,
    guess_symbols,
    read_symbols,
    smallest_type,
)
from lstm_sweep.models.data.source import (
    OF_LABELLED,
    SAMPLES,
    SPLITS,
    VOCABULARY,
    Sample,
    Source,
    existing,
    file_groups,
)
from lstm_sweep.models.data.spool import Codes, Spool, blocks
from lstm_sweep.models.data.tables import suffix_of
from lstm_sweep.models.errors import InputError, shown

#: a boundary between splits is moved to the nearest start of a session, at most by this share of
#: the corpus, and at most by a quarter of the smallest split
SESSION_SNAP = 0.02
#: sessions are units of their own if at least so many end in the training data: of two files in
#: which one log goes on, say, no end says anything
FEWEST_ENDS = 2


@dataclass(frozen=True)
class Split:
    """A part of a corpus: the codes of its sessions, concatenated."""

    #: `<uint8|uint16|uint32>[symbols]`
    codes: Codes
    #: index of the first symbol of each session, `<int64>[sessions]`
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def unknown(self) -> NDArray[np.int64]:
        """Positions of the symbols that training data do not have, `<int64>[n]`, ascending."""
        found, place = [np.empty(0, np.int64)], 0
        for block in blocks(self.codes):
            found.append(np.flatnonzero(block == UNKNOWN) + place)
            place += len(block)
        return np.concatenate(found)

    @property
    def session_lengths(self) -> NDArray[np.int64]:
        """Number of symbols of each session, `<int64>[sessions]`."""
        return np.diff(self.starts, append=len(self.codes))

    def heads(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of the first symbols of the sessions that `positions` are in, of its shape."""
        return self.starts[np.searchsorted(self.starts, positions, side="right") - 1]

    def part(self, begin: int, end: int) -> Self:
        """The symbols from `begin` up to and without `end`; a session may be divided by them."""
        inside = self.starts[(self.starts > begin) & (self.starts < end)] - begin
        starts = np.concatenate([np.zeros(1, np.int64), inside])
        return type(self)(self.codes[begin:end], starts)

    def with_ends(self, code: int) -> Self:
        """The same sessions with `code` after the last symbol of each."""
        lasts = np.append(self.starts[1:], len(self.codes))
        codes = np.insert(self.codes, lasts, code)
        return type(self)(codes, self.starts + np.arange(len(self.starts)))

    def save(self, folder: Path, name: str) -> None:
        """Write the arrays to files in a folder, under a name."""
        _save(folder / f"{name}.codes.npy", self.codes)
        np.save(folder / f"{name}.starts.npy", self.starts)

    @classmethod
    def open(cls, folder: Path, name: str) -> Self:
        """Map saved codes into memory."""
        codes = np.load(folder / f"{name}.codes.npy", mmap_mode="r")
        return cls(codes, np.load(folder / f"{name}.starts.npy"))


@dataclass(frozen=True)
class Corpus:
    """Symbols as arrays of codes, split into training, validation and test data."""

    name: str
    alphabet: Alphabet
    train: Split
    validation: Split
    test: Split
    #: hash of all symbols, sessions and splits, 32 hexadecimal digits
    digest: str
    #: what symbols and sessions are, and why, for users
    decided: str

    def __post_init__(self) -> None:
        if len(self.alphabet.symbols) < 2:
            raise InputError(
                f"{self.name}: its training data have {len(self.alphabet.symbols)} distinct "
                f"symbol(s), expected at least 2"
            )

    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def check_windows(self, sequence_length: int) -> None:
        for name, split in self.splits().items():
            if len(split) <= sequence_length:
                raise InputError(
                    f"{self.name}: the {name} split has {len(split):,} symbols, expected more than "
                    f"the longest sequence_length of the space, {sequence_length}"
                )

    def unknown_share(self, split: Split) -> float:
        """Share of the symbols of a split that do not occur in the training data."""
        return len(split.unknown) / len(split)

    def check_targets(self) -> None:
        """Check that there are symbols on which networks can be scored."""
        for name, split in self.splits().items():
            if len(split.unknown) == len(split):
                raise InputError(
                    f"{self.name}: the {name} split has no symbol that the training data have, "
                    f"expected some, since networks are scored on those alone"
                )

    def save(self, folder: Path) -> None:
        """Write the corpus as arrays that other processes can map into memory."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, split in self.splits().items():
            split.save(folder, name)
        fields = {
            "name": self.name,
            "alphabet": self.alphabet.to_dict(),
            "digest": self.digest,
            "decided": self.decided,
        }
        (folder / "corpus.json").write_text(json.dumps(fields), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map a saved corpus into memory."""
        fields = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        splits = {name: Split.open(folder, name) for name in SPLITS}
        return cls(**(fields | splits | {"alphabet": Alphabet.from_dict(fields["alphabet"])}))


def load(source: Source) -> Corpus:
    """Load a sample, a file, or a folder of files.

    If a folder contains `train`, `validation` and `test`, these are the splits; all other data are
    divided into three contiguous parts, in the order of time.
    """
    for name in OF_LABELLED:
        if given := getattr(source, name):
            raise InputError(f"{name} is given as {shown(given)}: expected data with classes")
    sample = SAMPLES.get(source.data)
    of_lines = sample.symbols == "lines" if sample else source.has_lines
    path = None if sample else existing(source.data)
    name = path.name if path else source.data
    groups: Mapping[str, Sequence[Path | Sample]] = (
        file_groups(path) if path else {"all": [sample] if sample else []}
    )
    symbols, why, hint = decide(source, next(iter(groups.values()))[0])
    if of_lines:
        return _of_lines(source, name, groups)
    sequences, words, cuts = Sequences(), Words(alphabets.Words(source.lower_case).split), []
    for files in groups.values():
        read_symbols(symbols, files, words, sequences)
        cuts.append(sequences.length)
    if not sample:
        session = "a line" if sequences.lines_are_sessions else "a file"
        why += f": a symbol is {A_SYMBOL[symbols]}, {session} is a session"
    said = "; ".join(filter(None, [why, _said(sequences.noted, symbols), hint]))
    described = _Description(name, symbols, said, ends=source.ends)
    if len(groups) == 1:
        cuts = [*_cuts(sequences.session_starts(), sequences.length, source.split)]
    if symbols == "words":
        sequences, described = _of_words(source, sequences, words, cuts[0], described)
    return _assemble(sequences, (cuts[0], cuts[1]), described)


#: what a symbol is, for people
A_SYMBOL = {
    "chars": "a character",
    "words": "a word or a mark of punctuation",
    "ids": "an event id",
}


def _of_lines(source: Source, name: str, groups: Mapping[str, Sequence[Path | Sample]]) -> Corpus:
    format, sample = format_of(source), SAMPLES.get(source.data)
    why = f"sample: {sample.about}" if sample else f"--symbols {source.symbols}"
    log = read_log(groups, format)
    in_time = len(groups) == 1
    cuts = _cuts(log.starts, len(log.lines), source.split) if in_time else log.cuts[:2]
    names = symbols_of(log, format, cuts[0], source.templates)
    sequences = Sequences(lines_are_sessions=True, line_starts=[log.starts], file_starts=[0])
    for numbers in log.numbers(names, format):
        sequences.append(numbers)
    described = _Description(
        name,
        "lines",
        "; ".join(filter(None, [f"{why}: {format.described}",
                                str(log.counts), str(log.noted)])),
        ends=source.ends,
        names=tuple(names),
        lines=format,
    )  # fmt: skip
    return _assemble(sequences, (cuts[0], cuts[1]), described)


def _of_words(
    source: Source, read: Sequences, words: Words, training: int, described: _Description
) -> tuple[Sequences, _Description]:
    """Words that were read as numbers of those that are symbols; the first are for training."""
    counts, place = np.zeros(len(words), np.int64), 0
    for block in read.blocks:
        counts += np.bincount(block[: max(0, training - place)], minlength=len(words))
        place += len(block)
    texts = [*words]
    names = [texts[value] for value in read.values]
    known = frequent(counts, names, source.vocabulary)
    numbers = np.full(len(words), len(known), np.uint32)
    numbers[known] = np.arange(len(known), dtype=np.uint32)
    sequences = Sequences(file_starts=read.file_starts)
    for block in read.blocks:
        sequences.append(numbers[block])
    said = words_said(len(known), len(words), lower_case=source.lower_case)
    return sequences, dataclasses.replace(
        described,
        symbols="words",
        decided=f"{described.decided}; {said}",
        ends=False,
        names=tuple(names[number] for number in known),
        words=alphabets.Words(source.lower_case),
    )


def frequent(
    counts: NDArray[np.int64], names: Sequence[str], most: int | None
) -> NDArray[np.int64]:
    """Words that are symbols, the most frequent first, `<int64>[n]`: those that occur twice.

    Networks learn what `<unk>` means from the others.
    """
    often = np.flatnonzero(counts > 1).tolist()
    often.sort(key=lambda number: (-counts[number], names[number]))
    return np.array(often[: most or VOCABULARY], np.int64)


def words_said(known: int, distinct: int, *, lower_case: bool) -> str:
    case = " in lower case" if lower_case else ""
    return (
        f"{known:,} of {distinct:,} distinct words{case} are symbols, the most frequent that occur "
        f"more than once in training data"
    )


@dataclass(frozen=True)
class _Description:
    """Name of a corpus, and how its symbols and sessions were chosen."""

    name: str
    #: `chars`, `words`, `ids` or `lines`
    symbols: str
    #: how its symbols and sessions were chosen, for people
    decided: str
    #: whether the end of a session is to be a symbol, where sessions are units of their own
    ends: bool
    #: of words and lines: symbols by their numbers; that after the last stands for all others
    names: tuple[str, ...] = ()
    lines: LineFormat | None = None
    words: alphabets.Words | None = None

    def symbols_of(self, values: list[int]) -> tuple[str, ...] | tuple[int, ...]:
        if self.lines or self.words:
            return tuple(self.names[value] for value in values)
        return tuple(map(chr, values)) if self.symbols == "chars" else tuple(values)


#: what is said of a table that is read as a text
TABLE = "it looks like a table: with --label COLUMN its rows are sequences that have a class"


#: what may be wanted of a sample, by what its symbols are
FITTING = {"lines": ("auto", "lines"), "ids": ("auto", "chars", "ids")}


def decide(source: Source, first: Path | Sample) -> tuple[str, str, str]:
    """What a symbol is, why, and what the user may have wanted instead."""
    if isinstance(first, Sample):
        wanted = "words" if source.has_words else source.symbols
        if wanted not in FITTING.get(first.symbols, ("auto", "chars", "ids", "words")):
            raise InputError(
                f"data {source.data}: is a sample of {first.symbols}, expected symbols auto"
            )
        symbols = "words" if source.has_words else first.symbols
        return symbols, f"sample: {first.about}", ""
    if source.symbols != "auto":
        return source.symbols, f"--symbols {source.symbols}", ""
    table = TABLE if suffix_of(first) else ""
    if source.has_words:
        return "words", "--symbols auto, with an option of words", table
    guess = guess_symbols(first)
    return (
        guess.symbols,
        f"--symbols auto, since {guess.reason}",
        "; ".join(filter(None, [table, guess.hint])),
    )


def _said(noted: Noted, symbols: str) -> str:
    """What was done to the files; but of text the ends of lines say nothing."""
    return str(noted if symbols == "chars" else dataclasses.replace(noted, line_ends=False))


def _cuts(
    starts: NDArray[np.int64], length: int, shares: tuple[float, float, float]
) -> tuple[int, int]:
    """Where the second and the third part of symbols begin, at the start of a session if near."""
    snap = min(SESSION_SNAP, *(share / 4 for share in shares))
    cuts = []
    for share in (shares[0], shares[0] + shares[1]):
        cut = round(length * share)
        nearest = int(starts[np.argmin(np.abs(starts - cut))]) if len(starts) else cut
        close = nearest > 0 and abs(nearest - cut) <= snap * length
        cuts.append(nearest if close else cut)
    return cuts[0], cuts[1]


def _assemble(sequences: Sequences, cuts: tuple[int, int], described: _Description) -> Corpus:
    """Make a corpus with boundaries `cuts`; the alphabet comes from the first part."""
    bounds: tuple[int, ...] = (0, *cuts, sequences.length)
    for split, begin, end in zip(SPLITS, bounds, bounds[1:], strict=False):
        if end <= begin:
            raise InputError(
                f"{described.name}: the {split} split has no symbols; all have "
                f"{sequences.length:,}, expected more of them, or a larger share for this split"
            )
    values = np.array(sequences.values, np.int64)
    by_value = np.argsort(values)
    ordered = values[by_value]
    rank = np.empty(len(values), np.uint32)
    rank[by_value] = np.arange(len(values), dtype=np.uint32)
    kind, decided = described.symbols, described.decided
    starts = sequences.session_starts()
    lasts = np.append(starts[1:], sequences.length)
    ended = np.searchsorted(lasts, bounds, side="right")  # sessions that end before each bound
    ends = described.ends and kind != "chars" and bool(ended[1] >= FEWEST_ENDS)
    if ends:
        bounds = tuple((bounds + ended).tolist())
        starts = starts + np.arange(len(starts))
        kind, decided = f"{kind} {END_NAME}", f"{decided}; its end is a symbol, {END_NAME}"
    ranked = _Ranked(sequences.blocks, rank, lasts if ends else lasts[:0])

    digest = hashlib.blake2b(kind.encode(), digest_size=16)
    if described.lines or described.words:
        how = described.lines.to_dict() if described.lines else vars(described.words)
        settings = [how, described.names]
        digest.update(json.dumps(settings, sort_keys=True).encode())
    for part in (ordered, np.array(bounds, np.int64), starts):
        digest.update(part.astype("<i8").tobytes())
    in_training, place = np.zeros(len(values) + ends, bool), 0
    for block in ranked:
        digest.update(block.astype("<u4").tobytes())
        in_training[block[: max(0, bounds[1] - place)]] = True
        place += len(block)

    in_training = in_training[: len(values)]
    if described.lines or described.words:
        in_training &= ordered < len(described.names)
    known = ordered[in_training].tolist()
    alphabet = Alphabet(
        described.symbols_of(known), ends=ends, lines=described.lines, words=described.words
    )
    final = np.full(len(values) + ends, UNKNOWN, smallest_type(len(values) + PREDICTED + ends))
    final[len(values) :] = END
    final[: len(values)][in_training] = len(alphabet.reserved) + np.arange(len(known))
    spool = Spool()
    for block in ranked:
        spool.append(final[block])
    whole = Split(spool.joined(), starts)
    train, validation, test = (whole.part(*pair) for pair in itertools.pairwise(bounds))
    return Corpus(described.name, alphabet, train, validation, test, digest.hexdigest(), decided)


@dataclass(frozen=True)
class _Ranked:
    """Codes in blocks, with provisional ones replaced by their rank, and the ends of sessions."""

    provisional: Spool
    rank: NDArray[np.uint32]
    #: index of the first symbol after each session that has an end, `<int64>[sessions]`; an end has
    #: the rank after the last one
    lasts: NDArray[np.int64]

    def __iter__(self) -> Iterator[NDArray[np.uint32]]:
        place = 0
        for block in self.provisional:
            after = place + len(block)
            first, last = np.searchsorted(self.lasts, (place, after), side="right")
            ranks = self.rank[block]
            if last > first:
                ranks = np.insert(ranks, self.lasts[first:last] - place, len(self.rank))
            yield ranks
            place = after


def _save(path: Path, codes: Codes) -> None:
    """Write codes as `np.save` does, of a mapped file a part at a time."""
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(codes)
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks(codes):
            file.write(block.tobytes())
