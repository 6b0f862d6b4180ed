"""With many sweeps in the store, a request reads as many runs as with few."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.search.actions import references
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.sweeps import unfinished
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.cache import SharedSettings, SharedStore
from lstm_sweep.search.store.faults import NoSuchRunError
from lstm_sweep.search.store.journal import FORMAT
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore
from tests.sweeps import store_in

#: sweeps of the store, of which two wait
SWEEPS = 150


class Counted:
    """A client that counts the runs that it is given."""

    def __init__(self, client: Any) -> None:
        self._client, self.runs, self.searches = client, 0, 0

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            found = getattr(self._client, name)(*arguments, **more)
            self.searches += 1
            self.runs += len(found) if name == "search_runs" else 1
            return found

        return call


@pytest.fixture(scope="module")
def store(workplace: Callable[[str], Path]) -> MlflowStore:
    made = store_in(workplace("many"))
    made.prepare()
    common = {Tag.ROLE: "sweep", Tag.FORMAT: str(FORMAT)}
    for number in range(SWEEPS):
        state = "queued" if number < 2 else "finished"
        made.create_run("s", {**common, Tag.NAME: f"s-{number}", Tag.STATE: state})
    return made


@pytest.mark.parametrize(
    "request_of, most",
    [
        (lambda settings, store: Local(settings).sweeps(limit=20), 20),
        (lambda settings, store: Local(settings).status("s-3"), 1),
        (lambda settings, store: refused(Local(settings).status, "none"), 5),
        (lambda settings, store: refused(Local(settings).show, "none/1"), 5),
        (lambda settings, store: refused(Local(settings).show, "s-3/1"), 6),
        (lambda settings, store: refused(Local(settings).show, "a"), 0),
        (lambda settings, store: refused(Local(settings).show, "abcd"), 0),
        (lambda settings, store: unfinished(Local(settings)), 2),
        (lambda settings, store: references.free_name(store, "s"), 20),
    ],
)
def test_a_request_reads_few_of_many(store: MlflowStore, request_of: Any, most: int) -> None:
    shared = SharedStore(store.settings)
    counted = shared.client = Counted(shared.client)
    request_of(SharedSettings.of(shared), shared)
    assert counted.runs <= most and counted.searches <= 5


def refused(call: Any, reference: str) -> None:
    with pytest.raises(NoSuchRunError):
        call(reference)


def test_pages_have_each_sweep_once_newest_first_also_of_what_cannot_be_read(
    store: MlflowStore,
) -> None:
    store.create_run("x", {Tag.ROLE: "sweep", Tag.NAME: "no name", Tag.FORMAT: str(FORMAT)})
    names, page, left_out = list[str](), "", 0
    while page or not names:
        found = Local(store.settings).sweeps(limit=40, page=page)
        assert len(found) <= 40
        names += [row.sweep for row in found]
        left_out += len(found.left_out)
        page = found.next_page
    assert (names, left_out) == ([f"s-{number}" for number in reversed(range(SWEEPS))], 1)
    assert [row.sweep for row in Local(store.settings).sweeps()] == names
    assert len(reader.sweeps(store)) == SWEEPS
