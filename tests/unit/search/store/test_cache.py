from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lstm_sweep.search.store import reader
from lstm_sweep.search.store.cache import AGE_S, Cache, SharedStore
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.journal import FORMAT
from lstm_sweep.search.store.tags import Tag
from tests.fakes import CountedClient
from tests.sweeps import store_in


class Time:
    """A clock that tests set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Readers:
    """A store with a sweep of two trials that run, and those who read it."""

    def __init__(self, folder: Path) -> None:
        self.writer = store_in(folder)
        self.writer.prepare()
        self.time = Time()
        self.store = SharedStore(self.writer.settings, self.time)
        self.client = CountedClient(self.store.client)
        self.store.client = self.client
        tags = {Tag.ROLE: "sweep", Tag.NAME: "a", Tag.STATE: "finished", Tag.FORMAT: str(FORMAT)}
        self.sweep = self.writer.create_run("a", tags)
        self.trials = [self.trial(number) for number in range(2)]

    def trial(self, number: int) -> str:
        tags = {
            Tag.NAME: "a", Tag.TRIAL: str(number), Tag.PHASE: "search", Tag.SEED: "0",
            Tag.FORMAT: str(FORMAT), Tag.ROUNDS_PER_EPOCH: "1",
        }  # fmt: skip
        run_id = self.writer.create_run(f"a-{number}", tags, self.sweep)
        self.writer.log(run_id, metrics={"val_loss": 2.0, "best_val_loss": 2.0}, step=1)
        return run_id

    def write(self, run_id: str, **tags: str) -> None:
        self.writer.log(run_id, tags={getattr(Tag, name): value for name, value in tags.items()})

    def state(self) -> str:
        return str(reader.existing_sweep(self.store, "a").data.tags[Tag.STATE])

    def outcomes(self) -> dict[str, str]:
        """The outcomes of the trials of the sweep, as they are shared."""
        run = reader.existing_sweep(self.store, "a")
        found = self.store.runs({Tag.PARENT: run.info.run_id})
        return {one.info.run_id: one.data.tags.get(Tag.OUTCOME, "") for one in found}


@pytest.fixture
def readers(workplace: Callable[[str], Path]) -> Readers:
    return Readers(workplace("read"))


def test_what_another_writes_is_seen_after_a_moment(readers: Readers) -> None:
    before = readers.outcomes()
    new = readers.trial(2)
    assert readers.outcomes() == before
    readers.time.now += AGE_S
    assert readers.outcomes().keys() == {*before, new}
    assert readers.store.history(new, "val_loss") == {1: 2.0}
    readers.writer.log(new, metrics={"val_loss": 1.0}, step=2)
    readers.time.now += AGE_S
    readers.outcomes()
    assert readers.store.history(new, "val_loss") == {1: 2.0, 2: 1.0}


def test_what_is_read_while_this_process_writes_is_not_kept(readers: Readers) -> None:
    readers.client.may.clear()
    with ThreadPoolExecutor(1) as threads:
        before = threads.submit(readers.state)
        while not readers.client.count:
            pass
        readers.write(readers.sweep, STATE="stopped")
        readers.store.forget()
        readers.client.may.set()
        before.result()
    assert readers.state() == "stopped"


def test_a_sweep_that_has_ended_is_seen_with_all_its_trials(readers: Readers) -> None:
    readers.write(readers.sweep, STATE="running")
    assert readers.state() == "running"
    readers.time.now += AGE_S / 2
    assert readers.outcomes() == dict.fromkeys(readers.trials, "")
    readers.write(readers.trials[1], OUTCOME="complete")
    readers.write(readers.sweep, STATE="finished")
    readers.time.now += AGE_S / 2  # the trials were read later, and are younger than that
    assert readers.state() == "finished"
    assert readers.outcomes() == {readers.trials[0]: "", readers.trials[1]: "complete"}


def test_a_fault_is_not_kept(readers: Readers) -> None:
    readers.client.fault = ConnectionError("away")
    for count in (1, 2):
        with pytest.raises(StoreError, match="away"):
            readers.state()
        assert readers.client.count == count
    readers.client.fault = None
    assert readers.state() == "finished"


def test_what_nobody_asks_for_is_dropped() -> None:
    clock = Time()
    cache = Cache(clock)
    for number in range(2_000):
        cache.get(("run", number), lambda: None)
    clock.now += 2 * AGE_S
    assert cache.get(("last",), lambda: "read") == "read"
    assert len(cache) == 1


def test_another_sweep_in_the_place_of_one_that_was_deleted_is_read(readers: Readers) -> None:
    assert readers.state() == "finished"
    readers.writer.client.delete_run(readers.sweep)
    tags = {Tag.ROLE: "sweep", Tag.NAME: "a", Tag.STATE: "queued", Tag.FORMAT: str(FORMAT)}
    readers.writer.create_run("a", tags)
    readers.time.now += AGE_S
    assert (readers.state(), readers.outcomes()) == ("queued", {})
