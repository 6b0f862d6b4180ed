"""What was read of a store, for half a second; bounded in bytes, and shared by all who ask."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from typing_extensions import override

from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore

Value = TypeVar("Value")
#: names what was read: its kind first
Key = tuple[Hashable, ...]

#: seconds for which something is given again; an answer is made of what was read just as long ago
AGE_S = 0.5
#: part of a processor that reading the same again and again may take, and seconds for which what
#: costs much is given again because of that, at most
SHARE, MOST_S = 0.1, 10.0
#: bytes of all that is kept, about; the last one is kept in any case
MOST_BYTES = 64 << 20
#: bytes of an entry beside its value, of a run, and of each tag, param and metric of that, about
ENTRY_BYTES, RUN_BYTES, ITEM_BYTES = 1_000, 2_000, 200
#: runs whose sweeps and latest metrics are remembered
MOST_RUNS = 100_000


class Changes:
    """Tells whether a store has changed, without reading it.

    `PRAGMA data_version` of one connection is another number once any other connection has
    committed a change, be it of this process or of another. Only SQLite has such a number.
    """

    def __init__(self, file: Path | None) -> None:
        """`file` is that of an SQLite store; None: another store."""
        self._file = file
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        #: device and number of the file that is open, and how many were opened
        self._place: tuple[int, int] | None = None
        self._opened = 0

    def mark(self) -> Hashable | None:
        """Equal as long as nothing has changed; None if nobody can tell."""
        if self._file is None:
            return None
        with self._lock:
            try:
                found = self._file.stat()
                if self._connection is None or self._place != (found.st_dev, found.st_ino):
                    self._close()  # the file was replaced, as by a backup
                    self._open(self._file)
                    self._place = (found.st_dev, found.st_ino)
                assert self._connection is not None
                # all rows, since a statement that has not ended keeps others from tidying up
                rows = self._connection.execute("PRAGMA data_version").fetchall()
            except (OSError, sqlite3.Error):
                self._close()
                return None
            return self._opened, rows[0][0]

    def _open(self, file: Path) -> None:
        self._connection = sqlite3.connect(
            f"{file.as_uri()}?mode=rw", uri=True, timeout=0, check_same_thread=False
        )
        self._opened += 1

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None


@dataclass
class _Entry:
    """Something that was read, or is read just now by who holds the lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    #: until when it is given without a look at the store
    until: float = float("-inf")
    #: seconds of a processor that reading it has cost
    cost_s: float = 0.0
    #: of the store before it was read; None if it is read anew whether that has changed or not
    mark: Hashable | None = None
    size: int = 0


class Cache:
    """Keeps what was read for a moment, so that many who ask the same cost one look.

    After that it is read anew, or, if it is read from an SQLite store that has not changed, kept
    for another moment. Who asks for what is read just now waits for that.
    """

    def __init__(self, file: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`file` is that of an SQLite store; None: another store."""
        self._changes, self._clock = Changes(file), clock
        self._lock = threading.Lock()
        #: by when it was asked for last
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self.size = 0

    def get(
        self,
        key: Key,
        read: Callable[[], Value],
        size_of: Callable[[Value], int],
        *,
        age_s: float = AGE_S,
        lasts: bool = True,
    ) -> Value:
        """What `read` returns, or has returned `age_s` seconds ago at most.

        What `lasts` is also given as long as the store has not changed. What has cost much is given
        again for longer, unless `age_s` is 0.
        """
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
        with entry.lock:
            if not self._is_current(entry, age_s):
                mark, began = self._changes.mark() if lasts else None, time.thread_time()
                entry.until = float("-inf")
                try:
                    found = read()
                except BaseException:
                    self.drop(key.__eq__)
                    raise
                entry.value, entry.mark = found, mark
                entry.cost_s = time.thread_time() - began
                entry.until = self._until(entry, age_s)
                self._note_size(key, entry, ENTRY_BYTES + size_of(found))
            value: Value = entry.value
        return value

    def _until(self, entry: _Entry, age_s: float) -> float:
        longer = min(entry.cost_s / SHARE, MOST_S) if age_s else 0.0
        return self._clock() + max(age_s, longer)

    def _is_current(self, entry: _Entry, age_s: float) -> bool:
        if self._clock() < entry.until:
            return True
        if entry.mark is None or entry.mark != self._changes.mark():
            return False
        entry.until = self._until(entry, age_s)
        return True

    def _note_size(self, key: Key, entry: _Entry, size: int) -> None:
        """Note the size of what was read; what was asked for longest ago goes if all is too much.

        What was dropped while it was read is kept by none.
        """
        with self._lock:
            if self._entries.get(key) is not entry:
                return
            self.size += size - entry.size
            entry.size = size
            while self.size > MOST_BYTES and len(self._entries) > 1:
                _, oldest = self._entries.popitem(last=False)
                self.size -= oldest.size

    def drop(self, is_meant: Callable[[Key], bool]) -> None:
        """Read anew, from now on, what these keys name."""
        with self._lock:
            for key in list(filter(is_meant, self._entries)):
                self.size -= self._entries.pop(key).size

    def __len__(self) -> int:
        return len(self._entries)


class _Read(NamedTuple):
    """What was read of a sweep: first the runs with its name, then those below each of them."""

    parents: list[Any]
    children: dict[str, list[Any]]


class SharedStore(MlflowStore):
    """A store whose sweeps are read once for all who ask.

    A sweep is read as a whole, its own run before its trials: so one that is seen to have ended is
    seen with all its trials. The rounds of a trial are read again only if its latest ones differ.

    Runs are shared too: nobody may change one. Whoever writes to the store by other means calls
    `forget` afterwards, and all see it at once.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """Connect, as `Store`."""
        super().__init__(settings)
        self.cache = Cache(settings.database_file, clock)
        #: the run of each sweep, and the sweep and the latest metrics of each run, as last seen
        self._run_of: dict[str, str] = {}
        self._latest: dict[str, tuple[str, int]] = {}

    @override
    def runs(
        self, tags: Mapping[str, str] | None = None, *, newest: int | None = None
    ) -> list[Any]:
        given = dict(tags or {})
        if newest is None:
            if given.get(Tag.ROLE) == "sweep" and Tag.NAME in given:
                return _with(given, self._sweep(given[Tag.NAME]).parents)
            parent = given.get(Tag.PARENT, "")
            if known := self._latest.get(parent):
                read = self._sweep(known[0])
                if parent in read.children:
                    return _with(given, read.children[parent])
        return super().runs(given, newest=newest)

    @override
    def newest_runs(
        self, tags: Mapping[str, str], most: int, token: str = ""
    ) -> tuple[list[Any], str]:
        key, read = ("newest", *sorted(tags.items()), most, token), super().newest_runs
        found, more = self.cache.get(
            key, lambda: read(tags, most, token), lambda found: size_of_runs(found[0])
        )
        return list(found), more

    @override
    def timeline(self, run_id: str, key: str) -> tuple[tuple[int, int, float], ...]:
        read, (_, latest) = super().timeline, self._latest.get(run_id, ("", None))
        if latest is None:
            return read(run_id, key)
        return self.cache.get(
            ("timeline", run_id, key, latest),
            lambda: read(run_id, key),
            lambda found: ITEM_BYTES * (1 + len(found)),
            age_s=float("inf"),
        )

    def _sweep(self, name: str) -> _Read:
        return self.cache.get(("sweep", name), lambda: self._read(name), _size_of_read)

    def _read(self, name: str) -> _Read:
        parents = self._parents(name)
        read = _Read(parents, {})
        for run in parents:
            run_id = run.info.run_id
            read.children[run_id] = super().runs({Tag.PARENT: run_id})
        if len(self._latest) > MOST_RUNS:
            self._latest.clear()
            self._run_of.clear()
        if len(parents) == 1:
            self._run_of[name] = parents[0].info.run_id
        for one in (*parents, *(child for some in read.children.values() for child in some)):
            latest = hash(tuple(sorted((key, repr(to)) for key, to in one.data.metrics.items())))
            self._latest[one.info.run_id] = (name, latest)
        return read

    def _parents(self, name: str) -> list[Any]:
        """The runs of sweeps with a name; one that was seen before is looked up by its ID."""
        if known := self._run_of.get(name):
            run = self.run(known)
            is_there = run is not None and run.info.lifecycle_stage == "active"
            if is_there and run.data.tags.get(Tag.NAME) == name:
                return [run]
        return super().runs({Tag.ROLE: "sweep", Tag.NAME: name})

    def forget(self, sweep: str | None = None) -> None:
        """Read anew from now on: all, or one sweep, all lists, and all that is made of them."""
        self.cache.drop(lambda key: _changes_with(key, sweep))


def _changes_with(key: Key, sweep: str | None) -> bool:
    """Whether what a key names changes with a sweep, or with any."""
    if key[0] == "sweep":
        return sweep is None or key[1] == sweep
    return key[0] != "timeline"


def _with(tags: Mapping[str, str], runs: list[Any]) -> list[Any]:
    """The runs with these tags, oldest first."""
    return [run for run in runs if tags.items() <= run.data.tags.items()]


def _size_of_read(read: _Read) -> int:
    return sum(map(size_of_runs, (read.parents, *read.children.values())))


def size_of_runs(runs: list[Any]) -> int:
    """Bytes that runs take in memory, about."""
    return sum(map(_size_of_run, runs))


def _size_of_run(run: Any) -> int:
    data = run.data
    texts = [*data.tags.items(), *data.params.items()]
    items = len(texts) + 2 * len(data.metrics)
    return RUN_BYTES + ITEM_BYTES * items + sum(len(name) + len(value) for name, value in texts)


@dataclass(frozen=True, kw_only=True)
class SharedSettings(Settings):
    """Settings of a store that is open, and shared by those who read it."""

    shared: SharedStore = field(repr=False, compare=False)

    @classmethod
    def of(cls, shared: SharedStore) -> SharedSettings:
        """The settings of a shared store."""
        return cls(**vars(shared.settings), shared=shared)


def store_to_read(settings: Settings) -> MlflowStore:
    """The store with these settings, which is only read: the one that is shared, or else a new one.

    Raises:
        InputError: it cannot be reached.
    """
    return settings.shared if isinstance(settings, SharedSettings) else MlflowStore(settings)
