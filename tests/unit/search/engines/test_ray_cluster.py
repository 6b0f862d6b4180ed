from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines import ray_cluster
from lstm_sweep.search.engines.ray_cluster import (
    Faults,
    Node,
    Wanted,
    connect,
    names_of,
    slots_of,
    wanted,
)

A = Node("a1", "a", cpus=4, gpus=0)
B = Node("b1", "b", cpus=2, gpus=0)


def slots(found: list[Wanted]) -> dict[str, int]:
    return {one.node.name: one.slots for one in found}


@pytest.mark.parametrize(
    ("missing", "expected"),
    [(0, {}), (1, {"a": 1}), (3, {"a": 2, "b": 1}), (5, {"a": 3, "b": 2}), (9, {"a": 4, "b": 2})],
)
def test_so_many_slots_are_spread_over_the_nodes(missing: int, expected: dict[str, int]) -> None:
    assert slots(wanted([A, B], missing, 1, gpus=False)) == expected


def node(id: str, name: str, host: str = "host", address: str = "10.0.0.1") -> dict[str, Any]:
    return {"NodeID": id, "NodeName": name, "NodeManagerHostname": host,
            "NodeManagerAddress": address}  # fmt: skip


def test_a_node_has_the_name_that_it_was_given_or_that_of_its_host() -> None:
    nodes = [node("0123456789", "given"), node("abcdef0123", "10.0.0.1")]
    assert names_of(nodes) == {"0123456789": "given", "abcdef0123": "host"}


class Rayless:
    """Stands in for Ray where there is no cluster."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> None:
        self.thread = threading.current_thread()
        raise ConnectionError("Could not find any\n  running Ray instance.")


def test_no_cluster_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    rayless = Rayless()
    monkeypatch.setitem(sys.modules, "ray", rayless)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(InputError) as caught:
        connect()
    assert str(caught.value) == (
        "--on ray: found no cluster that this machine can join as a driver (Could not find any "
        "running Ray instance.), expected a node of one, as `ray start` makes it"
    )
    assert rayless.thread is not threading.main_thread(), "Ray would take over SIGTERM"


def test_ray_that_is_not_installed_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"it needs ray, expected: pip install lstm-sweep\[ray\]"):
        connect()


def test_slots_are_counted_as_gpus_where_there_are_some_and_on_nodes_that_stay() -> None:
    one, two = Node("a", "a", 0, 0, all_cpus=4), Node("b", "b", 1, 0, all_cpus=2)
    leaving = Node("c", "c", 8, 0, all_cpus=8, leaving=True)
    assert slots_of([one, two, leaving]) == 6
    assert slots_of([one, Node("d", "d", 8, 1, all_gpus=2, all_cpus=8)]) == 2
    assert slots_of([]) == 0


class Clock:
    """The time, as a test sets it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ray_cluster, "time", clock)
    return clock


def test_a_node_is_left_out_for_a_while_twice_as_long_each_time_up_to_a_limit(
    clock: Clock,
) -> None:
    faults = Faults()
    assert faults.left_out == ""
    for delay in (2.0, 4.0, 8.0, 16.0, 32.0, *[60.0] * 2000):
        for _ in range(3):  # trials that fail at once count as one
            faults.note("no room")
        clock.now += delay - 0.1
        assert faults.left_out == "its node is left out for a while: no room"
        assert faults.again is (delay > 2.0)
        clock.now += 0.1
        assert faults.left_out == ""
