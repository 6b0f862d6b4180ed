"""A store that many read: what it has answered is given to all of them until it changes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from lstm_sweep.search.store.changes import Changes
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store

#: seconds for which answers are given again although the store has changed, at least and at most
LEAST_S, MOST_S = 0.5, 10.0
#: part of a processor that reading one sweep, or the list of all, may take
SHARE = 0.05
#: snapshots that are kept, and runs in them
MOST_SNAPSHOTS, MOST_RUNS = 200, 5_000
#: in place of the name of a sweep: lists of sweeps
LISTS = ""


@dataclass
class _Snapshot:
    """What was read of one sweep, or which sweeps there are, since one moment."""

    #: that of the store when it was begun
    mark: Hashable | None
    began: float
    answers: dict[tuple[Any, ...], Future[Any]] = field(default_factory=dict)
    #: seconds of a processor that its answers have cost
    cost_s: float = 0.0
    #: IDs of its runs
    runs: set[str] = field(default_factory=set)

    def is_recent(self, now: float) -> bool:
        """Whether it is given again even if the store has changed."""
        return now - self.began < min(max(LEAST_S, self.cost_s / SHARE), MOST_S)


class SharedStore(Store):
    """A store whose sweeps are read once for all who ask.

    What was read of one sweep is a snapshot. Once the store has changed it is read anew, but not
    within `LEAST_S` seconds, and only so often that this takes at most `SHARE` of a processor.
    Nobody can tell whether a store has changed that is no SQLite file, so it counts as changed.

    The run of a sweep is the first that is read of it, then its trials, then their metrics. So a
    sweep that is seen to have ended is seen with all its trials, and a trial with all its rounds.

    Runs are shared too: nobody may change one. Whoever writes to the store by other means calls
    `forget` or `note` afterwards, and all see it at once.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """Connect, as `Store`."""
        super().__init__(settings)
        self._clock = clock
        self._changes = Changes(settings.database_file)
        self._keeping = threading.Lock()
        self._snapshots: OrderedDict[str, _Snapshot] = OrderedDict()
        #: sweep of each run of the snapshots
        self._sweep_of: dict[str, str] = {}

    def runs(
        self, tags: Mapping[str, str] | None = None, *, having: str = "", newest: int | None = None
    ) -> list[Any]:
        """As of `Store`; what is asked for those `having` a tag is not shared."""
        given, read = dict(tags or {}), super().runs
        if having:
            return read(given, having=having, newest=newest)

        def ask() -> list[Any]:
            return read(given, newest=newest)

        key = (*sorted(given.items()), newest)
        if Tag.NAME in given:
            return list(self._kept(given[Tag.NAME], key, ask, begins=True))
        if Tag.PARENT in given:
            return self._children(given, key, ask)
        return list(self._kept(LISTS, key, ask, begins=True)) if given else ask()

    def _children(
        self, given: Mapping[str, str], key: tuple[Any, ...], ask: Callable[[], list[Any]]
    ) -> list[Any]:
        """The runs of a sweep with these tags, which are taken from among all of it."""
        sweep, newest = self._sweep_of.get(given[Tag.PARENT]), key[-1]
        if sweep is None or newest is not None or len(given) == 1:
            return list(self._kept(sweep, key, ask))
        found = self.runs({Tag.PARENT: given[Tag.PARENT]})
        return [run for run in found if given.items() <= run.data.tags.items()]

    def timeline(self, run_id: str, key: str) -> tuple[tuple[int, int, float], ...]:
        """As of `Store`."""
        read = super().timeline
        sweep = self._sweep_of.get(run_id)
        return tuple(self._kept(sweep, (run_id, key), lambda: read(run_id, key)))

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """What changes the store by other means; whoever reads it afterwards sees it."""
        try:
            yield
        finally:
            self.forget()

    def forget(self) -> None:
        """Read all anew from now on."""
        with self._keeping:
            self._snapshots.clear()
            self._sweep_of.clear()

    def note(self, run: Any) -> None:
        """Take up the run of a sweep as it was read just now, without reading lists anew."""
        tags = run.data.tags
        with self._keeping:
            self._drop(tags.get(Tag.NAME, LISTS))
            if (lists := self._snapshots.get(LISTS)) is None:
                return
            for key, answer in list(lists.answers.items()):
                if not answer.done() or key[-1] is not None:  # it may lack the run
                    del lists.answers[key]
                    continue
                found = [one for one in answer.result() if one.info.run_id != run.info.run_id]
                if all(tags.get(name) == value for name, value in key[:-1]):
                    found = sorted([*found, run], key=lambda one: one.info.start_time or 0)
                lists.answers[key] = Future()
                lists.answers[key].set_result(found)

    def mark(self) -> Hashable | None:
        """That of the store as it is now; for `note_new`."""
        return self._changes.mark()

    def note_new(self, run: Any, mark: Hashable | None) -> None:
        """Take up a sweep that was made just now, and that has no trials.

        `mark` is that of the store before its run was read.
        """
        sweep, run_id = run.data.tags[Tag.NAME], run.info.run_id
        asked = {Tag.ROLE: "sweep", Tag.NAME: sweep}, {Tag.PARENT: run_id}
        snapshot = _Snapshot(mark, self._clock())
        for given, found in zip(asked, ([run], []), strict=True):
            answer = snapshot.answers[(*sorted(given.items()), None)] = Future()
            answer.set_result(found)
        with self._keeping:
            self._drop(sweep)
            self._snapshots[sweep] = snapshot
            self._note_runs(sweep, snapshot, [run])

    def _kept(
        self,
        sweep: str | None,
        key: tuple[Any, ...],
        ask: Callable[[], Any],
        *,
        begins: bool = False,
    ) -> Any:
        """What `ask` returns, or has returned before, for a sweep; None: it is not kept.

        What `begins` is read first of all; a snapshot that is too old is begun anew by it only.
        """
        with self._keeping:
            snapshot = self._snapshots.get(sweep) if sweep is not None else None
            if sweep is not None and begins:
                snapshot = self._current(sweep, key)
            if snapshot is not None and (known := snapshot.answers.get(key)):
                answer, is_known = known, True
            else:
                answer, is_known = Future[Any](), False
                if snapshot is not None:
                    snapshot.answers[key] = answer
        if is_known:
            return answer.result()
        began = time.thread_time()
        try:
            found = ask()
        except BaseException as error:
            with self._keeping:
                if snapshot is not None and snapshot.answers.get(key) is answer:
                    del snapshot.answers[key]
            answer.set_exception(error)
            raise
        with self._keeping:
            if sweep is not None and snapshot is not None:
                snapshot.cost_s += time.thread_time() - began
                if self._snapshots.get(sweep) is snapshot and isinstance(found, list):
                    self._note_runs(sweep, snapshot, found)
        answer.set_result(found)
        return found

    def _current(self, sweep: str, key: tuple[Any, ...]) -> _Snapshot:
        """The snapshot of a sweep that has the answer to a question, or is begun by it."""
        snapshot = self._snapshots.get(sweep)
        if snapshot and (key in snapshot.answers or sweep == LISTS):
            self._snapshots.move_to_end(sweep)
            if snapshot.is_recent(self._clock()):
                return snapshot
            if snapshot.mark is not None and snapshot.mark == self._changes.mark():
                return snapshot
        self._drop(sweep)
        snapshot = self._snapshots[sweep] = _Snapshot(self._changes.mark(), self._clock())
        self._drop_oldest()
        return snapshot

    def _drop_oldest(self) -> None:
        """Drop snapshots that were not asked for of late if there are too many."""
        runs = sum(len(one.runs) for one in self._snapshots.values())
        while len(self._snapshots) > (1 if runs > MOST_RUNS else MOST_SNAPSHOTS):
            sweep, oldest = next(iter(self._snapshots.items()))
            runs -= len(oldest.runs)
            self._drop(sweep)

    def _note_runs(self, sweep: str, snapshot: _Snapshot, runs: list[Any]) -> None:
        found = {str(run.info.run_id) for run in runs}
        snapshot.runs |= found
        if sweep != LISTS:
            self._sweep_of.update(dict.fromkeys(found, sweep))
        self._drop_oldest()

    def _drop(self, sweep: str) -> None:
        if dropped := self._snapshots.pop(sweep, None):
            for run_id in dropped.runs:
                if self._sweep_of.get(run_id) == sweep:
                    del self._sweep_of[run_id]


@dataclass(frozen=True, kw_only=True)
class SharedSettings(Settings):
    """Settings of a store that is open, and shared by those who read it."""

    shared: SharedStore = field(repr=False, compare=False)

    @classmethod
    def of(cls, shared: SharedStore) -> SharedSettings:
        """The settings of a shared store."""
        return cls(**vars(shared.settings), shared=shared)


def store_to_read(settings: Settings) -> Store:
    """The store with these settings, which is only read: the one that is shared, or else a new one.

    Raises:
        InputError: it cannot be reached.
    """
    return settings.shared if isinstance(settings, SharedSettings) else Store(settings)
