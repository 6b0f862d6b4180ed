"""The queue of a service in an SQLite store; drivers end at once, or are left out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.references import QueueFullError, ServiceEndsError, SweepExistsError
from lstm_sweep.search.driver.lease import Lease
from lstm_sweep.search.service import queue
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import ServiceSettings
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import NoSuchRunError
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import RoundDone
from tests.contract.sittings import go_on
from tests.drivers import let_drivers_idle
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, store_in, tiny_spec


class Time:
    """A clock that tests set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def folder(workplace: Callable[[str], Path]) -> Path:
    return workplace("queue")


@pytest.fixture
def store(folder: Path) -> Store:
    return store_in(folder)


@pytest.fixture
def service(
    folder: Path, store: Store, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    """A service with two slots whose drivers do nothing."""
    let_drivers_idle(folder, monkeypatch)
    made = opened(folder, store, clock)
    yield made
    made.drain()


def opened(folder: Path, store: Store, clock: Time, **more: Any) -> Service:
    """A service on this store."""
    state = folder / "state"
    given = {"store": store.settings, "folder": folder, "state": state, "slots": 2}
    return Service(ServiceSettings(**{**given, **more}), clock)


def spec_of(data: Path, name: str | None = None, **more: Any) -> SweepSpec:
    return tiny_spec(data=str(data), name=name, **{"trials": 3, **PLAIN, **more})


def test_the_same_token_queues_one_sweep_and_another_spec_is_refused(
    service: Service, data: Path
) -> None:
    first = service.submit(spec_of(data), owner="ann", client_token="t")
    assert service.submit(spec_of(data), owner="ann", client_token="t") == first
    assert service.submit(spec_of(data), owner="bob", client_token="t") != first
    with pytest.raises(SweepExistsError, match="same token"):
        service.submit(spec_of(data, seed=9), owner="ann", client_token="t")
    assert len(service.sweeps()) == 2


def test_names_priorities_and_limits_are_checked(
    folder: Path, store: Store, clock: Time, data: Path
) -> None:
    service = opened(folder, store, clock, most_queued_per_user=1)
    service.submit(spec_of(data, "s"), owner="ann")
    with pytest.raises(SweepExistsError, match="it is queued"):
        service.submit(spec_of(data, "s"), owner="bob")
    with pytest.raises(QueueFullError, match="user ann has 1 sweeps queued"):
        service.submit(spec_of(data, "t"), owner="ann")
    with pytest.raises(InputError, match="priority is 101"):
        service.submit(spec_of(data, "t"), owner="bob", priority=101)
    with pytest.raises(NoSuchRunError):
        service.pause("t")
    with pytest.raises(
        InputError, match=rf"another service, process {os.getpid()} on .* keeps the queue"
    ):
        opened(folder, store, clock)
    service.drain()
    with pytest.raises(ServiceEndsError):
        service.submit(spec_of(data, "t"), owner="bob")
    assert service.ready() == "the service ends"


def test_a_sweep_whose_submission_was_killed_half_way_is_entered(
    service: Service, store: Store, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(queue, "_claim", killed)
        with pytest.raises(KeyboardInterrupt):
            queue.submit(store, spec_of(data, "s"), owner="ann")
    assert reader.existing_sweep(store, "s").info.status == "RUNNING"
    assert [one.name for one in queue.read(queue.queued_runs(store))] == ["s"]
    assert reader.existing_sweep(store, "s").info.status == "SCHEDULED"


def test_a_look_at_the_queue_while_a_driver_begins_changes_nothing(
    folder: Path, store: Store, data: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.submit(store, spec_of(data, "s"), owner="ann")
    reopen, statuses = MlflowStore.reopen, list[str]()

    def looked_at(self: MlflowStore, run_id: str, status: str = "RUNNING") -> None:
        reopen(self, run_id, status)
        queue.read(queue.queued_runs(store_in(folder)))

    def note(message: RoundDone) -> None:
        statuses.append(reader.existing_sweep(store, "s").info.status)

    monkeypatch.setattr(MlflowStore, "reopen", looked_at)
    assert go_on(store, corpus, ScriptedEngine(LOSSES, watch=note)).status == "finished"
    assert set(statuses) == {"RUNNING"}


def test_a_sweep_that_has_just_ended_takes_no_priority(
    service: Service, store: Store, data: Path
) -> None:
    service.submit(spec_of(data, "a"), owner="ann")
    run_id = reader.existing_sweep(store, "a").info.run_id
    store.log(run_id, tags={Tag.STATE: "finished"})
    service._supervisor.end([run_id])
    for _ in "ab":
        with pytest.raises(InputError, match="sweep 'a' is not queued"):
            service.prioritise("a", 5)


def test_what_is_queued_gets_its_place_at_once(service: Service, data: Path) -> None:
    service.submit(spec_of(data, "a"), owner="ann")
    assert slots_of(service) == {"a": 2}
    for name, priority in (("b", 0), ("c", 0), ("d", 1)):
        service.submit(spec_of(data, name), owner="bob", priority=priority)
    assert slots_of(service) == {"d": 2, "a": 0, "b": 0, "c": 0}
    assert service.status("c").why == "waits: 1 sweep has a higher priority"
    service.pause("b")
    assert slots_of(service) == {"d": 2, "a": 0, "c": 0}
    service.resume("b")
    assert slots_of(service) == {"d": 2, "a": 0, "b": 0, "c": 0}


def slots_of(service: Service) -> dict[str, int]:
    """How many slots each sweep was given, in the order of the queue."""
    return {one.sweep: one.slots for one in service.queue()}


def test_a_driver_that_begins_is_asked_to_end_until_it_does(store: Store, data: Path) -> None:
    queue.submit(store, spec_of(data, "s"), owner="ann")
    run_id = reader.existing_sweep(store, "s").info.run_id
    driver = Lease(store, run_id)
    driver.take()
    with ThreadPoolExecutor() as pool:
        stopping = pool.submit(Local(store.settings).stop, "s")
        for _ in range(2):
            until(lambda: stopping.done() or Tag.STOP in store.tags(run_id))
            assert not stopping.done(), stopping.result()
            assert store.tags(run_id)[Tag.STATE] == "queued"
            store.drop_tag(run_id, Tag.STOP)  # as it does when it begins
        until(lambda: Tag.STOP in store.tags(run_id))
        store.log(run_id, tags={Tag.STATE: "stopped", Tag.LEASE: ""})
        assert (stopping.result(60).state, stopping.result().had_ended) == ("stopped", False)
    driver.release()


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
