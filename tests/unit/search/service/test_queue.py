from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lstm_sweep.search.api import queue
from lstm_sweep.search.api.queue import Submission, Submitted
from lstm_sweep.search.service.queue import QueueReader
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.cache import SharedStore
from tests.counted import CountedClient
from tests.sweeps import PLAIN, store_in, tiny_spec


class Queue:
    """A store with a queue, and what reads it."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.writer, self._data = store_in(folder), data
        self.store = store_in(folder)
        self.reader = QueueReader(self.store, SharedStore(self.store.settings))
        self.client = CountedClient(self.store.client)
        self.store.client = self.client

    def submit(self, name: str) -> Submitted:
        """Queue a sweep."""
        spec = tiny_spec(data=str(self._data), name=name, trials=3, **PLAIN)
        return queue.submit(self.writer, spec, Submission(owner="ann"))


@pytest.fixture
def queued(tmp_path: Path, data: Path) -> Queue:
    return Queue(tmp_path, data)


def test_the_store_is_read_once_it_has_changed(queued: Queue) -> None:
    queued.submit("s")
    for _ in range(3):
        assert [one.name for one in queued.reader.read()] == ["s"]
    assert queued.client.asked == {"search_runs": 1}
    queued.submit("t")
    for _ in range(3):
        assert [one.name for one in queued.reader.read()] == ["s", "t"]
    assert queued.client.asked == {"search_runs": 2}


def test_a_fault_changes_nothing_of_what_is_known(queued: Queue) -> None:
    queued.submit("s")
    known = queued.reader.read()
    made = queued.submit("t")
    queued.client.fault = ConnectionError("away")
    assert queued.reader.read_after_change(known) == known
    assert queued.reader.read_after_submission(known, made) == known
    queued.client.fault = None
    assert [one.name for one in queued.reader.read_after_change(known)] == ["s", "t"]


def test_a_submitted_sweep_is_added_without_reading_the_others(queued: Queue) -> None:
    first, _ = queued.submit("s"), queued.submit("t")
    known = queued.reader.read()
    made = queued.submit("u")
    run_id = reader.existing_sweep(queued.writer, "s").info.run_id
    queue.leave(queued.writer, run_id)  # it is seen at the next look
    now = queued.reader.read_after_submission(known, made)
    assert [one.name for one in now] == ["s", "t", "u"]
    assert queued.client.asked == {"search_runs": 1, "get_run": 1}
    assert queued.reader.read_after_submission(now, replace(first, is_new=False)) == now
    assert [one.name for one in queued.reader.read()] == ["t", "u"]
