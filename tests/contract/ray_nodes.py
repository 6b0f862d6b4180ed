"""What tests on the nodes of a Ray cluster share: what is heard of trials, and processes."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lstm_sweep.search.engines.base import Event, SlotLost
from lstm_sweep.search.engines.ray import RayEngine
from lstm_sweep.search.values.trial import RoundDone, Slot
from tests.contract.engine_jobs import CONFIG
from tests.ray_cluster import RayCluster

#: seconds for which anything is waited for; nothing takes so long
WITHIN_S = 120.0
#: so long that a trial can be interrupted
LONG = CONFIG.evolve(epochs=80, layer_size=24)

NUMBERS = itertools.count()


@contextlib.contextmanager
def another_node(ray_cluster: RayCluster) -> Iterator[str]:
    """A node with one slot that a test may kill; its name is that of no other."""
    name = f"third-{next(NUMBERS)}"
    ray_cluster.add(name, num_cpus=1)
    yield name
    ray_cluster.remove(name)


def slot_of(engine: RayEngine, node: str) -> Slot:
    """A slot on a node, which may have joined just now."""
    until = time.monotonic() + WITHIN_S
    while not (found := [slot for slot in engine.slots if slot.node == node]):
        assert time.monotonic() < until, f"no slot on {node}"
        engine.wait(0.5)
    return found[0]


def hear(engine: RayEngine, until: Callable[[Slot, Event], bool]) -> list[tuple[Slot, Event]]:
    """Events up to those among which one is wanted."""
    heard: list[tuple[Slot, Event]] = []
    limit = time.monotonic() + WITHIN_S
    while not any(until(slot, event) for slot, event in heard):
        assert time.monotonic() < limit, heard
        heard += engine.wait(0.2)
    return heard


def is_round(slot: Slot, event: Event) -> bool:
    return isinstance(event, RoundDone)


def is_lost(slot: Slot, event: Event) -> bool:
    return isinstance(event, SlotLost)


def left_of(pids: Iterable[int]) -> set[int]:
    """Processes that are still there after they had time to end; dead ones may be unreaped."""
    until = time.monotonic() + WITHIN_S
    while True:
        left = {pid for pid in pids if runs(pid)}
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.1)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def agent_of(engine: RayEngine, slot: Slot) -> int:
    hello = engine._owners[slot].hello
    assert hello
    return hello.pid
