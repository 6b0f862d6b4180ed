"""What was read of a store: given again for half a second, to all who ask for the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import override

from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import NEWEST, OWN, MlflowStore, Wanted, kind_of

Value = TypeVar("Value")
#: names what was read: its kind first
Key = tuple[Hashable, ...]

#: seconds for which something is given again; an answer is made of what was read just as long ago
AGE_S = 0.5
#: seconds for which what was read is kept if nobody asks for it
KEPT_S = 30.0
#: runs whose latest metrics are remembered
MOST_RUNS = 100_000
#: seconds within which a file system may give two changes the same time
RACE_S = 0.1


def mark_of(file: Path) -> Hashable | None:
    """Equal as long as nothing is written to an SQLite file; None if that cannot be told."""
    found = []
    for path in (file, file.with_name(f"{file.name}-wal")):
        try:
            status = path.stat()
        except OSError:
            continue
        if time.time() - status.st_mtime < RACE_S:
            return None
        found.append((status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found) or None


@dataclass
class _Entry:
    """Something that was read, or is read just now by who holds the lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    #: until when it is given without a look at the store, and kept
    until: float = float("-inf")
    kept_until: float = 0.0
    #: of the store before it was read
    mark: Hashable | None = None


class Cache:
    """Keeps what was read for a moment, or as long as the file of an SQLite store is unchanged.

    Who asks for what is read just now waits for that.
    """

    def __init__(self, file: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`file` is that of an SQLite store whose changes this host sees at once; None: another."""
        self._file, self._clock = file, clock
        self._lock = threading.Lock()
        self._entries: dict[Key, _Entry] = {}
        self._tidied = clock()

    def get(
        self, key: Key, read: Callable[[], Value], *, age_s: float = AGE_S, lasts: bool = True
    ) -> Value:
        """What `read` returns, or has returned `age_s` seconds ago at most.

        What `lasts` is also given as long as the store has not changed.
        """
        now = self._clock()
        with self._lock:
            if now > self._tidied + AGE_S:
                self._entries = {k: one for k, one in self._entries.items() if one.kept_until > now}
                self._tidied = now
            entry = self._entries.setdefault(key, _Entry())
            entry.kept_until = now + (KEPT_S if lasts else age_s)
        with entry.lock:
            if self._clock() >= entry.until:
                mark = mark_of(self._file) if lasts and self._file else None
                if mark is None or mark != entry.mark:
                    try:
                        entry.value, entry.mark = read(), mark
                    except BaseException:
                        self.drop(key.__eq__)
                        raise
                entry.until = self._clock() + age_s
            value: Value = entry.value
        return value

    def drop(self, is_meant: Callable[[Key], bool]) -> None:
        with self._lock:
            for key in list(filter(is_meant, self._entries)):
                del self._entries[key]

    def __len__(self) -> int:
        return len(self._entries)


class SharedStore(MlflowStore):
    """A store that is read once for all who ask the same within a moment; nobody may change a run.

    The trials of a sweep are read after its own run: so one that is seen to have ended is seen with
    all its trials. Whoever writes to the store by other means calls `forget` afterwards.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(settings)
        file = settings.database_file
        self.cache = Cache(file if file and kind_of(file) in OWN else None, clock)
        #: a hash of the latest metrics of each run: rounds are read again if it differs
        self._latest: dict[str, int] = {}

    @override
    def select(
        self, tags: Wanted, most: int, token: str = "", order: str = NEWEST
    ) -> tuple[list[Any], str]:
        select = partial(super().select, tags, most, token, order)

        def read() -> tuple[list[Any], str]:
            runs, more = select()
            if Tag.NAME in tags:  # the trials of these sweeps are to be read after them
                trials = {(Tag.PARENT, run.info.run_id) for run in runs}
                self.cache.drop(lambda key: not trials.isdisjoint(key))
            if len(self._latest) > MOST_RUNS:
                self._latest.clear()
            for run in runs:
                self._latest[run.info.run_id] = hash(frozenset(run.data.metrics.items()))
            return runs, more

        key = ("runs", *sorted(tags.items()), most, token, order)
        runs, more = self.cache.get(key, read)
        return list(runs), more

    @override
    def timeline(self, run_id: str, key: str) -> tuple[tuple[int, int, float], ...]:
        read, latest = partial(super().timeline, run_id, key), self._latest.get(run_id)
        age_s = AGE_S if latest is None else float("inf")
        return self.cache.get(("timeline", run_id, key, latest), read, age_s=age_s)

    def forget(self) -> None:
        self.cache.drop(lambda key: key[0] != "timeline")


@dataclass(frozen=True, kw_only=True)
class SharedSettings(Settings):
    """Settings of a store that is open, and shared by those who read it."""

    shared: SharedStore = field(repr=False, compare=False)

    @classmethod
    def of(cls, shared: SharedStore) -> SharedSettings:
        return cls(**vars(shared.settings), shared=shared)


def store_to_read(settings: Settings) -> MlflowStore:
    """The store with these settings, to be read: the one that is shared, or else a new one."""
    return settings.shared if isinstance(settings, SharedSettings) else MlflowStore(settings)
