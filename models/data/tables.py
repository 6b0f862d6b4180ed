"""Rows of tables with texts and classes: TSV, CSV, JSON lines, Parquet and Arrow; lists of labels.

Rows are read one after the other. What has no header, no label or no text is found out here.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from lstm_sweep.models.data.reader import Noted, decoded
from lstm_sweep.models.data.source import Source, existing, is_confined, open_data, read_small, told
from lstm_sweep.models.errors import InputError, cut, nearest, shown

#: characters of a text, at most: a longer one is a table with a quote that does not end, say
LONGEST_TEXT = 1 << 22
#: rows in which the label of the first must come again if that is no header, and in which columns
#: that are asked for must be met
LOOKED_AT = 10_000
#: names of columns of a message, at most
MOST_NAMED = 20
#: bytes of a list of labels, and of a file that describes a data set, at most
MOST_BYTES, MOST_INFO = 1 << 30, 1 << 24
#: kinds of tables by the ends of their names
DELIMITED, JSON, ARROW = (".tsv", ".csv", ".tab"), (".jsonl", ".ndjson", ".json"), (".arrow",)
TABLES = (*DELIMITED, *JSON, *ARROW, ".parquet")
#: descriptions of data sets that lie beside their tables
INFO, OTHER_INFO = "dataset_info.json", ("dataset_dict.json", "dataset_infos.json", "state.json")


class Row(NamedTuple):
    """A text of a table; its label and group are None where they are missing."""

    text: str
    label: str | None
    group: str | None
    path: Path
    #: of its line, or of the row of a file without lines, from 1; 0 if it is the whole file
    number: int

    @property
    def place(self) -> str:
        return f"{self.path}:{self.number}" if self.number else str(self.path)


@dataclass(frozen=True)
class Columns:
    """Which columns are wanted: each by its name or number; and the names of numbered classes."""

    label: str | None
    text: str | None
    group: str | None
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: Source, folder: Path | None = None) -> Columns:
        """Those that options name, or else what a data set of Hugging Face says of itself."""
        features = _features(folder / INFO) if folder and (folder / INFO).is_file() else {}
        return cls(source.label, source.text, source.group).described(features)

    def described(self, features: Mapping[str, Any]) -> Columns:
        """With what Hugging Face's features of a table say, where nothing else is said."""
        kinds = {name: one for name, one in features.items() if isinstance(one, dict)}
        classes = [name for name, one in kinds.items() if one.get("_type") == "ClassLabel"]
        label = self.label or (classes[0] if len(classes) == 1 else None)
        texts = [name for name, one in kinds.items() if one.get("dtype") == "string"]
        names = kinds.get(label or "", {}).get("names") or self.names
        if not (isinstance(names, list | tuple) and all(isinstance(one, str) for one in names)):
            names = ()
        text = self.text or (texts[0] if len(texts) == 1 else None)
        return Columns(label, text, self.group, tuple(names))

    def found(self, place: str, columns: Sequence[str], *, named: bool = True) -> list[int | None]:
        """Indices of label, text and group among the columns of a table."""
        index = [self._index(place, field, columns, named=named)
                 for field in ("label", "text", "group")]  # fmt: skip
        if index[0] is not None and index[0] == index[1]:
            raise InputError(
                f"{place}: --label and --text name the same column, {shown(self.label)}, expected "
                f"two"
            )
        if index[1] is None:
            others = [n for n in range(len(columns)) if n not in index]
            if named and "text" in columns and columns.index("text") in others:
                others = [columns.index("text")]
            if len(others) != 1:
                text = f"{place}: which column has the texts is not said, expected --text with one"
                has = _listed(columns) if named else f"its {len(columns)} columns"
                raise InputError(f"{text} of {has}")
            index[1] = others[0]
        return index

    def _index(self, place: str, field: str, columns: Sequence[str], *, named: bool) -> int | None:
        wanted = getattr(self, field)
        if wanted is None:
            return None
        if named and wanted in columns:
            return columns.index(wanted)
        if wanted.isdecimal() and len(wanted) < 9 and int(wanted) < len(columns):
            return int(wanted)
        near = nearest(wanted, columns) if named and not is_confined() else ""
        count = f"{len(columns)} columns, numbered from 0"
        has = f"{_listed(columns)}, or a number: it has {count}" if named else count
        found = f"{place}: --{field} is {shown(wanted)}: it has no such column"
        raise InputError(f"{found}, expected one of {has}{near and f'; {near}'}")

    def class_name(self, label: str) -> str:
        """The name of a class of which a table has the number."""
        known = self.names and label.isdecimal() and len(label) < 9 and int(label) < len(self.names)
        return self.names[int(label)] if known else label


def _listed(columns: Sequence[str]) -> str:
    if is_confined():
        return f"its {len(columns)} columns"
    more = ", ..." if len(columns) > MOST_NAMED else ""
    return ", ".join(shown(one) for one in columns[:MOST_NAMED]) + more


def _features(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(read_small(file, MOST_INFO))["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def suffix_of(path: Path) -> str:
    """The end of a file's name by which the kind of a table is known, without that of gzip."""
    name = path.name.lower().removesuffix(".gz")
    return next((one for one in TABLES if name.endswith(one)), "")


def is_table(path: Path) -> bool:
    return bool(suffix_of(path)) and path.name not in (INFO, *OTHER_INFO)


def features_of(path: Path) -> Mapping[str, Any]:
    """What a table of Hugging Face says of its columns."""
    if suffix_of(path) not in (".parquet", *ARROW):
        return {}
    import pyarrow

    try:
        with open_data(path) as file:
            return _schema_features(_opened(path, file)[1])
    except (pyarrow.ArrowException, OSError):  # which is for whoever reads its rows
        return {}


def rows_of(path: Path, columns: Columns, noted: Noted) -> Iterator[Row]:
    """The rows of a table, those without label or text too.

    Raises:
        InputError: it is none, or lacks a column.
    """
    kind = suffix_of(path)
    if kind in (".parquet", *ARROW):
        return _of_arrow(path, columns)
    if not kind:  # such as standard input
        with open_data(path) as file:
            kind = JSON[0] if file.read(1) == b"{" else ""
    return _of_json(path, columns, noted) if kind in JSON else _of_delimited(path, columns, noted)


def text_of(path: Path, noted: Noted) -> str:
    parts, size = list[str](), 0
    for part in decoded(path, noted):
        parts.append(part)
        size += len(part)
        if size > LONGEST_TEXT:
            break  # it is refused
    return checked_text(str(path), "".join(parts))


def checked_text(place: str, text: str) -> str:
    """A text that is not too long, and has no NUL byte."""
    if len(text) > LONGEST_TEXT:
        raise InputError(
            f"{place}: found a text of over {LONGEST_TEXT:,} characters, expected at most so many"
        )
    if "\0" in text:
        raise InputError(f"{place}: found the byte 0x00, as binary files have, expected text")
    return text


def _row(values: Sequence[object], columns: Columns, path: Path, number: int) -> Row:
    label, text, group = (_as_text(value, path, number) for value in values)
    found = None if label is None else columns.class_name(label)
    return Row(checked_text(f"{path}:{number}", text or ""), found, group, path, number)


def _as_text(value: object, path: Path, number: int) -> str | None:
    """A value as a text, items of a list with spaces between them; None if it is missing."""
    if isinstance(value, str):
        return value if value and not value.isspace() else None
    if isinstance(value, list) and all(isinstance(one, str | int) for one in value):
        return " ".join(map(str, value)) or None
    if isinstance(value, dict | list | bytes):
        raise InputError(f"{path}:{number}: found {told(value)}, expected a text")
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None or value != value else str(value)


# TSV and CSV


def _of_delimited(path: Path, columns: Columns, noted: Noted) -> Iterator[Row]:
    records = _records(path, noted)
    at, first = next(records, (0, []))
    if not at:
        raise InputError(f"{path}: found an empty file, expected a table")
    given = (columns.label, columns.text, columns.group)
    named = any(one is not None and not one.isdecimal() for one in given)
    index = columns.found(str(path), first, named=named)
    ahead = list[tuple[int, list[str]]]()
    if not named and index[0] is not None:
        ahead = list(itertools.islice(records, LOOKED_AT))
        column, label = index[0], first[index[0]]
        recurs = any(one[column : column + 1] == [label] for _, one in ahead)
        named = bool(ahead) and not (recurs or label.isdecimal())
    if named:
        noted.headers += 1
    for number, record in itertools.chain([] if named else [(at, first)], ahead, records):
        if len(record) != len(first):
            raise InputError(
                f"{path}:{number}: found {len(record)} columns, expected {len(first)} as in the "
                f"first line"
            )
        values = [None if one is None else record[one] for one in index]
        yield _row(values, columns, path, number)


def _records(path: Path, noted: Noted) -> Iterator[tuple[int, list[str]]]:
    """Records of a table and the numbers of their first lines, without blank lines."""
    lines = lines_of(path, noted)
    first = next(lines, "")
    kind = suffix_of(path)
    delimiter = "\t" if kind in (".tsv", ".tab") or "\t" in first else ","
    if delimiter == "," and ";" in first and "," not in first:
        delimiter = ";"
    if delimiter == "\t":
        for number, line in enumerate(itertools.chain([first], lines), start=1):
            if line.strip():
                yield number, [_unquoted(one) for one in line.rstrip("\n").split("\t")]
        return
    csv.field_size_limit(4 * LONGEST_TEXT)
    reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter, strict=True)
    number = 1
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{path}:{number}: is no row of a table ({error})") from None
        if record is None:
            return
        if record:
            yield number, record
        number = reader.line_num + 1


def _unquoted(field: str) -> str:
    """A field of tabs without the quotes that some programs write around it."""
    if len(field) > 1 and field[0] == field[-1] == '"' and '"' not in field[1:-1].replace('""', ""):
        return field[1:-1].replace('""', '"')
    return field


def lines_of(path: Path, noted: Noted) -> Iterator[str]:
    """Lines of a text in UTF-8, with their ends."""
    rest, size = list[str](), 0
    for block in decoded(path, noted):
        for line in io.StringIO(block, newline="\n"):
            rest.append(line)
            size += len(line)
            if size > 4 * LONGEST_TEXT:
                raise InputError(f"{path}: found a line of over {size:,} characters, expected rows")
            if line[-1] == "\n":
                yield "".join(rest)
                rest, size = [], 0
    if rest:
        yield "".join(rest)


# JSON lines


def _of_json(path: Path, columns: Columns, noted: Noted) -> Iterator[Row]:
    index: list[str | None] | None = None
    objects = _objects(path, noted)
    ahead = [*itertools.islice(objects, 1)]
    given = {columns.label, columns.text, columns.group} - {None}
    if any(isinstance(one, dict) and not given <= one.keys() for _, one in ahead):
        ahead += itertools.islice(objects, LOOKED_AT)  # the first row lacks some
    for number, content in itertools.chain(ahead, objects):
        if not isinstance(content, dict):
            raise InputError(
                f"{path}:{number}: found {told(content)}, expected an object of JSON in each line"
            )
        if index is None:
            some = {key for _, one in ahead if isinstance(one, dict) for key in one}
            names = [*content, *sorted(map(str, given & some - {*content}))]
            index = [None if one is None else names[one]
                     for one in columns.found(str(path), names)]  # fmt: skip
        values = [None if one is None else content.get(one) for one in index]
        yield _row(values, columns, path, number)


def _objects(path: Path, noted: Noted) -> Iterator[tuple[int, object]]:
    """What is in each line, or the items of the one list that a file is."""
    lines = lines_of(path, noted)
    for number, line in enumerate(lines, start=1):
        if number == 1 and line.lstrip().startswith("[") and suffix_of(path) == ".json":
            items = _parsed(path, number, "".join([line, *lines]))
            yield from enumerate(items if isinstance(items, list) else [items], start=1)
        elif line.strip():
            yield number, _parsed(path, number, line)


def _parsed(path: Path, number: int, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}:{number}: found {told(text.strip())}, expected an object of JSON in each "
            f"line ({error})"
        ) from None


# Parquet and Arrow


def _of_arrow(path: Path, columns: Columns) -> Iterator[Row]:
    import pyarrow

    try:
        with open_data(path) as file:
            opened, schema = _opened(path, file)
            names = schema.names
            columns = columns.described(_schema_features(schema))
            index = columns.found(str(path), names)
            wanted = [names[one] for one in index if one is not None]
            is_parquet = suffix_of(path) == ".parquet"
            batches = opened.iter_batches(columns=wanted) if is_parquet else opened
            number = 0
            for batch in batches:
                taken = [itertools.repeat(None, len(batch)) if one is None
                         else batch.column(names[one]).to_pylist() for one in index]  # fmt: skip
                for values in zip(*taken, strict=True):
                    number += 1
                    yield _row(values, columns, path, number)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: is no table of its kind ({error}), expected one") from None


def _opened(path: Path, file: BinaryIO) -> tuple[Any, Any]:
    """A file of Parquet, or the batches of one of Arrow; and its schema."""
    from pyarrow import ArrowInvalid, ipc, parquet

    if suffix_of(path) == ".parquet":
        opened = parquet.ParquetFile(file)
        return opened, opened.schema_arrow
    try:
        stream = ipc.open_stream(file)
        return stream, stream.schema
    except ArrowInvalid:
        file.seek(0)
        whole = ipc.open_file(file)
        return map(whole.get_batch, range(whole.num_record_batches)), whole.schema


def _schema_features(schema: Any) -> Mapping[str, Any]:
    """What Hugging Face has noted of the columns in the file itself."""
    try:
        found = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return dict(found["info"]["features"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


# lists of labels


def read_label_list(given: str) -> tuple[Path, list[tuple[int, str, str]]]:
    """Lines of a name and a label: the number of each line, name and label; some.

    They are separated by a tab, a comma or a space, the last one of the line.

    Raises:
        InputError: there is no such file.
    """
    try:
        path = existing(given)
    except InputError:
        text = f"--labels {shown(given)}: no such file, expected one of sessions and labels"
        raise InputError(text) from None
    if not path.is_file():
        raise InputError(f"{path}: is a folder, expected a file of sessions and labels")
    lines = enumerate(read_small(path, MOST_BYTES).split("\n"), start=1)
    return path, [(number, *_divided(line)) for number, line in lines if line.strip()]


def _divided(line: str) -> tuple[str, str]:
    for separator in "\t, ":
        name, found, label = line.strip().rpartition(separator)
        if found:
            return name.strip().strip('"'), label.strip().strip('"')
    return "", line.strip()


def check_once(
    path: Path, number: int, labels: Mapping[str, object], name: str, label: object
) -> None:
    if labels.get(name, label) != label:
        raise InputError(f"{path}:{number}: session {cut(name)} has two labels, expected one")
