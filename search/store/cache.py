"""What was read of a store: given again for half a second, to all who ask for the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, TypeVar

from typing_extensions import override

from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import NEWEST, MlflowStore, Wanted

Value = TypeVar("Value")
#: names what was read: its kind first
Key = tuple[Hashable, ...]

#: seconds for which something is given again; an answer is made of what was read just as long ago
AGE_S = 0.5
#: metrics of runs whose values are kept while no later one is logged
MOST_TIMELINES = 4_096
#: runs whose latest metrics are remembered
MOST_RUNS = 100_000


@dataclass
class _Entry:
    """Something that was read, or is read just now by who holds the lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    #: until when it is given, by the clock
    until: float = float("-inf")


class Cache:
    """Keeps what was read for a moment; who asks for what is read just now waits for that."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._entries: dict[Key, _Entry] = {}
        self._tidied = clock()

    def get(self, key: Key, read: Callable[[], Value], age_s: float = AGE_S) -> Value:
        """What `read` returns, or has returned `age_s` seconds ago at most."""
        now = self._clock()
        with self._lock:
            if now > self._tidied + AGE_S:
                old = [
                    k for k, at in self._entries.items() if at.until < now and not at.lock.locked()
                ]
                for one in old:
                    del self._entries[one]
                self._tidied = now
            entry = self._entries.setdefault(key, _Entry())
        with entry.lock:
            if self._clock() >= entry.until:
                try:
                    entry.value = read()
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
        self.cache = Cache(clock)
        #: a hash of the latest metrics of each run: rounds are read again if it differs
        self._latest: dict[str, int] = {}
        of_store = super().timeline
        self._timeline = lru_cache(MOST_TIMELINES)(lambda run_id, key, _: of_store(run_id, key))

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

        runs, more = self.cache.get(("runs", *sorted(tags.items()), most, token, order), read)
        return list(runs), more

    @override
    def timeline(self, run_id: str, key: str) -> tuple[tuple[int, int, float], ...]:
        latest = self._latest.get(run_id)
        return (
            super().timeline(run_id, key) if latest is None else self._timeline(run_id, key, latest)
        )

    def forget(self) -> None:
        self.cache.drop(lambda key: True)


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
