"""Reads the queue of a service, in step with what others read of the store."""

from __future__ import annotations

import contextlib

from lstm_sweep.search.api import queue
from lstm_sweep.search.api.queue import QueuedRun, Submitted
from lstm_sweep.search.store.cache import SharedStore, size_of_runs
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store


class QueueReader:
    """The sweeps that a service is to drive, in step with what others read from the store."""

    def __init__(self, store: Store, shared: SharedStore) -> None:
        """`store` is read and written by the service, `shared` is what others read."""
        self._store, self._shared = store, shared

    def read(self) -> list[QueuedRun]:
        """All of them, oldest first; whether their drivers live is looked at each time.

        Raises:
            StoreError: the store does not answer.
        """
        runs = self._shared.cache.get(
            ("queue",), lambda: queue.queued_runs(self._store), size_of_runs, age_s=0.0
        )
        return queue.read(runs)

    def read_after_change(self, before: list[QueuedRun]) -> list[QueuedRun]:
        """All of them after a change by this service; those `before` if the store is away."""
        self._shared.forget()
        with contextlib.suppress(StoreError):
            return self.read()
        return before

    def read_after_submission(self, before: list[QueuedRun], made: Submitted) -> list[QueuedRun]:
        """Those `before`, and a sweep that was submitted just now: no other is read anew."""
        self._shared.forget(made.name)
        run = None
        with contextlib.suppress(StoreError):
            run = self._store.run(made.run_id)
        if run is None:
            return before  # the next look finds it, unless somebody has deleted it
        if run.data.tags.get(Tag.QUEUED) != queue.QUEUED:
            return before  # it was submitted earlier with the same token, and has ended
        others = [one for one in before if one.run_id != run.info.run_id]
        return [*others, *queue.read([run])]
