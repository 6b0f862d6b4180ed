"""A service, a process of its queue, or both are killed at each state: nothing is lost or doubled.

Processes are a script that waits; `chaos/test_service_kills.py` kills real ones.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.search.driver.lease import Lease
from lstm_sweep.search.process.scoped import start_ticks
from lstm_sweep.search.service.jobs import Wanted
from lstm_sweep.search.service.scheduler import TURN_S
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import ServiceSettings
from lstm_sweep.search.service.supervisor import AGAIN_S
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from tests.service_app import child_of, let_drivers_idle
from tests.sweeps import PLAIN, store_in, tiny_spec


class World:
    """A service with two slots, of which a sweep of bob's has one; another one is ann's."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.data, self.now = folder, data, 1000.0
        self.store: Store = store_in(folder)
        self.service = self.open()
        self.submit("bob", trials=1)
        self.service._look()

    def open(self) -> Service:
        """A service on the store, once it has read the queue."""
        settings = ServiceSettings(
            store=self.store.settings, folder=self.folder, state=self.folder / "state", slots=2
        )
        made = Service(settings, lambda: self.now)
        made._try_to_look()
        return made

    def submit(self, owner: str, priority: int = 0, trials: int = 1) -> str:
        """Queue the sweep of a user; its run."""
        spec = tiny_spec(data=str(self.data), name=owner, trials=trials, **PLAIN)
        self.service.submit(spec, owner=owner, priority=priority)
        return self.run_of(owner)

    def run_of(self, name: str) -> str:
        """The run of a sweep."""
        return str(reader.existing_sweep(self.store, name).info.run_id)

    def kill_service(self) -> None:
        """Leave the service alone as one is that was killed; another one is started."""
        self.service._queue_lease.release()
        self.service = self.open()

    def look(self) -> None:
        """See what has died, and what may be started again by then."""
        self.service._look()
        self.now += 2 * AGAIN_S
        self.service._look()

    def pid(self, run_id: str) -> int | None:
        """The process of a sweep or rerun."""
        return self.service._supervisor.pid(run_id)

    def slots(self) -> dict[str, int]:
        """What each has of the slots, in the order of the queue."""
        return {one.sweep: one.slots for one in self.service.queue()}


def waits(world: World) -> str:
    """A sweep waits, since one of a higher priority has all slots."""
    run_id = world.submit("ann")
    world.submit("eve", priority=1, trials=2)
    world.service._look()
    return run_id


def starts(world: World) -> str:
    """A sweep has a driver that has not begun."""
    run_id = world.submit("ann")
    world.service._look()
    return run_id


def runs(world: World) -> str:
    """A sweep has a driver with a lease."""
    run_id = starts(world)
    driver, pid = Lease(world.store, run_id), world.pid(run_id)
    assert pid
    driver.mine = replace(driver.mine, pid=pid, born=start_ticks(pid))
    driver.take()
    world.store.log(run_id, tags={Tag.STATE: "running"})
    world.store.reopen(run_id)
    return run_id


def starts_again(world: World) -> str:
    """A sweep has lost its driver, and gets another one."""
    run_id = runs(world)
    kill_process(world, run_id)
    world.look()
    return run_id


def is_paused(world: World) -> str:
    """A sweep was paused."""
    run_id = world.submit("ann")
    world.service.pause("ann")
    return run_id


def rerun_waits(world: World) -> str:
    """A rerun waits, since a sweep of a higher priority has all slots."""
    world.submit("eve", priority=1, trials=2)
    world.service._look()
    return world.service.rerun(Wanted("bob/0", "0" * 32), owner="ann").id


def rerun_runs(world: World) -> str:
    """A rerun has a slot and a process."""
    rerun_id = world.service.rerun(Wanted("bob/0", "0" * 32), owner="ann").id
    world.service._look()
    return rerun_id


def kill_process(world: World, run_id: str) -> None:
    """Kill the process of a sweep or rerun."""
    child = child_of(world.service._supervisor, run_id)
    os.kill(child.pid, signal.SIGKILL)
    child.wait(10)


#: states, and whether the sweep or rerun has a process by the look after a kill
STATES: list[tuple[Callable[[World], str], bool]] = [
    (waits, False),
    (starts, True),
    (runs, True),
    (starts_again, True),
    (is_paused, False),
    (rerun_waits, False),
    (rerun_runs, True),
]
CASES = [
    (state, drives, is_killed, kills_process)
    for state, drives in STATES
    for is_killed, kills_process in ((True, False), (False, True), (True, True))
    if drives or not kills_process
]


@pytest.fixture
def world(workplace: Callable[[str], Path], data: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    folder = workplace("kills")
    let_drivers_idle(folder, monkeypatch)
    made = World(folder, data)
    yield made
    made.service.drain()


@pytest.mark.parametrize(("state", "drives", "is_killed", "kills_process"), CASES)
def test_after_a_kill_the_queue_is_as_it_was_and_each_sweep_has_one_driver(
    world: World,
    state: Callable[[World], str],
    drives: bool,
    is_killed: bool,
    kills_process: bool,
) -> None:
    run_id, bobs = state(world), world.run_of("bob")
    before, others = world.pid(run_id), world.pid(bobs)
    slots = world.slots()
    if kills_process:
        kill_process(world, run_id)
    if is_killed:
        world.kill_service()
    world.look()
    assert world.pid(bobs) == others, "whose process nobody has killed"
    after = world.pid(run_id)
    if state is rerun_runs and kills_process:
        assert after is None
        assert world.service.rerun_status(run_id).state == "failed"
        return
    if before and not kills_process:
        assert after == before
        assert not is_killed or world.service._supervisor.processes[run_id].child is None
    else:
        assert bool(after) == drives and (not after or after != before)
    assert world.slots() == slots


@pytest.mark.parametrize("is_killed", [False, True])
def test_turns_go_on_as_if_nobody_was_killed(world: World, is_killed: bool) -> None:
    for name in ("ann", "eve", "joe"):
        world.submit(name)
    world.service._look()
    assert world.slots() == {"bob": 1, "ann": 1, "eve": 0, "joe": 0}
    if is_killed:
        world.kill_service()
    world.now += TURN_S
    world.service._look()
    assert world.slots() == {"eve": 1, "joe": 1, "bob": 0, "ann": 0}
