"""The queue of a service in an SQLite store; drivers do nothing, and tests write in their place."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.actions.lifecycle import specs_of
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.references import (
    QueueFullError,
    ServiceEndsError,
    SweepExistsError,
    SweepRunsError,
)
from lstm_sweep.search.driver.lease import Lease
from lstm_sweep.search.process.scoped import start_ticks
from lstm_sweep.search.service import queue
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import ServiceSettings
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.cache import AGE_S
from lstm_sweep.search.store.faults import NoSuchRunError
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.spec import SweepSpec
from tests.contract.sittings import go_on
from tests.fakes import ScriptedEngine
from tests.service_app import child_of, let_drivers_idle
from tests.sweeps import LOSSES, PLAIN, store_in, tiny_spec

STARTING = "its driver is being started"


class Time:
    """A clock by which the store is read anew each time."""

    now = 1000.0

    def __call__(self) -> float:
        self.now += AGE_S
        return self.now


@pytest.fixture
def folder(workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = workplace("queue")
    let_drivers_idle(folder, monkeypatch)
    return folder


@pytest.fixture
def store(folder: Path) -> Store:
    return store_in(folder)


@pytest.fixture
def service(folder: Path, store: Store) -> Iterator[Service]:
    """A service with two slots."""
    made = opened(folder, store)
    yield made
    made.drain()


@pytest.fixture
def with_s(service: Service, data: Path) -> Service:
    """A service with the sweep `s`, whose driver was started."""
    service.submit(spec_of(data, "s"), owner="ann")
    assert service.queue()[0].driver
    return service


def opened(folder: Path, store: Store, **more: Any) -> Service:
    """A service on this store."""
    state = folder / "state"
    given = {"store": store.settings, "folder": folder, "state": state, "slots": 2}
    return Service(ServiceSettings(**{**given, **more}), Time())


def spec_of(data: Path, name: str | None = None, **more: Any) -> SweepSpec:
    return tiny_spec(data=str(data), name=name, **{"trials": 3, **PLAIN, **more})


def run_of(store: Store, name: str = "s") -> str:
    return str(reader.existing_sweep(store, name).info.run_id)


def slots_of(service: Service) -> dict[str, int]:
    """How many slots each sweep was given, in the order of the queue."""
    return {one.sweep: one.slots for one in service.queue()}


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_same_token_queues_one_sweep_and_another_spec_is_refused(
    service: Service, data: Path
) -> None:
    first = service.submit(spec_of(data), owner="ann", client_token="t")
    assert service.submit(spec_of(data), owner="ann", client_token="t") == first
    assert service.submit(spec_of(data), owner="bob", client_token="t") != first
    with pytest.raises(SweepExistsError, match="same token"):
        service.submit(spec_of(data, seed=9), owner="ann", client_token="t")
    assert len(service.sweeps()) == 2


def test_names_priorities_and_limits_are_checked(folder: Path, store: Store, data: Path) -> None:
    service = opened(folder, store, most_queued_per_user=1)
    for _ in "ab":
        service.submit(spec_of(data, "s"), owner="ann", client_token="t")
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
        opened(folder, store)
    service.drain()
    with pytest.raises(ServiceEndsError):
        service.submit(spec_of(data, "t"), owner="bob")
    assert service.ready() == "the service ends"


def test_a_sweep_whose_submission_was_killed_half_way_is_entered(
    store: Store, data: Path, monkeypatch: pytest.MonkeyPatch
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


def test_what_unlabelled_sequences_teach_is_queued_with_a_sweep_that_waits_for_it(
    folder: Path, service: Service, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "home"))
    rows = "".join(f"{'ab'[n % 2]}\tit is {'ab'[n % 2] * 9} {n}\n" for n in range(60))
    (folder / "rows.tsv").write_text(rows, encoding="utf-8")
    spec = SweepSpec(data=str(folder / "rows.tsv"), label="0", symbols="chars", minutes=10.0)
    with monkeypatch.context() as patch:
        patch.setattr(queue, "submit_ahead", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):  # killed between the two
            service.submit(spec, owner="ann", client_token="t")
    for _ in "ab":
        assert service.submit(spec, owner="ann", client_token="t") == "rows-1"
    assert slots_of(service) == {"rows-1-unlabelled": 2, "rows-1": 0}
    assert {row.owner for row in service.queue()} == {"ann"}
    first, second = (reader.existing_sweep(store, name) for name in ("rows-1-unlabelled", "rows-1"))
    assert [reader.read_spec(run).minutes for run in (first, second)] == [3, 7]
    assert reader.read_spec(second).pretrained == "rows-1-unlabelled"
    assert "what rows-1-unlabelled learns" in str(service.status("rows-1").why)
    store.log(first.info.run_id, tags={Tag.STATE: "stopped"})
    service._supervisor.end([first.info.run_id])
    service._look()
    assert slots_of(service) == {"rows-1": 2}


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


def test_a_sweep_that_has_just_ended_takes_no_priority(with_s: Service, store: Store) -> None:
    store.log(run_of(store), tags={Tag.STATE: "finished"})
    with_s._supervisor.end([run_of(store)])
    for _ in "ab":
        with pytest.raises(InputError, match="sweep 's' is not queued"):
            with_s.prioritise("s", 5)


def test_a_driver_that_begins_is_asked_to_end_until_it_does(store: Store, data: Path) -> None:
    queue.submit(store, spec_of(data, "s"), owner="ann")
    run_id = run_of(store)
    driver = Lease(store, run_id)
    driver.take()
    with ThreadPoolExecutor() as pool:
        stopping = pool.submit(Local(store.settings).stop, "s")
        for _ in range(2):
            until(lambda: stopping.done() or bool(store.tags(run_id).get(Tag.STOP)))
            assert not stopping.done(), stopping.result()
            assert store.tags(run_id)[Tag.STATE] == "queued"
            store.log(run_id, tags={Tag.STOP: ""})  # as it does when it begins
        until(lambda: bool(store.tags(run_id).get(Tag.STOP)))
        store.log(run_id, tags={Tag.STATE: "stopped", Tag.LEASE: ""})
        assert (stopping.result(60).state, stopping.result().had_ended) == ("stopped", False)
    driver.release()


# between two drivers


def leave_interrupted(store: Store) -> None:
    """Leave the sweep as a driver does that was ended."""
    store.log(run_of(store), tags={Tag.STATE: "interrupted", Tag.REASON: "interrupted"})
    store.finish(run_of(store), "KILLED")


def leave_broken_off(store: Store) -> None:
    """Leave the sweep as a driver does that was killed."""
    store.log(run_of(store), tags={Tag.STATE: "running"})
    store.reopen(run_of(store))


def take_lease(service: Service, store: Store) -> None:
    """Take the lease as the process does that was started as the driver."""
    pid = service.queue()[0].driver
    assert pid
    lease = Lease(store, run_of(store))
    lease.mine = replace(lease.mine, pid=pid, born=start_ticks(pid))
    lease.take()


def waiting_changes(store: Store) -> dict[str, Any]:
    [one] = queue.read(queue.queued_runs(store))
    return dict(one.changes)


@pytest.mark.parametrize("leave", [leave_interrupted, leave_broken_off])
def test_a_sweep_is_queued_until_its_next_driver_has_begun(
    with_s: Service, store: Store, leave: Callable[[Store], None]
) -> None:
    leave(store)
    report = with_s.status("s")
    assert (report.state, report.why, report.is_under_way) == ("queued", STARTING, True)
    assert [row.state for row in with_s.sweeps()] == ["queued"]
    assert with_s.queue()[0].why == STARTING
    driver = Lease(store, run_of(store))
    driver.take()
    leave_broken_off(store)
    assert with_s.status("s").state == "running"
    assert [row.state for row in with_s.sweeps()] == ["running"]
    driver.release()
    store.log(run_of(store), tags={Tag.STATE: "finished", Tag.LEASE: ""})
    assert with_s.status("s").state == "finished"
    assert [row.state for row in with_s.sweeps()] == ["finished"]


@pytest.mark.parametrize("leave", [leave_interrupted, leave_broken_off])
def test_a_sweep_whose_driver_is_being_started_again_is_paused_and_stopped(
    with_s: Service, store: Store, leave: Callable[[Store], None]
) -> None:
    leave(store)
    assert with_s.pause("s").state == "paused"
    assert reader.existing_sweep(store, "s").info.status == "SCHEDULED"
    assert with_s.resume("s").state == "queued"
    leave(store)
    assert with_s.stop("s").state == "stopped"
    assert with_s.status("s").why == "stopped on request"
    assert with_s.queue() == ()


@pytest.mark.parametrize("how, state", [("pause", "paused"), ("stop", "stopped")])
def test_asked_twice_at_once_a_driver_that_has_begun_ends_by_itself(
    with_s: Service, store: Store, how: str, state: str
) -> None:
    take_lease(with_s, store)
    leave_broken_off(store)
    run_id = run_of(store)
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(getattr(with_s, how), "s") for _ in "abcd"]
        until(lambda: bool(store.tags(run_id).get(Tag.STOP)))
        time.sleep(0.5)
        assert with_s._supervisor.pid(run_id), "nobody has ended it"
        store.log(run_id, tags={Tag.STATE: state, Tag.LEASE: ""})
        store.reopen(run_id, "SCHEDULED") if how == "pause" else store.finish(run_id, "KILLED")
        store.log(run_id, tags={Tag.STOP: ""})
        assert {one.result(60).state for one in asked} == {state}
    assert with_s._supervisor.pid(run_id)


def test_a_paused_sweep_that_is_resumed_at_once_has_no_driver_that_has_died(
    with_s: Service, store: Store
) -> None:
    driver = child_of(with_s._supervisor, run_of(store))
    with_s.pause("s")
    assert driver.wait(10) < 0
    assert with_s.resume("s").why == STARTING
    with_s._look()
    report = with_s.status("s")
    assert (report.state, report.why) == ("queued", STARTING)
    assert with_s._supervisor.pid(run_of(store)) not in (None, driver.pid)


def test_a_sweep_that_runs_goes_on_unless_what_is_asked_for_would_change_it(
    with_s: Service, store: Store
) -> None:
    with_s.resume("s", {"trials": 60})
    take_lease(with_s, store)
    leave_broken_off(store)
    assert with_s.resume("s", {"trials": 60}).is_under_way
    assert with_s.resume("s").is_under_way
    with pytest.raises(SweepRunsError, match="sweep 's' runs: process"):
        with_s.resume("s", {"trials": 61})
    assert waiting_changes(store) == {"trials": 60}


def test_what_a_sweep_has_failed_with_is_not_tried_again(with_s: Service, store: Store) -> None:
    with_s.resume("s", {"workers": 7})
    queue.give_up(store, run_of(store), "it cannot be driven")
    with_s.resume("s")
    assert waiting_changes(store) == {}


def test_a_driver_that_has_not_begun_is_started_anew_with_what_is_changed(
    with_s: Service, store: Store
) -> None:
    before = with_s.queue()[0].driver
    assert with_s.resume("s", {"trials": 60}).state == "queued"
    assert waiting_changes(store) == {"trials": 60}
    with_s._look()
    assert with_s._supervisor.pid(run_of(store)) not in (None, before)


def test_nobody_waits_for_a_driver_that_is_slow_to_make_way_for_what_is_changed(
    with_s: Service, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, is_asked, may_end = with_s._supervisor.end, threading.Event(), threading.Event()

    def end_slowly(run_ids: list[str]) -> None:
        is_asked.set()
        assert may_end.wait(60)
        end(run_ids)

    monkeypatch.setattr(with_s._supervisor, "end", end_slowly)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(with_s.resume, "s", {"trials": 60})
        try:
            assert is_asked.wait(60)
            other = pool.submit(with_s.submit, spec_of(data, name="another"), owner="bob")
            assert other.result(30) == "another"
        finally:
            may_end.set()
        assert asked.result(60).state == "queued"


def test_what_a_sweep_waits_with_stays_if_it_is_paused_and_resumed(
    with_s: Service, store: Store, data: Path
) -> None:
    for changes in ({"trials": 60}, {}, {"minutes": 5}):
        with_s.pause("s")
        with_s.resume("s", changes)
    assert waiting_changes(store) == {"trials": 60, "minutes": 5}
    began_with, further = spec_of(data), {"keep": 2}
    specs_of(reader.existing_sweep(store, "s"), further, began_with)
    with_s.resume("s", further)
    assert waiting_changes(store) == {"trials": 60, "minutes": 5, "keep": 2}
