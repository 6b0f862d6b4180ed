from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.search import api
from lstm_sweep.search.store import archive, shared
from lstm_sweep.search.store.changes import Changes
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.journal import SCHEMA
from lstm_sweep.search.store.shared import LEAST_S, SharedSettings, SharedStore, store_to_read
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from tests.counted import CountedClient
from tests.sweeps import store_in


class Time:
    """A clock that tests set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Readers:
    """A store with two sweeps of two trials each, and those who read it."""

    def __init__(self, folder: Path) -> None:
        self.writer = store_in(folder)
        self.writer.prepare()
        self.time = Time()
        self.store = SharedStore(self.writer.settings, self.time)
        self.client = CountedClient(self.store.client)
        self.store.client = self.client
        self.settings = SharedSettings.of(self.store)
        self.sweeps = {name: self.sweep(name) for name in ("a", "b")}

    def sweep(self, name: str) -> str:
        """Make a sweep with two trials that run; its run."""
        tags = {Tag.ROLE: "sweep", Tag.NAME: name, Tag.STATE: "finished", Tag.SCHEMA: str(SCHEMA)}
        run_id = self.writer.create_run(name, tags)
        for number in range(2):
            self.trial(name, run_id, number)
        return run_id

    def trial(self, name: str, parent: str, number: int) -> str:
        """Make a trial that runs."""
        tags = {
            Tag.NAME: name, Tag.TRIAL: str(number), Tag.PHASE: "search", Tag.SEED: "0",
            Tag.SCHEMA: str(SCHEMA), Tag.ROUNDS_PER_EPOCH: "1",
        }  # fmt: skip
        run_id = self.writer.create_run(f"{name}-{number}", tags, parent)
        self.writer.log(run_id, metrics={"val_loss": 2.0, "best_val_loss": 2.0}, step=1)
        return run_id

    def children(self, name: str) -> dict[str, str]:
        """The outcomes of the trials of a sweep, as they are shared."""
        run = archive.existing_sweep(self.store, name)
        found = self.store.runs({Tag.PARENT: run.info.run_id})
        return {one.info.run_id: one.data.tags.get(Tag.OUTCOME, "") for one in found}

    def state(self, name: str) -> str:
        """The state of a sweep, as it is shared."""
        return str(archive.existing_sweep(self.store, name).data.tags[Tag.STATE])


@pytest.fixture(autouse=True)
def cost(monkeypatch: pytest.MonkeyPatch) -> Time:
    """What each request costs, seconds of a processor."""
    spent = Time()
    spent.now = 0.0
    read = itertools.count()
    monkeypatch.setattr("time.thread_time", lambda: spent.now * next(read))
    return spent


@pytest.fixture
def readers(tmp_path: Path) -> Readers:
    return Readers(tmp_path)


def test_many_readers_of_what_does_not_change_ask_the_store_once(readers: Readers) -> None:
    def read(number: int) -> tuple[Any, ...]:
        history = [readers.store.history(one, "val_loss") for one in readers.children("a")]
        listed = [row.sweep for row in api.sweeps(settings=readers.settings)]
        losses = archive.baselines(readers.store, "a")
        return readers.state("a"), history, listed, losses

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(read, range(50)))
    assert found == [("finished", [{1: 2.0}, {1: 2.0}], ["a", "b"], {})] * 50
    # the sweep, its trials, the list of sweeps, and the history of each trial
    assert readers.client.asked == {"search_runs": 3, "get_metric_history": 2}
    readers.time.now += 3600
    read(0)
    assert readers.client.count == 5


def test_what_is_shared_is_what_the_store_has(readers: Readers) -> None:
    for name in readers.sweeps:
        mine, own = (archive.find_sweep(one, name) for one in (readers.store, readers.writer))
        assert mine.to_dictionary() == own.to_dictionary()
        tags = {Tag.PARENT: mine.info.run_id}
        for given in (tags, tags | {Tag.TRIAL: "1"}, tags | {Tag.TRIAL: "7"}):
            found = [one.to_dictionary() for one in readers.store.runs(given)]
            assert found == [one.to_dictionary() for one in readers.writer.runs(given)]
    assert len(readers.store.runs()) == len(readers.writer.runs()) == 6
    newest = readers.store.runs({Tag.ROLE: "sweep"}, newest=1)
    assert [one.info.run_id for one in newest] == [readers.sweeps["b"]]
    readers.writer.log(readers.sweeps["a"], tags={Tag.DATA: "text"})
    readers.time.now += LEAST_S
    for given in ({Tag.ROLE: "sweep"}, {Tag.NAME: "a"}, {Tag.PARENT: readers.sweeps["a"]}):
        found = [one.info.run_id for one in readers.store.runs(given, having=Tag.DATA)]
        assert found == ([] if Tag.PARENT in given else [readers.sweeps["a"]])


def test_what_another_writes_is_seen_after_a_moment(readers: Readers) -> None:
    before = readers.children("a")
    new = readers.trial("a", readers.sweeps["a"], 2)
    assert readers.children("a") == before
    readers.time.now += LEAST_S
    assert readers.children("a").keys() == {*before, new}
    assert readers.store.history(new, "val_loss") == {1: 2.0}
    readers.writer.log(new, metrics={"val_loss": 1.0}, step=2)
    readers.time.now += LEAST_S
    readers.children("a")
    assert readers.store.history(new, "val_loss") == {1: 2.0, 2: 1.0}


def test_what_this_process_writes_is_seen_at_once(readers: Readers) -> None:
    assert readers.state("a") == "finished"
    with pytest.raises(KeyError), readers.store.changing():
        readers.writer.log(readers.sweeps["a"], tags={Tag.STATE: "stopped"})
        raise KeyError
    assert readers.state("a") == "stopped"


def test_what_is_read_while_this_process_writes_is_not_kept(readers: Readers) -> None:
    readers.client.may.clear()
    with ThreadPoolExecutor(1) as threads:
        before = threads.submit(readers.state, "a")
        while not readers.client.count:
            pass
        readers.writer.log(readers.sweeps["a"], tags={Tag.STATE: "stopped"})
        readers.store.forget()
        readers.client.may.set()
        before.result()
    assert readers.state("a") == "stopped"


def test_a_sweep_that_has_ended_is_seen_with_all_its_trials(readers: Readers) -> None:
    readers.writer.log(readers.sweeps["a"], tags={Tag.STATE: "running"})
    first, second = readers.children("a")
    readers.writer.log(second, tags={Tag.OUTCOME: "complete"})
    readers.writer.log(readers.sweeps["a"], tags={Tag.STATE: "finished"})
    readers.time.now += LEAST_S
    assert readers.state("a") == "finished"
    assert readers.children("a") == {first: "", second: "complete"}


def test_a_new_sweep_is_listed_without_reading_the_list_again(readers: Readers) -> None:
    def names() -> list[str]:
        return [row.sweep for row in api.sweeps(settings=readers.settings)]

    assert names() == ["a", "b"]
    readers.sweeps["c"] = readers.sweep("c")
    readers.store.note(readers.writer.run(readers.sweeps["c"]))
    assert names() == ["a", "b", "c"]
    readers.writer.log(readers.sweeps["a"], tags={Tag.STATE: "stopped"})
    readers.store.note(readers.writer.run(readers.sweeps["a"]))
    assert next(row.state for row in api.sweeps(settings=readers.settings)) == "stopped"
    assert readers.client.asked == {"search_runs": 1}
    readers.writer.log(readers.sweeps["b"], tags={Tag.ROLE: "none"})
    readers.store.note(readers.writer.run(readers.sweeps["b"]))
    assert names() == ["a", "c"]


def test_a_sweep_that_was_just_made_is_not_read_again_until_something_changes(
    readers: Readers,
) -> None:
    tags = {Tag.ROLE: "sweep", Tag.NAME: "c", Tag.STATE: "queued", Tag.SCHEMA: str(SCHEMA)}
    run_id = readers.sweeps["c"] = readers.writer.create_run("c", tags)
    mark = readers.store.mark()
    readers.store.note_new(readers.writer.run(run_id), mark)
    readers.time.now += LEAST_S
    assert (readers.state("c"), readers.children("c")) == ("queued", {})
    assert readers.client.asked == {}
    readers.trial("c", run_id, 0)
    assert readers.state("c") == "queued"
    assert len(readers.children("c")) == 1


def test_a_fault_is_not_kept(readers: Readers) -> None:
    readers.client.fault = ConnectionError("away")
    for count in (1, 2):
        with pytest.raises(StoreError, match="away"):
            readers.state("a")
        assert readers.client.count == count
    readers.client.fault = None
    assert readers.state("a") == "finished"


def test_a_store_of_which_nobody_can_tell_is_read_anew_after_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "Changes", lambda file: Changes(None))
    readers = Readers(tmp_path)
    for count in (1, 1, 2):
        readers.state("a")
        assert readers.client.count == count
        readers.time.now += LEAST_S / 2


def test_what_costs_much_is_read_more_seldom(readers: Readers, cost: Time) -> None:
    cost.now = 0.2
    readers.state("a")
    readers.writer.log(readers.sweeps["a"], tags={Tag.STATE: "stopped"})
    readers.time.now += 3.9
    assert readers.state("a") == "finished"
    readers.time.now += 0.2
    assert readers.state("a") == "stopped"


def test_only_so_much_is_kept(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MOST_RUNS", 3)
    for name in ("a", "b", "a"):
        readers.children(name)
    assert readers.client.asked == {"search_runs": 6}
    for _ in range(3):
        readers.children("a")
    assert readers.client.asked == {"search_runs": 6}


def test_a_store_is_opened_unless_it_is_shared(readers: Readers) -> None:
    assert store_to_read(readers.settings) is readers.store
    assert str(readers.settings) == str(readers.writer.settings)
    own = store_to_read(readers.writer.settings)
    assert isinstance(own, Store) and not isinstance(own, SharedStore)
