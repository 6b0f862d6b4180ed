"""Sweeps in the queue of a service between two drivers: their state, and what is changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.search.actions.lifecycle import changes_of
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.references import SweepRunsError
from lstm_sweep.search.driver.lease import Lease
from lstm_sweep.search.process.identity import start_ticks
from lstm_sweep.search.service import queue
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import ServiceSettings
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.cache import AGE_S
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from tests.drivers import child_of, let_drivers_idle
from tests.sweeps import PLAIN, store_in, tiny_spec

STARTING = "its driver is being started"


class Time:
    """A clock by which the store is read anew each time."""

    now = 1000.0

    def __call__(self) -> float:
        self.now += AGE_S
        return self.now


@pytest.fixture
def folder(workplace: Callable[[str], Path]) -> Path:
    return workplace("states")


@pytest.fixture
def store(folder: Path) -> Store:
    return store_in(folder)


@pytest.fixture
def service(
    folder: Path, store: Store, data: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    """A service with the sweep `s`, whose driver was started and does nothing."""
    let_drivers_idle(folder, monkeypatch)
    given = ServiceSettings(store=store.settings, folder=folder, state=folder / "state", slots=2)
    made = Service(given, Time())
    made.submit(tiny_spec(data=str(data), name="s", trials=3, **PLAIN), owner="ann")
    made._look()
    made._look()
    assert made.queue()[0].driver
    yield made
    made.drain()


def run_of(store: Store) -> str:
    return str(reader.existing_sweep(store, "s").info.run_id)


def leave_interrupted(store: Store) -> None:
    """Leave the sweep as a driver does that was ended."""
    store.log(run_of(store), tags={Tag.STATE: "interrupted", Tag.REASON: "interrupted"})
    store.finish(run_of(store), "KILLED")


def leave_broken_off(store: Store) -> None:
    """Leave the sweep as a driver does that was killed."""
    store.log(run_of(store), tags={Tag.STATE: "running"})
    store.reopen(run_of(store))


@pytest.mark.parametrize("leave", [leave_interrupted, leave_broken_off])
def test_a_sweep_is_queued_until_its_next_driver_has_begun(
    service: Service, store: Store, leave: Callable[[Store], None]
) -> None:
    leave(store)
    report = service.status("s")
    assert (report.state, report.why, report.is_under_way) == ("queued", STARTING, True)
    assert [row.state for row in service.sweeps()] == ["queued"]
    assert service.queue()[0].why == STARTING
    driver = Lease(store, run_of(store))
    driver.take()
    store.reopen(run_of(store))
    store.log(run_of(store), tags={Tag.STATE: "running"})
    assert service.status("s").state == "running"
    assert [row.state for row in service.sweeps()] == ["running"]
    driver.release()
    store.log(run_of(store), tags={Tag.STATE: "finished", Tag.LEASE: ""})
    assert service.status("s").state == "finished"
    assert [row.state for row in service.sweeps()] == ["finished"]


@pytest.mark.parametrize("leave", [leave_interrupted, leave_broken_off])
def test_a_sweep_whose_driver_is_being_started_again_is_paused_and_stopped(
    service: Service, store: Store, leave: Callable[[Store], None]
) -> None:
    leave(store)
    assert service.pause("s").state == "paused"
    assert reader.existing_sweep(store, "s").info.status == "SCHEDULED"
    assert service.resume("s").state == "queued"
    leave(store)
    assert service.stop("s").state == "stopped"
    assert service.status("s").why == "stopped on request"
    assert service.queue() == ()


def test_a_sweep_whose_driver_is_about_to_begin_is_paused(service: Service, store: Store) -> None:
    leave_interrupted(store)
    take_lease(service, store)
    service._look()
    assert service.status("s").state == "queued"
    assert service.pause("s").state == "paused"
    assert service._supervisor.pid(run_of(store)) is None


def take_lease(service: Service, store: Store) -> None:
    """Take the lease as the process does that was started as the driver."""
    pid = service.queue()[0].driver
    assert pid
    lease = Lease(store, run_of(store))
    lease.mine = replace(lease.mine, pid=pid, born=start_ticks(pid))
    lease.take()


@pytest.mark.parametrize("how, state", [("pause", "paused"), ("stop", "stopped")])
def test_asked_twice_at_once_a_driver_that_has_begun_ends_by_itself(
    service: Service, store: Store, how: str, state: str
) -> None:
    take_lease(service, store)
    leave_broken_off(store)
    run_id = run_of(store)
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(getattr(service, how), "s") for _ in "abcd"]
        until = time.monotonic() + 60
        while Tag.STOP not in store.tags(run_id):
            assert time.monotonic() < until
        time.sleep(1.0)
        assert service._supervisor.pid(run_id), "nobody has ended it"
        store.log(run_id, tags={Tag.STATE: state, Tag.LEASE: ""})
        store.reopen(run_id, "SCHEDULED") if how == "pause" else store.finish(run_id, "KILLED")
        store.drop_tag(run_id, Tag.STOP)
        assert {one.result(60).state for one in asked} == {state}
    assert service._supervisor.pid(run_id)


def test_a_paused_sweep_that_is_resumed_at_once_has_no_driver_that_has_died(
    service: Service, store: Store
) -> None:
    driver = child_of(service._supervisor, run_of(store))
    service.pause("s")
    assert driver.wait(10) < 0
    assert service.resume("s").why == STARTING
    service._look()
    report = service.status("s")
    assert (report.state, report.why) == ("queued", STARTING)
    assert service._supervisor.pid(run_of(store)) not in (None, driver.pid)


def waiting_changes(store: Store) -> dict[str, Any]:
    [one] = queue.read(queue.queued_runs(store))
    return dict(one.changes)


def test_a_sweep_that_runs_is_not_resumed(service: Service, store: Store) -> None:
    take_lease(service, store)
    leave_broken_off(store)
    with pytest.raises(SweepRunsError, match="sweep 's' runs: process"):
        service.resume("s", {"trials": 60})
    assert waiting_changes(store) == {}


def test_a_sweep_that_runs_goes_on_if_what_is_asked_for_is_asked_for_again(
    service: Service, store: Store
) -> None:
    service.resume("s", {"trials": 60})
    take_lease(service, store)
    leave_broken_off(store)
    assert service.resume("s", {"trials": 60}).is_under_way
    assert service.resume("s").is_under_way
    with pytest.raises(SweepRunsError, match="sweep 's' runs: process"):
        service.resume("s", {"trials": 61})


def test_what_a_sweep_has_failed_with_is_not_tried_again(service: Service, store: Store) -> None:
    service.resume("s", {"workers": 7})
    queue.give_up(store, run_of(store), "it cannot be driven")
    service.resume("s")
    assert waiting_changes(store) == {}


def test_a_driver_that_has_not_begun_is_started_anew_with_what_is_changed(
    service: Service, store: Store
) -> None:
    before = service.queue()[0].driver
    assert service.resume("s", {"trials": 60}).state == "queued"
    assert waiting_changes(store) == {"trials": 60}
    service._look()
    assert service._supervisor.pid(run_of(store)) not in (None, before)


def test_what_a_sweep_waits_with_stays_if_it_is_paused_and_resumed(
    service: Service, store: Store, data: Path
) -> None:
    for changes in ({"trials": 60}, {}, {"minutes": 5}):
        service.pause("s")
        service.resume("s", changes)
    assert waiting_changes(store) == {"trials": 60, "minutes": 5}
    began_with = tiny_spec(data=str(data), trials=3, **PLAIN)
    service.resume("s", changes_of(Local(store.settings), "s", {"keep": 2}, spec=began_with))
    assert waiting_changes(store) == {"trials": 60, "minutes": 5, "keep": 2}
