"""The state of a sweep in the queue of a service, whatever an earlier driver has left of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lstm_sweep.search.process.identity import start_ticks
from lstm_sweep.search.service.service import ServiceSettings
from lstm_sweep.search.service.sweep_service import SweepService
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.shared import MOST_S
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.sweep.lease import Lease
from tests.sweeps import PLAIN, store_in, tiny_spec

STARTING = "its driver is being started"


class Time:
    """A clock by which the store is read anew each time."""

    now = 1000.0

    def __call__(self) -> float:
        self.now += MOST_S
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
) -> Iterator[SweepService]:
    """A service with the sweep `s`, whose driver was started and does nothing."""
    script = folder / "driver"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    given = ServiceSettings(store=store.settings, folder=folder, state=folder / "state", slots=2)
    made = SweepService(given, Time())
    made.submit(tiny_spec(data=str(data), name="s", trials=3, **PLAIN), owner="ann")
    made._look()
    made._look()
    assert made.queue()[0].driver
    yield made
    made.drain()


def run_of(store: Store) -> str:
    return str(archive.existing_sweep(store, "s").info.run_id)


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
    service: SweepService, store: Store, leave: Callable[[Store], None]
) -> None:
    leave(store)
    report = service.status("s")
    assert (report.state, report.why, report.is_under_way) == ("queued", STARTING, True)
    assert [row.state for row in service.sweeps()] == ["queued"]
    assert service.queue()[0].why in (STARTING, "")
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
    service: SweepService, store: Store, leave: Callable[[Store], None]
) -> None:
    leave(store)
    assert service.pause("s").state == "paused"
    assert archive.existing_sweep(store, "s").info.status == "SCHEDULED"
    assert service.resume("s").state == "queued"
    leave(store)
    assert service.stop("s").state == "stopped"
    assert service.status("s").why == "stopped on request"
    assert service.queue() == ()


def test_a_sweep_whose_driver_is_about_to_begin_is_paused(
    service: SweepService, store: Store
) -> None:
    leave_interrupted(store)
    pid = service.queue()[0].driver
    assert pid
    lease = Lease(store, run_of(store))
    lease.mine = replace(lease.mine, pid=pid, born=start_ticks(pid))
    lease.take()
    service._look()
    assert service.status("s").state == "queued"
    assert service.pause("s").state == "paused"
    assert service._runner.pid(run_of(store)) is None
