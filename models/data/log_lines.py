"""Lines of logs: how records and sessions are found in them, and what symbol each record is.

Data are read once. What is kept of a record in memory is the number of its masked line; sessions
and distinct masked lines are in files. Once it is known which sessions are for training, the lines
of these are mined, and all are matched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from lstm_sweep.models.data.reader import Noted, blocks_of
from lstm_sweep.models.data.service_log import HEADER, SESSION_BY
from lstm_sweep.models.data.source import FIELD, SAMPLES, Sample, Source, TooLongError, regex, timer
from lstm_sweep.models.data.spool import BLOCK, Spool, Texts, blocks
from lstm_sweep.models.data.templates import (
    Matcher,
    Miner,
    TemplateSettings,
    read_settings,
    read_templates,
)
from lstm_sweep.models.errors import InputError, shown

#: characters of a line that are looked at; more are counted
LONGEST_LINE = 1 << 14
#: masked lines that are remembered, at most, and characters of each
REMEMBERED, LONGEST_REMEMBERED = 1 << 17, 1 << 10
#: seconds of this process for each block of lines, a megabyte, of which sound expressions take a
#: tenth of one, and those that all blocks may take besides
BLOCK_SECONDS, SPARE_SECONDS = 1.0, 20.0
#: what stands in place of the name of a line's session, unless that is so short that it may be a
#: part of something else
SESSION, SHORTEST_NAME = "<ID>", 4
#: characters of the name of a session that are kept, at most
LONGEST_NAME = 256
#: symbols of new data that have no template
UNMATCHED = "<unk>"

Numbers = NDArray[np.int64]
Places = NDArray[np.unsignedinteger]


@dataclass(frozen=True, kw_only=True)
class LineFormat:
    """How sessions and symbols are found in lines; checked when it is made."""

    #: regular expression of what is cut off in front of a line
    header: str | None = None
    #: regular expression whose first group, or whole match, names the session of a line, or
    #: `field=NAME`; None: a file is a session
    session_by: str | None = None
    #: field of JSON lines that is the symbol; None: the template is
    symbol_field: str | None = None
    settings: TemplateSettings = field(default_factory=TemplateSettings)

    def __post_init__(self) -> None:
        for name, given in (("header", self.header), ("session_by", self.session_by)):
            if given is not None:
                regex(name, given)
        if self.symbol_field is not None and (self.symbol_field == "" or self.header is not None):
            raise InputError("field= as symbols: expected the name of a field, and no header")

    @property
    def session_field(self) -> str | None:
        """Field of JSON lines that names the session."""
        by = self.session_by
        return by.removeprefix(FIELD) if by and by.startswith(FIELD) else None

    @property
    def described(self) -> str:
        """What symbols and sessions are, for people."""
        symbol = "the template of a line"
        if self.symbol_field is not None:
            symbol = f"the field {shown(self.symbol_field)} of a line"
        by, name = self.session_by, self.session_field
        session = f"field {shown(name)}" if name else f"match of {shown(by)}"
        return f"a symbol is {symbol}, " + (
            f"all lines with the same {session} are a session" if by else "a file is a session"
        )

    def session(self) -> Callable[[str], str | None]:
        """A function that gives the name of a line's session; None if it has none."""
        if (name := self.session_field) is not None:
            return lambda line: value_of(line, name)
        expression = regex("session_by", self.session_by or "")
        group, search = min(1, expression.groups), expression.search

        def named(line: str) -> str | None:
            found = search(line)
            return found[group] if found else None

        return named

    def symbols_in(self, lines: Sequence[str], symbols: Sequence[Any]) -> list[str]:
        """Symbols of lines, each with its header or without; those that are symbols stand."""
        if self.symbol_field:
            return [*lines]
        matcher, session = Matcher(symbols), self.session()
        header, known = regex("header", self.header or "").match, {*symbols}
        found = []
        with _time_limit() as begin:
            begin("--prompt")
            mask = self.settings.mask()
            for line in lines:
                head = header(line)
                content = _without_name(line[head.end() :] if head else line, session(line) or "")
                number = matcher.number(self.settings.tokens(mask(content)))
                found.append(line if line in known or number is None else symbols[number])
        return found

    def to_dict(self) -> dict[str, Any]:
        """All that `from_dict` needs, as plain values."""
        return vars(self) | {"settings": self.settings.to_dict()}

    @classmethod
    def from_dict(cls, given: object) -> Self:
        """Make a format of the result of `to_dict`."""
        names = [one.name for one in fields(cls)]
        if not isinstance(given, dict) or given.keys() != {*names}:
            raise InputError(f"lines is {shown(given)}: expected {', '.join(names)}")
        for name in names[:-1]:
            if not isinstance(given[name], str | None):
                raise InputError(f"{name} is {shown(given[name])}: expected a text")
        return cls(**given | {"settings": TemplateSettings.from_dict(given["settings"])})


def _without_name(content: str, session: str) -> str:
    return content.replace(session, SESSION) if len(session) >= SHORTEST_NAME else content


def short_name(name: str) -> str:
    """The name of a session; of a long one its beginning and a digest."""
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
    return f"{name[: LONGEST_NAME - 33]}~{digest[:32]}"


def value_of(line: str, name: str) -> str | None:
    """A field of a line of JSON as a text; dots in its name may lead into what is nested."""
    try:
        found = _found(json.loads(line), name)
    except (ValueError, RecursionError):
        return None
    return None if found is None or isinstance(found, dict | list) else str(found) or None


def _found(content: object, name: str) -> object:
    if not isinstance(content, dict):
        return None
    if name in content:
        return content[name]
    parts = name.split(".")
    return next(
        (
            found
            for cut in range(1, len(parts))
            if (inner := content.get(".".join(parts[:cut]))) is not None
            and (found := _found(inner, ".".join(parts[cut:]))) is not None
        ),
        None,
    )


@dataclass
class Counts:
    """Lines of a log that are no records of their own, and what was done to others."""

    records: int = 0
    joined: int = 0
    headless: int = 0
    no_session: int = 0
    no_symbol: int = 0
    no_ids: int = 0
    cut: int = 0
    replaced: int = 0
    nulls: int = 0

    def __str__(self) -> str:
        texts = {
            "lines go on with the record before them": self.joined,
            "lines that go on with no record are left out": self.headless,
            "records without a session are left out": self.no_session,
            "records without the field are left out": self.no_symbol,
            "lines that are no event ids, or very long, are left out": self.no_ids,
            f"lines are cut to {LONGEST_LINE:,} characters": self.cut,
            "bytes that are not UTF-8 are read as U+FFFD": self.replaced,
            "bytes 0x00 are left out": self.nulls,
        }
        return "; ".join(f"{count:,} {text}" for text, count in texts.items() if count)


@dataclass(frozen=True)
class Log:
    """Records of a log, session by session in the order of their first records."""

    #: number of the masked line of each record, `<uint32>[records]`
    lines: NDArray[np.uint32]
    #: the first record of each session, `<int64>[sessions]`
    starts: Numbers
    #: number of the file that each session is, from 0, if files are sessions, `<int64>[sessions]`
    files: Numbers
    #: distinct masked lines, or almost: one that was forgotten may have two numbers
    masked: Texts
    #: records up to the end of each group of files
    cuts: tuple[int, ...]
    counts: Counts
    noted: Noted
    #: each record in the order in which it was read, if this was asked for, and where it is there
    texts: Texts | None
    places: Places

    def mined(self, settings: TemplateSettings, training: int) -> list[str]:
        """The templates of the first `training` records."""
        used = np.zeros(len(self.masked), bool)
        used[self.lines[:training]] = True
        miner = Miner(settings)
        for line, is_used in zip(self.masked, used.tolist(), strict=True):
            if is_used:
                miner.add(settings.tokens(line))
        return miner.templates()

    def values(self, most: int) -> list[str]:
        """The distinct symbols of lines whose symbol is a field, `most` of them."""
        found = dict.fromkeys(line for line, _ in zip(self.masked, range(most), strict=False))
        return list(found)

    def numbers(self, symbols: Sequence[str], format: LineFormat) -> Iterator[NDArray[np.uint32]]:
        """The number of each record's symbol among some; that after the last if it has none.

        They come in blocks, `<uint32>[records]`.
        """
        number: Callable[[str], int | None]
        if format.symbol_field is None:
            matcher, tokens = Matcher(symbols), format.settings.tokens
            number = lambda line: matcher.number(tokens(line))  # noqa: E731
        else:
            number = {symbol: n for n, symbol in enumerate(symbols)}.get
        none = len(symbols)
        found = (none if (n := number(line)) is None else n for line in self.masked)
        of_line = np.fromiter(found, np.uint32, len(self.masked))
        for begin in range(0, len(self.lines), BLOCK):
            yield of_line[self.lines[begin : begin + BLOCK]]


def format_of(source: Source) -> LineFormat:
    """How the lines of some data are read; templates that were given stand for unmasked lines.

    Those of a sample are read as it is made, unless something else is given.
    """
    if source.template_settings is not None:
        settings = read_settings(source.template_settings)
    else:
        settings = TemplateSettings() if source.templates is None else TemplateSettings(masking=())
    is_field = source.symbols.startswith(FIELD)
    header, session_by = source.header, source.session_by
    if source.data in SAMPLES:
        header, session_by = header or HEADER, session_by or SESSION_BY
    return LineFormat(
        header=header,
        session_by=session_by,
        symbol_field=source.symbols.removeprefix(FIELD) if is_field else None,
        settings=settings,
    )


def symbols_of(log: Log, format: LineFormat, training: int, templates: str | None) -> list[str]:
    """The symbols that records may have, of which the first `training` are for training.

    `templates` is a file of them.
    """
    if format.symbol_field is not None:
        return log.values(format.settings.max_clusters)
    if templates is None:
        return log.mined(format.settings, training)
    tokens = map(format.settings.tokens, read_templates(templates))
    return list(dict.fromkeys(map(" ".join, tokens)))


def read_log(
    groups: Mapping[str, Sequence[Path | Sample]], format: LineFormat, *, keep_texts: bool = False
) -> Log:
    """Read groups of files, or of samples; sessions are not shared by groups."""
    reading = _Reading(format, keep_texts=keep_texts)
    cuts = []
    with _time_limit() as begin_block:
        for paths in groups.values():
            for path in paths:
                reading.read_file(path, begin_block)
            cuts.append(reading.counts.records)
    if not reading.counts.records:
        files = [path for paths in groups.values() for path in paths]
        more = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
        where = f"{files[0]}{more}: " if isinstance(files[0], Path) else ""
        raise InputError(where + reading.why_none())
    return reading.log(tuple(cuts))


class Records:
    """Finds the records in lines that follow each other."""

    def __init__(self, format: LineFormat) -> None:
        self.format, self.counts = format, Counts()
        #: whether the last record was kept, so that lines may go on with it
        self.is_open = False

    def decoded(self, block: bytes) -> str:
        """A block of lines as a text; bytes that are none are counted."""
        if b"\0" in block:
            self.counts.nulls += block.count(b"\0")
            block = block.replace(b"\0", b"")
        try:
            return block.decode()
        except UnicodeDecodeError:
            text = block.decode(errors="replace")
            self.counts.replaced += text.count("\ufffd") - block.count("\ufffd".encode())
            return text

    @cached_property
    def record(self) -> Callable[[str], tuple[str, str] | None]:
        """A function that gives a line's session, and what its symbol is found by.

        The session is "" if that is the file. It gives None for a line that is left out, or goes on
        with the one before. Expressions are used, which may take long.
        """
        format, counts, field = self.format, self.counts, self.format.symbol_field
        session = None if format.session_by is None else format.session()
        header = None if format.header is None else regex("header", format.header).match
        mask, margins = format.settings.mask(), " \t" if field is None else ""

        def record(line: str) -> tuple[str, str] | None:
            if not line or line.isspace():
                return None
            if len(line) > LONGEST_LINE:
                counts.cut += 1
                line = line[:LONGEST_LINE]
            if header is None:
                content, is_head = line, line[0] not in margins
            elif head := header(line):
                content, is_head = line[head.end() :], True
            else:
                is_head = False
            if not is_head:
                if self.is_open:
                    counts.joined += 1
                    self.join(line)
                else:
                    counts.headless += 1
                return None
            self.is_open = False
            name = session(line) if session else ""
            if name is None:
                counts.no_session += 1
                return None
            found = mask(_without_name(content, name)) if field is None else value_of(line, field)
            if found is None:
                counts.no_symbol += 1
                return None
            self.is_open = True
            return name, found

        return record

    def join(self, line: str) -> None:
        """A line goes on with the last record."""


class _Reading(Records):
    """The records of files that are read one after the other."""

    def __init__(self, format: LineFormat, *, keep_texts: bool) -> None:
        super().__init__(format)
        self.noted = Noted()
        self._masked, self._texts = Texts(), Texts() if keep_texts else None
        self._lines, self._sessions = Spool(), Spool()
        self._number: dict[str, int] = {}
        self._files = 0

    def read_file(self, path: Path | Sample, begin_block: Callable[[str], None]) -> None:
        self._files += 1
        self.is_open = False
        for text, first_line in self._whole_lines(path):
            begin_block(f"{path}:{first_line}")
            self._read(text.split("\n"))

    def _whole_lines(self, path: Path | Sample) -> Iterator[tuple[str, int]]:
        """Blocks of whole lines, and the number of the first of each."""
        rest, number = b"", 1
        read = [path.text()] if isinstance(path, Sample) else blocks_of(path, self.noted)
        for block in read:
            # of a line no more bytes than are looked at
            head, newline, tail = block.rpartition(b"\n")
            if newline:
                whole, rest = rest + head, tail
                yield self.decoded(whole), number
                number += whole.count(b"\n") + 1
            elif len(rest) < 4 * LONGEST_LINE:
                rest += tail
        yield self.decoded(rest), number

    def _read(self, lines: list[str]) -> None:
        format, remembered = self.format, self._number
        read, texts, file = self.record, self._texts, self._files
        by_name = format.session_by is not None
        numbers, sessions = list[int](), list[int]()
        for line in lines:
            found = read(line)
            if found is None:
                continue
            name, masked = found
            number = remembered.get(masked)
            numbers.append(self._remember(masked) if number is None else number)
            sessions.append(hash(name) if by_name else file)
            if texts is not None:
                texts.append(line[:LONGEST_LINE])
        if numbers:
            self.counts.records += len(numbers)
            self._lines.append(np.array(numbers, np.uint32))
            self._sessions.append(np.array(sessions, np.int64).view(np.uint64))

    @override
    def join(self, line: str) -> None:
        if self._texts is not None:
            self._texts.extend_last(line)

    def _remember(self, masked: str) -> int:
        if len(masked) > LONGEST_REMEMBERED:
            return self._masked.append(masked)
        if len(self._number) >= REMEMBERED:
            self._number.clear()
        number = self._number[masked] = self._masked.append(masked)
        return number

    def log(self, cuts: tuple[int, ...]) -> Log:
        """All records, session by session."""
        lines, keys = self._lines.joined(), self._sessions.joined()
        places, sizes = [], []
        for begin, end in zip((0, *cuts), cuts, strict=False):
            if end > begin:
                inside, its_sizes = _gathered(keys[begin:end], begin)
                places.append(inside)
                sizes.append(its_sizes)
        order, lengths = np.concatenate(places), np.concatenate(sizes)
        del places, sizes
        starts = np.cumsum(lengths) - lengths
        by_file = self.format.session_by is None
        return Log(
            lines[order],
            starts,
            keys[order[starts]].astype(np.int64) - 1 if by_file else starts[:0],
            self._masked,
            cuts,
            self.counts,
            self.noted,
            self._texts,
            order if self._texts else order[:0],
        )

    def why_none(self) -> str:
        """What is wrong with lines of which none is a record."""
        counts, format = self.counts, self.format
        if counts.no_session:
            name = format.session_field
            what = f"the field {shown(name)}" if name else f"a match of {shown(format.session_by)}"
            return f"session_by: none of {counts.no_session:,} records has {what}, expected some"
        if counts.no_symbol:
            return (
                f"symbols: none of {counts.no_symbol:,} lines is JSON with the field "
                f"{shown(format.symbol_field)}, expected some"
            )
        if counts.headless and format.header is not None:
            return (
                f"header: none of {counts.headless:,} lines begins with a match of "
                f"{shown(format.header)}, expected some"
            )
        if counts.headless:
            return "all lines begin with white space, expected records; see --header"
        return "found no lines, expected some"


def _gathered(keys: NDArray[np.uint64], begin: int) -> tuple[Places, Numbers]:
    """Records, from `begin` on, session by session by their keys, and how many each session has.

    Beside what is returned, memory is for the distinct keys and for a block of records.
    """
    known, number = keys[:1], np.zeros(1, np.uint32)  # keys ascending, and their sessions
    sizes, numbers = np.zeros(1, np.int64), Spool()
    for block in blocks(keys):
        values, first, inverse = np.unique(block, return_index=True, return_inverse=True)
        place = np.searchsorted(known, values)
        is_new = known.take(place, mode="clip") != values
        new = np.empty(np.count_nonzero(is_new), np.uint32)
        new[np.argsort(first[is_new])] = len(known) + np.arange(len(new))
        known = np.insert(known, place[is_new], values[is_new])
        number = np.insert(number, place[is_new], new)
        of_record = number[np.searchsorted(known, values)][inverse]
        sizes = np.append(sizes, np.zeros(len(new), np.int64))
        np.add.at(sizes, of_record, 1)
        numbers.append(of_record)
    del known, number
    kind = np.uint32 if begin + len(keys) < 1 << 32 else np.uint64
    free = np.cumsum(sizes) - sizes
    found: Places = np.empty(len(keys), kind)
    for of_record in numbers:
        order = np.argsort(of_record, kind="stable")
        ordered = of_record[order]
        heads = np.flatnonzero(np.diff(ordered, prepend=-1))
        counts = np.diff(heads, append=len(ordered))
        found[free[ordered] + np.arange(len(ordered)) - np.repeat(heads, counts)] = begin + order
        free[ordered[heads]] += counts
        begin += len(ordered)
    return found, sizes


@contextlib.contextmanager
def _time_limit() -> Iterator[Callable[[str], None]]:
    """Stop expressions that take for ever; what is yielded is called before each block of lines.

    What a block does not take is left to the next ones.
    """
    where, left = "", 0.0
    try:
        with timer() as set_timer:

            def begin_block(place: str) -> None:
                nonlocal where, left
                left = (set_timer(0) if where else SPARE_SECONDS) + BLOCK_SECONDS
                where = place
                set_timer(min(left, SPARE_SECONDS + BLOCK_SECONDS))

            yield begin_block
    except TooLongError:
        raise InputError(
            f"{where}: the expressions of header, session_by and masking take over "
            f"{BLOCK_SECONDS:g} s for a megabyte and {SPARE_SECONDS:g} s besides up to here, "
            f"expected simpler ones, without a repetition in a repetition"
        ) from None
