"""`LabelledCorpus`: sequences that each have a class, as arrays of codes, in three splits."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.data import alphabet as alphabets
from lstm_sweep.models.data.alphabet import UNKNOWN, Alphabet
from lstm_sweep.models.data.corpus import Split, frequent, words_said
from lstm_sweep.models.data.examples import (
    TEST,
    TRAIN,
    VALIDATION,
    Read,
    columns_of,
    encoder,
    in_rows,
    label_list,
    likely_class_folders,
    of_lines,
    of_sessions,
    of_texts,
    rows_of_new,
    texts_at,
)
from lstm_sweep.models.data.log_lines import symbols_of
from lstm_sweep.models.data.reader import Noted, Words, smallest_type
from lstm_sweep.models.data.sessions import labels_of, read_sessions
from lstm_sweep.models.data.source import SAMPLES, SPLITS, Source, existing, told
from lstm_sweep.models.data.spool import BLOCK, Codes, Spool, blocks
from lstm_sweep.models.data.tables import Row, suffix_of
from lstm_sweep.models.errors import InputError, cut, one_of, plain, shown

#: characters that are shown of a new sequence, at most
BEGINNING = 60
#: classes that are told of
TOLD = 10
#: share of training symbols that the alphabet of a network may lack that they begin with
MOST_UNKNOWN = 0.5


@dataclass(frozen=True)
class LabelledSplit:
    """Sequences with their classes."""

    #: a session is a sequence; none is empty
    sequences: Split
    #: class of each sequence, `<int32>[sequences]`
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class LabelledCorpus:
    """Sequences of symbols with their classes, split into training, validation and test data."""

    name: str
    alphabet: Alphabet
    #: names of the classes by their numbers; the training split has some of each
    classes: tuple[str, ...]
    train: LabelledSplit
    validation: LabelledSplit
    test: LabelledSplit
    #: hash of all symbols, sequences, classes and splits, 32 hexadecimal digits
    digest: str
    #: what symbols, classes and splits are, and why, for users
    decided: str
    #: which row of the data each validation sequence is; None if they are no texts, or are opened
    rows: NDArray[np.int64] | None = None

    def splits(self) -> dict[str, LabelledSplit]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def save(self, folder: Path) -> None:
        """Write the corpus as arrays that other processes can map into memory."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, split in self.splits().items():
            split.sequences.save(folder, name)
            np.save(folder / f"{name}.labels.npy", split.labels)
        fields = {
            "name": self.name,
            "alphabet": self.alphabet.to_dict(),
            "classes": self.classes,
            "digest": self.digest,
            "decided": self.decided,
        }
        (folder / "corpus.json").write_text(json.dumps(fields), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map a saved corpus into memory."""
        fields = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        splits = {
            name: LabelledSplit(
                Split.open(folder, name), np.load(folder / f"{name}.labels.npy", mmap_mode="r")
            )
            for name in SPLITS
        }
        made = {
            "alphabet": Alphabet.from_dict(fields["alphabet"]),
            "classes": tuple(fields["classes"]),
        }
        return cls(**(fields | splits | made))


@dataclass(frozen=True)
class NewSequences:
    """Sequences of new data, in their order there, as codes of a model's alphabet."""

    sequences: Split
    #: what each is called: its file, or its row in a table
    names: tuple[str, ...]
    #: class of each, `<int32>[sequences]`, -1 where the data say none; None if they say no classes
    labels: NDArray[np.int32] | None
    #: how each begins, as it was given, in at most `BEGINNING` characters
    texts: tuple[str, ...]


def looks_labelled(source: Source) -> bool:
    """Whether data are sequences with classes: options say so, or there is a folder per class."""
    if source.label is not None or source.labels is not None:
        return True
    try:
        path = existing(source.data) if source.data not in SAMPLES else None
    except InputError:  # which is for whoever reads them
        return False
    if path is None:
        return False
    if not path.is_dir():
        return columns_of(source, path).label is not None
    return bool(likely_class_folders(path)) or columns_of(source, path).label is not None


def given_texts(
    source: Source, corpus: LabelledCorpus, numbers: Sequence[int], most: int
) -> list[str]:
    """How validation sequences begin: as given if their texts are there still, else by symbols."""
    alphabet, texts, split = corpus.alphabet, dict[int, str](), corpus.validation.sequences
    ends = np.minimum(split.starts + most, split.starts + split.session_lengths)
    codes = (split.codes[split.starts[one] : ends[one]] for one in numbers)
    found = [_beginning(alphabet.decode(one), alphabet, most) for one in codes]
    if corpus.rows is None:
        return found
    rows = corpus.rows[[*numbers]].tolist()
    with contextlib.suppress(InputError):
        texts = texts_at(source, {*rows})
    symbols_of = alphabet.words.split if alphabet.words else list[str]
    for place, row in enumerate(rows):
        symbols = alphabet.decode(alphabet.encode(symbols_of(text := texts.get(row, ""))[:most]))
        if _beginning(symbols, alphabet, most) == found[place]:
            found[place] = cut(text, most)
    return found


def _beginning(symbols: Iterable[object], alphabet: Alphabet, most: int) -> str:
    between = " | " if alphabet.lines else alphabet.between
    return cut(between.join(map(str, symbols)), most)


def load_labelled(source: Source) -> LabelledCorpus:
    """Load a table, a folder per class, or sessions with a file of labels.

    Splits that are not given are drawn by class. Rows of one group stay together.

    Raises:
        InputError: the data cannot be used; the message names the file and the line.
    """
    if source.data in SAMPLES and source.labels is None:
        raise InputError(f"data {source.data}: is a sample without classes, expected --labels")
    if source.has_lines or (source.data in SAMPLES and SAMPLES[source.data].symbols == "lines"):
        read = of_lines(source)
        splits = drawn_splits(source, read)
        return _assembled(source, read, _mined(source, read, splits))
    read = of_sessions(source) if source.labels is not None else of_texts(source)
    return _assembled(source, read, drawn_splits(source, read))


def read_new(source: Source, alphabet: Alphabet, classes: tuple[str, ...]) -> NewSequences:
    """Read all sequences of a file or folder, of all its splits, for a model with an alphabet.

    Raises:
        InputError: the data cannot be used; the message names the file and the line.
    """
    has_texts = alphabet.kind in ("chars", "words") and source.labels is None
    path = None if source.data in SAMPLES else existing(source.data)
    if path and (
        has_texts or (alphabet.kind == "ids" and path.is_file() and in_rows(source, path))
    ):
        return _new_rows(source, path, alphabet, classes)
    sessions = read_sessions(source.data, alphabet)
    labels, names = None, tuple(sessions.names)
    if source.labels is not None:
        known = label_list(source.labels)
        found = labels_of(source.labels, known, names, numbered=sessions.numbered)
        place = f"--labels {source.labels}"
        numbers = [-1 if one is None else _number(place, one, classes) for one in found]
        labels = np.array(numbers, np.int32)
    ends = [*sessions.split.starts[1:].tolist(), len(sessions.split)]
    some = (sessions.read(begin, min(end, begin + BEGINNING))
            for begin, end in zip(sessions.split.starts.tolist(), ends, strict=True))  # fmt: skip
    texts = tuple(_beginning(one, alphabet, BEGINNING) for one in some)
    return NewSequences(sessions.split, names, labels, texts)


def _new_rows(
    source: Source, path: Path, alphabet: Alphabet, classes: tuple[str, ...]
) -> NewSequences:
    words = Words(alphabet.words.split) if alphabet.words else Words(list)
    read, encode = Read(path.name, alphabet.kind, ""), encoder(alphabet.kind, words)
    names, labels, begins = list[str](), list[int](), list[str]()
    for row in rows_of_new(source, path, Noted()):
        name = str(row.path.relative_to(path)) if row.path != path else path.name
        names.append(f"{name}:{row.number}" if row.number else name)
        if not len(codes := encode(row)):
            raise InputError(f"{row.place}: found an empty text, expected symbols")
        labels.append(-1 if row.label is None else _number(row.place, row.label, classes))
        read.add(codes, 0, -1)
        begins.append(cut(row.text, BEGINNING))
    read.flush()
    if not names:
        raise InputError(f"{path}: found no texts, expected some")
    texts, values = [*words], read.sequences.values
    of_value = {"chars": chr, "words": texts.__getitem__}.get(alphabet.kind, int)
    final = alphabet.encode(map(of_value, values)).astype(smallest_type(len(alphabet)))
    spool = Spool()
    for block in read.sequences.blocks:
        spool.append(final[block])
    split = Split(spool.joined(), np.array(read.starts, np.int64))
    known = np.array(labels, np.int32) if max(labels) >= 0 else None
    return NewSequences(split, tuple(names), known, tuple(begins))


def _number(place: str, label: str, classes: tuple[str, ...]) -> int:
    if label not in classes:
        raise InputError(f"{place}: found the class {shown(label)}, {one_of(label, classes)}")
    return classes.index(label)


def _mined(source: Source, read: Read, splits: NDArray[np.int8]) -> NDArray[np.int8]:
    """Give records of a log their symbols, by the templates of training; splits in their order."""
    assert read.log and read.lines
    given = _pretrained(source, read)
    order = np.argsort(splits, kind="stable")
    starts, lengths = np.array(read.starts)[order], np.array(read.lengths)[order]
    log = dataclasses.replace(read.log, lines=read.log.lines[_places(starts, lengths)])
    read.starts = array("q", (np.cumsum(lengths) - lengths).tolist())
    read.lengths, read.labels = array("q", lengths), array("i", np.array(read.labels)[order])
    training = int(lengths[: np.count_nonzero(splits == TRAIN)].sum())
    read.names = tuple(
        map(str, given.symbols) if given
        else symbols_of(log, read.lines, training, source.templates)
    )  # fmt: skip
    for numbers in log.numbers(read.names, read.lines):
        read.sequences.append(numbers)
    return splits[order]


def _places(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def _assembled(source: Source, read: Read, splits: NDArray[np.int8]) -> LabelledCorpus:
    """Make a corpus of sequences with their splits; alphabet and classes come from training."""
    order = np.argsort(splits, kind="stable")
    lengths, labels = np.array(read.lengths)[order], np.array(read.labels, np.int32)[order]
    codes = _in_order(read, np.array(read.starts)[order], lengths)
    rows = np.searchsorted(splits[order], [TRAIN, VALIDATION, TEST, TEST + 1])
    starts = np.cumsum(lengths) - lengths
    bounds = np.append(starts, len(codes))[rows]
    number, classes = _classes(read, labels, rows)
    labels = number[labels]
    values, counts = read.sequences.values, np.zeros(len(read.sequences.values), np.int64)
    place = 0
    for block in blocks(codes):
        part = block[: max(0, int(bounds[1]) - place)]
        counts += np.bincount(part, minlength=len(values))
        place += len(block)
    if given := _pretrained(source, read):
        alphabet = given
        codes_of = alphabet.encode(_symbols(read, values))
        known = np.flatnonzero((codes_of != UNKNOWN) & (counts > 0))
        unknown = 1 - counts[known].sum() / counts.sum()
        if unknown > MOST_UNKNOWN:
            raise InputError(
                f"pretrained {source.pretrained}: its alphabet lacks {unknown:.0%} of the training "
                f"symbols of {read.name}, expected most"
            )
    else:
        known, symbols = _known(source, read, counts)
        if len(symbols) < 2:
            raise InputError(
                f"{read.name}: its training data have {len(symbols)} distinct symbol(s) to learn "
                f"from, expected at least 2"
            )
        words = alphabets.Words(source.lower_case) if read.symbols == "words" else None
        alphabet = Alphabet(symbols, lines=read.lines, words=words)
        codes_of = alphabet.encode(_symbols(read, values))
    final = codes_of.astype(smallest_type(len(alphabet)))
    digest = hashlib.blake2b(json.dumps([alphabet.to_dict(), classes]).encode(), digest_size=16)
    spool = Spool()
    for block in blocks(codes):
        spool.append(final[block])
        digest.update(final[block].astype("<u4").tobytes())
    for numbers in (starts, rows, labels):
        digest.update(numbers.astype("<i8").tobytes())
    whole = Split(spool.joined(), starts)
    train, validation, test = [
        LabelledSplit(whole.part(int(bounds[n]), int(bounds[n + 1])), labels[rows[n] : rows[n + 1]])
        for n in (TRAIN, VALIDATION, TEST)
    ]
    said = [read.about, _counted(classes, labels), *_left_out(read)]
    if alphabet.words:
        said.append(words_said(len(known), len(values), lower_case=source.lower_case))
    said += _alike(read, order, rows, labels, codes)
    places = None
    if read.rows and read.symbols != "ids":
        places = np.array(read.rows)[order][rows[VALIDATION] : rows[TEST]]
    return LabelledCorpus(
        read.name, alphabet, classes, train, validation, test, digest.hexdigest(),
        "; ".join(said), places,
    )  # fmt: skip


def _in_order(read: Read, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Codes:
    kind, given, ordered = smallest_type(len(read.sequences.values)), Spool(), Spool()
    for block in read.sequences.blocks:
        given.append(block.astype(kind))
    codes = given.joined()
    total = np.cumsum(lengths)
    cuts = np.searchsorted(total, np.arange(BLOCK, int(total[-1]), BLOCK)) + 1
    for part in np.split(np.arange(len(lengths)), cuts):
        ordered.append(codes[_places(starts[part], lengths[part])])
    return ordered.joined()


def _pretrained(source: Source, read: Read) -> Alphabet | None:
    """The alphabet of the network that a source names; None if it names none."""
    if source.pretrained is None:
        return None
    file = Path(source.pretrained) / "alphabet.json"
    try:
        alphabet = Alphabet.from_dict(json.loads(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise InputError(f"pretrained {file}: {cut(str(error))}, expected an alphabet") from None
    if (alphabet.kind, alphabet.lines) != (read.symbols, read.lines):
        more = "" if alphabet.kind != read.symbols else " found in another way"
        raise InputError(
            f"pretrained {source.pretrained}: its symbols are {alphabet.kind}{more}, those of "
            f"{read.name} are {read.symbols}: expected the same"
        )
    return alphabet


def _symbols(read: Read, values: Iterable[int]) -> Iterator[str | int]:
    """The symbols of numbers; those of lines that are none have an empty text."""
    texts = [*read.words] if read.symbols == "words" and read.words else [*read.names, ""]
    for value in values:
        if read.symbols in ("chars", "ids"):
            yield chr(value) if read.symbols == "chars" else value
        else:
            yield texts[min(value, len(texts) - 1)]


class PlainTexts(NamedTuple):
    """Sequences as texts, a space between words or ids."""

    #: `chars`, `words` or `ids`
    symbols: str
    training: list[str]
    unlabelled: list[str]
    #: how many without classes are left out, since validation or test data have them, too
    left_out: int


def plain_texts(source: Source, unlabelled: str | None) -> PlainTexts:
    """Training sequences of data that are no log, and those of a file or folder without classes."""
    read = of_sessions(source) if source.labels is not None else of_texts(source)
    symbols = [*map(str, _symbols(read, read.sequences.values))]
    codes = np.concatenate(list(read.sequences.blocks))
    between = "" if read.symbols == "chars" else " "
    training, held_out = list[str](), set[str]()
    splits = drawn_splits(source, read)
    for begin, length, split in zip(read.starts, read.lengths, splits, strict=True):
        text = between.join(symbols[code] for code in codes[begin : begin + length])
        if split == TRAIN:
            training.append(text)
        else:
            held_out.add(text.strip())
    if unlabelled is None:
        return PlainTexts(read.symbols, training, [], 0)
    data = dataclasses.replace(source, data=unlabelled, label=None, group=None, labels=None)
    path = existing(unlabelled, "unlabelled")
    if path.is_file() and not suffix_of(path):
        data = dataclasses.replace(data, text=None)
    of_ids = encoder("ids", Words(list))

    def symbols_of_text(row: Row) -> Iterable[str]:
        if read.symbols == "words":
            return alphabets.Words(source.lower_case).split(row.text)
        return map(str, of_ids(row)) if read.symbols == "ids" else row.text

    texts = [between.join(symbols_of_text(row)) for row in rows_of_new(data, path, Noted())
             if not row.text.isspace()]  # fmt: skip
    kept = [text for text in texts if text.strip() not in held_out]
    return PlainTexts(read.symbols, training, kept, len(texts) - len(kept))


def _known(
    source: Source, read: Read, counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], tuple[Any, ...]]:
    """Provisional codes of the symbols of training data, and these, both in their order."""
    values = np.array(read.sequences.values, np.int64)
    if read.symbols == "words":
        assert read.words is not None
        words = [*read.words]
        names = [words[value] for value in values]
        known = frequent(counts, names, source.vocabulary)
        return known, tuple(names[code] for code in known)
    found = np.flatnonzero((counts > 0) & ((values < len(read.names)) if read.lines else True))
    known = found[np.argsort(values[found])]
    if read.lines:
        return known, tuple(read.names[value] for value in values[known])
    return known, tuple(map(chr if read.symbols == "chars" else int, values[known].tolist()))


def _classes(
    read: Read, labels: NDArray[np.int32], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """The final number of each class by its provisional one, and their names."""
    names = [*read.classes]
    counts = np.stack([np.bincount(labels[rows[n]:rows[n + 1]], minlength=len(names))
                       for n in (TRAIN, VALIDATION, TEST)])  # fmt: skip
    for split, only in ((TEST, counts[TEST]), (VALIDATION, counts[VALIDATION])):
        for number in np.flatnonzero((only > 0) & (counts[TRAIN] == 0)):
            raise InputError(
                f"{read.name}: class {told(names[number])} is in the {SPLITS[split]} split only "
                f"({_sequences(only[number])}), expected some in train"
            )
    used = np.flatnonzero(counts[TRAIN]).tolist()
    if not read.numbered:
        decimal = all(names[one].isdecimal() for one in used)
        used.sort(key=lambda one: (int(names[one]) if decimal else 0, names[one]))
    final = np.zeros(len(names), np.int32)
    final[used] = np.arange(len(used))
    return final, tuple(names[one] for one in used)


def _counted(classes: tuple[str, ...], labels: NDArray[np.int32]) -> str:
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    told = [f"{plain(name)} ({count:,})" for name, count in zip(classes, counts, strict=True)][
        :TOLD
    ]
    more = f" and {len(classes) - TOLD} more" if len(classes) > TOLD else ""
    return f"{len(labels):,} sequences of {len(classes)} classes: {', '.join(told)}{more}"


def _sequences(count: int) -> str:
    return f"{count:,} sequence{'' if count == 1 else 's'}"


def _left_out(read: Read) -> Iterator[str]:
    for kind, what in (("unlabelled", "without a label"), ("empty", "without symbols")):
        if count := getattr(read, kind):
            place = read.places[kind]
            yield f"left out: {_sequences(count)} {what}, the first is {place}"


def _alike(
    read: Read,
    order: NDArray[np.int64],
    rows: NDArray[np.int64],
    labels: NDArray[np.int32],
    codes: Codes,
) -> Iterator[str]:
    if read.contents:
        contents = np.array(read.contents, np.uint64)[order]
    else:
        ends = np.cumsum(np.array(read.lengths)[order]).tolist()
        parts = (codes[begin:end].tobytes() for begin, end in itertools.pairwise([0, *ends]))
        digests = b"".join(hashlib.blake2b(one, digest_size=8).digest() for one in parts)
        contents = np.frombuffer(digests, np.uint64)
    train = contents[: rows[VALIDATION]]
    for split in (VALIDATION, TEST):
        of_split = contents[rows[split] : rows[split + 1]]
        if equal := int(np.isin(of_split, train).sum()):
            yield f"{equal:,} of {len(of_split):,} {SPLITS[split]} sequences are in train, too"
    if several := shared(contents, labels):
        yield f"{several:,} equal ones occur with several classes"


def drawn_splits(source: Source, read: Read) -> NDArray[np.int8]:
    """The split of each sequence, drawn where none is given."""
    splits, labels = np.array(read.splits, np.int8), np.array(read.labels, np.int32)
    units = np.array(read.units, np.uint64) if read.units else _apart(read.contents)
    given = sorted({*splits.tolist()})
    if given != [-1] and given[0] != TRAIN:
        raise InputError(f"{read.name}: found no training split, expected one beside the others")
    missing = [split for split in (VALIDATION, TEST) if split not in given]
    pool = np.flatnonzero(splits == given[0])
    splits[pool] = TRAIN
    share = source.split[TRAIN] + sum(source.split[one] for one in missing)
    goals = [(split, source.split[split] / share) for split in missing]
    if goals:
        splits[pool] = _draw(read, units[pool], labels[pool], goals, source.seed)
    drawn = " and ".join(SPLITS[one] for one in missing)
    if given != [-1]:
        found = ", ".join(SPLITS[one] for one in given)
        said = f"splits as given: {found}" + (f"; {drawn} drawn from train" if drawn else "")
    else:
        said = "splits drawn"
    by = ", a group in one split" if read.groups else ""
    read.about += f"; {said}" + (f" by class with seed {source.seed}{by}" if drawn else "")
    if read.groups and given != [-1] and (several := shared(*read.of_groups(units, splits))):
        read.about += f"; groups in several splits: {several:,}"
    return splits


def _apart(contents: Sequence[int]) -> NDArray[np.uint64]:
    """Contents as keys that differ, also of equal ones, and by no order of different ones."""
    keys = np.array(contents, np.uint64)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    number = np.arange(len(keys)) - np.searchsorted(ordered, ordered)
    keys[order] += number.astype(np.uint64)
    return keys


def shared(keys: NDArray[np.uint64], kinds: NDArray[np.integer]) -> int:
    pairs = np.unique(np.stack([keys, kinds.astype(np.uint64)]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


def _draw(
    read: Read,
    units: NDArray[np.uint64],
    labels: NDArray[np.int32],
    goals: list[tuple[int, float]],
    seed: int,
) -> NDArray[np.int8]:
    """Splits of sequences by shares of each class; those of one unit have the same.

    A unit counts for the rarest of its classes.
    """
    distinct, unit, sizes = np.unique(units, return_inverse=True, return_counts=True)
    by_rarity = np.lexsort((np.bincount(labels)[labels], unit))
    main = labels[by_rarity][np.unique(unit[by_rarity], return_index=True)[1]]
    salt = (seed % (1 << 64)).to_bytes(8, "little")
    drawn = [hashlib.blake2b(one.tobytes(), digest_size=8, key=salt).digest() for one in distinct]
    by_draw = np.array(sorted(range(len(drawn)), key=drawn.__getitem__), np.int64)
    splits = np.zeros(len(distinct), np.int8)
    for name, label in read.classes.items():
        members = by_draw[main[by_draw] == label]
        in_class, apart = int((labels == label).sum()), len(np.unique(unit[labels == label]))
        if apart <= len(goals):
            if not in_class:
                continue  # which only another split has, or none
            alike = "" if apart == in_class else f" in {apart} groups that stay together"
            raise InputError(
                f"{read.name}: class {told(name)} has {_sequences(in_class)}{alike}, expected at "
                f"least {len(goals) + 1}, some for each split"
            )
        if len(members) <= len(goals):
            continue  # rarer classes of its units decide
        total, begin = np.cumsum(sizes[members]), 0
        for left, (split, share) in zip(range(len(goals), 0, -1), goals, strict=True):
            taken = int(total[begin - 1]) if begin else 0
            end = 1 + int(np.searchsorted(total, taken + max(1, round(share * int(total[-1])))))
            end = min(max(end, begin + 1), len(members) - left)
            splits[members[begin:end]] = split
            begin = end
    for name, label in read.classes.items():
        found = np.unique(splits[unit[labels == label]])
        if 0 < len(found) <= len(goals):
            raise InputError(
                f"{read.name}: class {told(name)} falls into {len(found)} of {len(goals) + 1} "
                f"splits, since sequences of one group stay together, expected smaller groups"
            )
    return splits[unit]
