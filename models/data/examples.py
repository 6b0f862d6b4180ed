"""Sequences with labels as they are read: rows of tables, files in folders, sessions of logs."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.data import alphabet as alphabets
from lstm_sweep.models.data.corpus import A_SYMBOL, decide
from lstm_sweep.models.data.log_lines import LineFormat, Log, format_of, read_log
from lstm_sweep.models.data.reader import (
    ID_DIGITS,
    Noted,
    Sequences,
    Words,
    code_points,
    read_symbols,
)
from lstm_sweep.models.data.sessions import labels_of, name_in_file
from lstm_sweep.models.data.source import SAMPLES, Sample, Source, all_files, existing, told
from lstm_sweep.models.data.tables import (
    Columns,
    Row,
    check_once,
    checked_text,
    features_of,
    is_table,
    lines_of,
    read_label_list,
    rows_of,
    suffix_of,
    text_of,
)
from lstm_sweep.models.errors import InputError, refusing, shown

#: numbers of the splits, and names of folders and files that belong to each
TRAIN, VALIDATION, TEST = range(3)
NAMES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
#: folders of texts without a class, in lower case
UNLABELLED = ("unsup", "unlabelled", "unlabeled")
#: classes of some data, at most
MOST_CLASSES = 1_000
#: share of sequences that may lack a label or be empty; they are left out
MOST_MISSING = 0.1
#: texts by which it is decided what symbols are: words, if a text has so many and a word so few
#: characters
LOOKED_AT, FEWEST_WORDS, LONGEST_WORDS = 1_000, 4, 15
#: texts are event ids if such a share of their words are numbers
NUMBERS = 0.95
#: symbols that are taken together
TOGETHER = 1 << 18

#: files of classes, of each split, or of data without splits (None)
ClassFolders = dict[int | None, dict[str, list[Path]]]


@dataclass
class Read:
    """Sequences in the order in which they were read."""

    name: str
    #: `chars`, `words`, `ids` or `lines`
    symbols: str
    #: what the data are, for people
    about: str
    sequences: Sequences = field(default_factory=Sequences)
    #: index of the first symbol of each, how many it has, its class, and its split, -1 if none is
    #: given
    starts: array[int] = field(default_factory=lambda: array("q"))
    lengths: array[int] = field(default_factory=lambda: array("q"))
    labels: array[int] = field(default_factory=lambda: array("i"))
    splits: array[int] = field(default_factory=lambda: array("b"))
    #: a hash of its content (none: it follows from its symbols), and of what stays in one split
    #: (none: each for itself)
    contents: array[int] = field(default_factory=lambda: array("Q"))
    units: array[int] = field(default_factory=lambda: array("Q"))
    #: which row of all that were read it is; none of sessions
    rows: array[int] = field(default_factory=lambda: array("q"))
    #: classes by their names, in the order of their first appearance or as given
    classes: dict[str, int] = field(default_factory=dict)
    #: sequences that have no label, and no symbols: how many, and where the first is
    unlabelled: int = 0
    empty: int = 0
    places: dict[str, str] = field(default_factory=dict)
    groups: bool = False
    #: which rows have no group, if others have one
    ungrouped: array[int] = field(default_factory=lambda: array("B"))
    #: whether the order of classes is given
    numbered: bool = False
    words: Words | None = None
    lines: LineFormat | None = None
    log: Log | None = None
    #: symbols of lines by their numbers
    names: tuple[str, ...] = ()
    waiting: list[NDArray[np.integer]] = field(default_factory=list)
    length: int = 0

    def add(self, symbols: NDArray[np.integer], label: int, split: int) -> None:
        """Add one more sequence, which is not empty."""
        self.starts.append(self.length)
        self.lengths.append(len(symbols))
        self.labels.append(label)
        self.splits.append(split)
        self.waiting.append(symbols)
        self.length += len(symbols)
        if self.length - self.sequences.length >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Take what waits to be taken together."""
        if self.waiting:
            self.sequences.append(np.concatenate(self.waiting))
            self.waiting.clear()

    def of_groups(self, *arrays: NDArray[Any]) -> list[NDArray[Any]]:
        """What arrays have of the rows that have a group."""
        return [one[np.array(self.ungrouped) == 0] for one in arrays]

    def class_of(self, label: str) -> int:
        number = self.classes.setdefault(label, len(self.classes))
        if number >= MOST_CLASSES:
            raise InputError(
                f"{self.name}: has over {MOST_CLASSES:,} classes, such as {told(label)}, "
                f"expected fewer: a label is the name of a class"
            )
        return number

    def left_out(self, kind: str, place: str) -> None:
        """Count a sequence without a label, or an empty one."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.places.setdefault(kind, place)

    def check(self) -> None:
        """Refuse data of which too many are left out, and those of one class."""
        for kind, expected in (("unlabelled", "label"), ("empty", "text")):
            missing = getattr(self, kind)
            if missing > MOST_MISSING * (missing + len(self.labels)):
                raise InputError(
                    f"{self.places[kind]}: found no {expected}, as in {missing:,} of "
                    f"{missing + len(self.labels):,} sequences, expected a {expected} in each"
                )
        if len(self.classes) < 2:
            found = ", ".join(map(told, self.classes)) or "none"
            raise InputError(f"{self.name}: has one class, {found}, expected at least 2")


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


# texts: a row of a table, or a file in the folder of its class


def _rows(source: Source, noted: Noted) -> tuple[str, Columns, Iterator[tuple[int | None, Row]]]:
    """What sequences and classes are, the columns of tables, and rows with their splits."""
    path = existing(source.data)
    columns = columns_of(source, path)
    folders = class_folders(path) if path.is_dir() and source.label is None else None
    if folders:
        about = "a file is a sequence, its folder is its class"
        if beside := _unlabelled(path):
            about += f"; {', '.join(sorted(beside))} is left out, since it names no class"
        return about, columns, _rows_of_folders(folders, noted)
    if columns.label is None and path.is_file():
        raise InputError(f"{path}: which column has the classes is not said, expected --label")
    about = f"a row is a sequence, its class is in column {shown(columns.label)}"
    return about, columns, _rows_of_tables(path, columns, noted)


def of_texts(source: Source) -> Read:
    noted = Noted()
    about, columns, rows = _rows(source, noted)
    head = list(itertools.islice(rows, LOOKED_AT))
    symbols, why = _symbols(source, [row.text for _, row in head])
    name = existing(source.data).name
    read = Read(name, symbols, f"{about}; {why}", groups=source.group is not None)
    read.classes = {name: number for number, name in enumerate(columns.names)}
    read.numbered = bool(columns.names)
    read.words = Words(alphabets.Words(source.lower_case).split)
    encode = encoder(symbols, read.words)
    for number, (split, row) in enumerate(itertools.chain(head, rows)):
        if row.label is None:
            read.left_out("unlabelled", row.place)
            continue
        if not len(codes := encode(row)):
            read.left_out("empty", row.place)
            continue
        read.add(codes, read.class_of(row.label), -1 if split is None else split)
        read.rows.append(number)
        read.contents.append(_hash(row.text))
        if read.groups:
            read.ungrouped.append(row.group is None)
            read.units.append(_hash(row.text if row.group is None else row.group))
    read.flush()
    read.check()
    if alone := sum(read.ungrouped):
        said = f"rows without a group: {alone:,}, equal ones of which stay together"
        read.about = "; ".join(filter(None, [read.about, said]))
    read.about = "; ".join(filter(None, [read.about, str(noted)]))
    return read


def texts_at(source: Source, places: Collection[int]) -> dict[int, str]:
    """The texts of some rows, as they are given, by the places of `Read.rows`."""
    _, _, rows = _rows(source, Noted())
    last = max(places, default=-1) + 1
    return {n: row.text for n, (_, row) in enumerate(itertools.islice(rows, last)) if n in places}


def encoder(symbols: str, words: Words) -> Callable[[Row], NDArray[np.integer]]:
    """What gives the symbols of a row's text as numbers."""

    def of_ids(row: Row) -> NDArray[np.integer]:
        ids = row.text.split()
        for one in ids:
            if not (one.isascii() and one.isdecimal()) or len(one) > ID_DIGITS:
                raise InputError(
                    f"{row.place}: found {told(one)}, expected event ids with spaces between them"
                )
        return np.array([*map(int, ids)], np.int64)

    def of_text(row: Row) -> NDArray[np.integer]:
        return code_points("" if row.text.isspace() else row.text)

    if symbols == "ids":
        return of_ids
    return of_text if symbols == "chars" else lambda row: words.numbers(row.text)


def _symbols(source: Source, texts: list[str]) -> tuple[str, str]:
    """What symbols of texts are, and why."""
    if source.symbols != "auto":
        return source.symbols, f"--symbols {source.symbols}: a symbol is {A_SYMBOL[source.symbols]}"
    words = [text.split() for text in texts]
    count = sum(map(len, words))
    numeric = sum(word.isascii() and word.isdecimal() for row in words for word in row)
    length = sum(map(len, texts)) / max(1, count)
    each = float(np.median([len(row) for row in words])) if words else 0
    if source.has_words:
        symbols, why = "words", "with an option of words"
    elif numeric >= NUMBERS * count > 0:
        symbols, why = "ids", f"{numeric / count:.0%} of the words are numbers"
    elif each >= FEWEST_WORDS and length <= LONGEST_WORDS:
        symbols, why = "words", f"half of all texts have {each:g} words or more"
    else:
        symbols, why = "chars", f"half of all texts have at most {each:g} words between spaces"
    return symbols, f"--symbols auto, {why}: a symbol is {A_SYMBOL[symbols]}"


def likely_class_folders(path: Path) -> ClassFolders | None:
    """As `class_folders` of what nobody has called classes; None if a file may be one, of lines."""
    found = class_folders(path) or {}
    alone = [len(files) < 2 for files in found.get(None, {}).values()]
    return None if 2 * sum(alone) > len(alone) else found or None


def class_folders(path: Path) -> ClassFolders | None:
    """Files of each class, in folders of splits or without; None if folders are no classes."""
    splits: dict[int | None, Path] = {
        NAMES[one.name.lower()]: one for one in _folders(path) if one.name.lower() in NAMES
    }
    found: ClassFolders = {}
    for split, folder in (splits or {None: path}).items():
        classes = {one.name: _files(one) for one in _folders(folder) if not _is_unlabelled(one)}
        if len(classes) < 2 or not all(classes.values()):
            return None
        found[split] = classes
    return found


def _inside(folder: Path) -> list[os.DirEntry[str]]:
    with refusing(str(folder), "expected to read it"), os.scandir(folder) as entries:
        return sorted((one for one in entries if one.name[0] != "."), key=lambda one: one.name)


def _folders(folder: Path) -> list[Path]:
    return [folder / one.name for one in _inside(folder) if one.is_dir()]


def _files(folder: Path) -> list[Path]:
    """Files in a folder; none if it has folders, too, or tables."""
    inside = _inside(folder)
    files = [folder / one.name for one in inside if one.is_file()]
    return files if len(files) == len(inside) and not any(map(is_table, files[:1])) else []


def _is_unlabelled(folder: Path) -> bool:
    return folder.name.lower() in UNLABELLED


def _unlabelled(path: Path) -> set[str]:
    return {one.name for folder in (path, *_folders(path)) for one in _folders(folder)
            if _is_unlabelled(one)}  # fmt: skip


def _rows_of_folders(folders: ClassFolders, noted: Noted) -> Iterator[tuple[int | None, Row]]:
    for split, classes in folders.items():
        for name, files in classes.items():
            for file in files:
                yield split, Row(text_of(file, noted), name, None, file, 0)


def columns_of(source: Source, path: Path) -> Columns:
    """Which columns of a table, or of the tables of a folder, are meant."""
    columns = Columns.of(source, path if path.is_dir() else path.parent)
    tables = tables_in(path) if path.is_dir() else [path]
    for table in itertools.islice(tables, 1):
        columns = columns.described(features_of(table))
    return columns


def tables_in(path: Path) -> Iterator[Path]:
    return (file for file in all_files(path) if is_table(file))


def _rows_of_tables(path: Path, columns: Columns, noted: Noted) -> Iterator[tuple[int | None, Row]]:
    """Rows of one table, or of all in a folder, of which names say the split."""
    if path.is_file():
        files: dict[Path, int | None] = {path: None}
    else:
        files = {file: _split_of(file.relative_to(path)) for file in tables_in(path)}
        if not files:
            raise InputError(
                f"{path}: found no folder per class and no table, expected some: TSV, CSV, JSON "
                f"lines or Parquet"
            )
        without = [file for file, split in files.items() if split is None]
        if without and len(without) < len(files):
            raise InputError(
                f"{path}: {without[0].relative_to(path)} is of no split, as others are, expected "
                f"train, validation or test in the names of all tables or of none"
            )
    for file, split in files.items():
        for row in rows_of(file, columns, noted):
            yield split, row


def _split_of(path: Path) -> int | None:
    """The split that a path below the data names; None if it names none."""
    for part in reversed(path.parts):
        for word in re.findall("[a-z]+", part.lower()):
            if word in NAMES:
                return NAMES[word]
    return None


def in_rows(source: Source, path: Path) -> bool:
    """Whether a file of new data is a table: by its name, or since columns are named."""
    return bool(suffix_of(path) or source.text is not None or source.label is not None)


def rows_of_new(source: Source, path: Path, noted: Noted) -> Iterator[Row]:
    """Texts of new data: rows of tables, lines of another file, or files of a folder."""
    columns = columns_of(source, path)
    if path.is_file() and not in_rows(source, path):
        for number, line in enumerate(lines_of(path, noted), start=1):
            if not line.isspace():
                yield Row(
                    checked_text(f"{path}:{number}", line.rstrip("\n")), None, None, path, number
                )
    elif path.is_file() or any(True for _ in tables_in(path)):
        for table in [path] if path.is_file() else tables_in(path):
            yield from rows_of(table, columns, noted)
    elif folders := likely_class_folders(path):
        yield from (row for _, row in _rows_of_folders(folders, noted))
    else:
        files = all_files(path, empty=True)
        yield from (Row(text_of(file, noted), None, None, file, 0) for file in files)


# sessions: lines, files, or records of a log, with a list of labels or in folders of their classes


def _groups(path: Path) -> dict[int | None, list[Path]]:
    """Files of each split, or all."""
    splits: dict[int | None, Path] = {
        NAMES[one.name.lower()]: one for one in _folders(path) if one.name.lower() in NAMES
    }
    return {split: all_files(one) for split, one in splits.items()} or {None: all_files(path)}


def label_list(given: str) -> dict[str, str]:
    path, lines = read_label_list(given)
    labels = dict[str, str]()
    for number, name, label in lines:
        if not name or not label:
            raise InputError(f"{path}:{number}: expected the name of a session and its class")
        check_once(path, number, labels, name, label)
        labels[name] = label
    return labels


def of_sessions(source: Source) -> Read:
    """Sessions of event ids or texts, with a list of labels."""
    assert source.labels is not None
    known, sample = label_list(source.labels), SAMPLES.get(source.data)
    sequences, words = Sequences(), Words(alphabets.Words(source.lower_case).split)
    splits, cuts, files, name = [None], [0], [source.data], source.data
    if sample:
        symbols, why = sample.symbols, f"sample: {sample.about}"
        read_symbols(symbols, [sample], words, sequences)
        sequences.lines_are_sessions = True
    else:
        path = existing(source.data)
        groups = _groups(path) if path.is_dir() else {None: all_files(path)}
        name, splits = path.name, [*groups]
        symbols, why, _ = decide(source, next(iter(groups.values()))[0])
        for group in groups.values():
            read_symbols(symbols, group, words, sequences)
            cuts.append(sequences.length)
        paths = [file for group in groups.values() for file in group]
        files = [one.name if one == path else str(one.relative_to(path)) for one in paths]
    starts, several = sequences.session_starts(), sequences.lines_are_sessions
    file_starts = np.array([0] if sample else sequences.file_starts)
    of_file = np.searchsorted(file_starts, starts, side="right") - 1
    names = [name_in_file(files, of_file, one, several=several) for one in range(len(starts))]
    session = "a line" if several else "a file"
    about = f"{why}: a symbol is {A_SYMBOL[symbols]}, {session} is a sequence, with --labels"
    read = Read(name, symbols, about, sequences, words=words)
    labels = labels_of(source.labels, known, names, numbered=len(files) == 1)
    read.about += _strange(known, labels)
    of_split = np.searchsorted(np.array(cuts[1:]), starts, side="right")
    given = None if sample else [splits[one] for one in of_split]
    _take(read, starts, sequences.length, names, labels, given)
    return read


def _strange(known: Mapping[str, str], labels: Sequence[str | None]) -> str:
    """What is said of labels that name no session, such as a header."""
    strange = len(known) - sum(label is not None for label in labels)
    return f"; {strange:,} of {len(known):,} labels name no session" if strange > 0 else ""


def _take(
    read: Read,
    starts: NDArray[np.int64],
    length: int,
    names: Sequence[str],
    labels: Sequence[str | None],
    splits: Sequence[int | None] | None,
) -> NDArray[np.int64]:
    """Take the sessions that have labels; which they are."""
    kept, lengths = list[int](), np.diff(starts, append=length).tolist()
    for number, (name, label) in enumerate(zip(names, labels, strict=True)):
        if label is None:
            read.left_out("unlabelled", f"session {name}")
            continue
        kept.append(number)
        split = None if splits is None else splits[number]
        read.starts.append(int(starts[number]))
        read.lengths.append(lengths[number])
        read.labels.append(read.class_of(label))
        read.splits.append(-1 if split is None else split)
        read.units.append(_hash(name))
    read.check()
    return np.array(kept, np.int64)


def of_lines(source: Source) -> Read:
    """Records of a log, whose templates are not known yet."""
    format, sample = format_of(source), SAMPLES.get(source.data)
    path = None if sample else existing(source.data)
    name = path.name if path else source.data
    groups: list[tuple[int | None, str, Sequence[Path | Sample]]]
    if source.labels is None:
        if not (folders := path and path.is_dir() and class_folders(path)):
            raise InputError(f"{source.data}: found no folder per class, expected it, or --labels")
        groups = [(split, label, files) for split, of_split in folders.items()
                  for label, files in of_split.items()]  # fmt: skip
    elif path and path.is_dir():
        groups = [(split, "", files) for split, files in _groups(path).items()]
    else:
        groups = [(None, "", all_files(path) if path else [sample] if sample else [])]
    log = read_log({str(n): files for n, (_, _, files) in enumerate(groups)}, format,
                   keep_texts=format.session_by is not None)  # fmt: skip
    group = np.searchsorted(np.array(log.cuts), log.starts, side="right").tolist()
    files = [str(one.relative_to(path)) if path and isinstance(one, Path) and one != path else name
             for _, _, of_group in groups for one in of_group]  # fmt: skip
    if format.session_by is None:
        names = [files[one] for one in log.files.tolist()]
    else:
        assert log.texts is not None
        named = format.session()
        heads = (log.texts[one].partition("\n")[0] for one in log.places[log.starts].tolist())
        names = [named(head) or "" for head in heads]
    labels: Sequence[str | None] = [groups[one][1] for one in group]
    strange = ""
    if source.labels is not None:
        numbered = len(files) == 1 and format.session_by is None
        known = label_list(source.labels)
        labels = labels_of(source.labels, known, names, numbered=numbered)
        strange = _strange(known, labels)
    how = "--labels" if source.labels else "its folder"
    about = f"--symbols {source.symbols}: {format.described}; its class is by {how}{strange}"
    read = Read(name, "lines", "; ".join(filter(None, [about, str(log.counts), str(log.noted)])))
    _take(read, log.starts, len(log.lines), names, labels, [groups[one][0] for one in group])
    read.log, read.lines = log, format
    return read
