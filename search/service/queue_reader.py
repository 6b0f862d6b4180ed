"""Reads the queue of a service again and again, and the store only once that has changed."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable
from typing import Any

from lstm_sweep.search.api import queue
from lstm_sweep.search.api.queue import QueuedRun, Submitted
from lstm_sweep.search.store.changes import Changes
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.shared import SharedStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store


class QueueReader:
    """The sweeps that a service is to drive, in step with what others read from the store."""

    def __init__(self, store: Store, shared: SharedStore) -> None:
        """`store` is read and written by the service, `shared` is what others read."""
        self._store, self._shared = store, shared
        self._changes = Changes(store.settings.database_file)
        self._runs: list[Any] = []
        #: that of the store when `_runs` were read
        self._mark: Hashable | None = None

    def read(self) -> list[QueuedRun]:
        """All of them, oldest first; whether their drivers live is looked at each time.

        Raises:
            StoreError: the store does not answer.
        """
        mark = self._changes.mark()
        if mark is None or mark != self._mark:
            self._runs, self._mark = queue.queued_runs(self._store), mark
        return queue.read(self._runs)

    def read_after_change(self, before: list[QueuedRun]) -> list[QueuedRun]:
        """All of them after a change by this service; those `before` if the store is away."""
        self._shared.forget()
        with contextlib.suppress(StoreError):
            return self.read()
        return before

    def read_after_submission(self, before: list[QueuedRun], made: Submitted) -> list[QueuedRun]:
        """Those `before`, and a sweep that was submitted just now: no other is read anew."""
        try:
            mark = self._shared.mark()
            run = self._store.run(made.run_id)
        except StoreError:
            self._shared.forget()
            return before
        if run is None:
            return before  # somebody has deleted it
        self._shared.note(run)
        if made.is_new:
            self._shared.note_new(run, mark)
        if run.data.tags.get(Tag.QUEUED) != queue.QUEUED:
            return before  # it was submitted earlier with the same token, and has ended
        others = [one for one in before if one.run_id != run.info.run_id]
        return [*others, *queue.read([run])]
