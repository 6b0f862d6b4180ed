"""Nodes, agents and workers of a Ray cluster that die, join, stop for a while or are drained."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.engines import open_engine, ray, ray_agent
from lstm_sweep.search.engines.base import Event, SlotAdded, SlotLost
from lstm_sweep.search.engines.ray import LEAVING, RayEngine
from lstm_sweep.search.values.trial import Ended, Outcome, Slot
from tests import ray_hosts
from tests.contract.engine_jobs import CONFIG, ENDLESS, job, listen, losses, saved_corpus
from tests.ray_cluster import RayCluster, family
from tests.ray_hosts import Hosts

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


def hear(
    engine: RayEngine, kind: type[Event], slot: Slot | None = None
) -> list[tuple[Slot, Event]]:
    """Events up to those among which one is of a kind, on a slot or on any."""
    heard: list[tuple[Slot, Event]] = []
    until = time.monotonic() + WITHIN_S
    while not any(isinstance(event, kind) and slot in (None, at) for at, event in heard):
        assert time.monotonic() < until, heard
        heard += engine.wait(0.2)
    return heard


def places(heard: list[tuple[Slot, Event]], kind: type[Event]) -> list[Slot]:
    """Slots on which something of a kind was heard."""
    return [slot for slot, event in heard if isinstance(event, kind)]


def begin(engine: RayEngine, node: str, corpus: Path, folder: Path, **changes: Any) -> Slot:
    """Start a trial without an end on a node, and let it train a round; where it is."""
    slot = slot_of(engine, node)
    engine.start(replace(job(corpus, folder, slot, ENDLESS), **changes))
    hear(engine, RoundDone)
    return slot


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


pytestmark = pytest.mark.full

#: nodes of the slots that no test takes away for good
STAY = ["one", "one", "two", "two"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_corpus(tmp_path_factory.mktemp("nodes"))


@pytest.fixture(scope="class")
def shared(ray_cluster: RayCluster) -> Iterator[RayEngine]:
    with mock.patch.object(ray, "LEFT_OUT_S", 2.0), RayEngine() as opened:
        yield opened


@pytest.fixture
def engine(shared: RayEngine) -> RayEngine:
    """The engine of a class, once it has the slots of nodes that stay and nothing to tell."""
    until = time.monotonic() + WITHIN_S
    while shared.wait(0.5) or sorted(slot.node or "" for slot in shared.slots) != STAY:
        assert time.monotonic() < until, shared.slots
    return shared


@pytest.fixture
def third(engine: RayEngine, ray_cluster: RayCluster) -> Iterator[str]:
    """A node that joins the engine, and that a test may kill."""
    with another_node(ray_cluster) as name:
        yield name


def rounds_in(checkpoint: Path) -> int:
    """Rounds after which a checkpoint was written; 0 if it is not there."""
    if not checkpoint.exists():
        return 0
    with np.load(checkpoint) as file:
        return len(json.loads(file["about"].tobytes())["rounds"])


class TestNodesThatComeAndGo:
    """One engine, beside which nodes are killed, join and leave."""

    def test_an_agent_that_is_killed_loses_its_slots_and_the_node_gets_another(
        self, engine: RayEngine, corpus: Path, tmp_path: Path
    ) -> None:
        slot = begin(engine, "one", corpus, tmp_path)
        agent = agent_of(engine, slot)
        processes = family(agent)
        assert len(processes) > 2
        os.kill(agent, signal.SIGKILL)
        lost = places(hear(engine, SlotLost), SlotLost)
        assert {gone.node for gone in lost} == {"one"} and slot in lost
        assert left_of(processes) == set()
        new, *_ = places(hear(engine, SlotAdded), SlotAdded)
        assert new.node == "one" and new not in lost
        engine.start(job(corpus, tmp_path / "next", new))
        assert listen(engine)[new][-1] == Ended(Outcome.COMPLETE)

    def test_nothing_of_a_node_that_is_killed_stays_and_one_of_its_name_is_another(
        self,
        engine: RayEngine,
        ray_cluster: RayCluster,
        third: str,
        corpus: Path,
        tmp_path: Path,
    ) -> None:
        slot = begin(engine, third, corpus, tmp_path)
        raylet = ray_cluster.raylet(third)
        processes = family(raylet)
        assert agent_of(engine, slot) in processes
        began = time.monotonic()
        os.kill(raylet, signal.SIGKILL)
        assert places(hear(engine, SlotLost), SlotLost) == [slot]
        print(f"its raylet killed: noticed after {time.monotonic() - began:.1f} s")
        assert slot not in engine.slots
        assert left_of(processes) == set()
        assert engine.collect(slot).is_dir()
        with pytest.raises(RuntimeError, match="lost"):
            engine.start(job(corpus, tmp_path, slot))
        ray_cluster.remove(third)
        ray_cluster.add(third, num_cpus=1)
        *_, new = places(hear(engine, SlotAdded), SlotAdded)
        assert (new.node or "").startswith(third) and new != slot and slot not in engine.slots
        engine.start(job(corpus, tmp_path / "new", new))
        messages = listen(engine)
        assert set(messages) == {new} and messages[new][-1] == Ended(Outcome.COMPLETE)

    def test_a_trial_on_a_node_that_is_drained_is_lost_with_its_files(
        self, engine: RayEngine, ray_cluster: RayCluster, third: str, corpus: Path, tmp_path: Path
    ) -> None:
        slot = begin(engine, third, corpus, tmp_path, checkpoint_every_s=0.0)
        ray_cluster.drain(third)
        heard = hear(engine, SlotLost)
        ends = [event for _, event in heard if isinstance(event, Ended | SlotLost)]
        assert ends == [Ended(Outcome.LOST, LEAVING), SlotLost(LEAVING)]
        assert slot not in engine.slots
        assert (engine.collect(slot) / "checkpoint.npz").exists()

    def test_a_node_that_cannot_keep_the_corpus_is_left_out_until_it_can(
        self, engine: RayEngine, tmp_path: Path
    ) -> None:
        corpus = saved_corpus(tmp_path, seed=os.getpid() + 1)
        slot = slot_of(engine, "one")
        in_the_way = kept_as(ray_agent.digest(ray_agent.read(corpus)))
        in_the_way.write_text("a file where a folder is expected")
        try:
            engine.start(job(corpus, tmp_path / "trial", slot))
            heard = hear(engine, SlotLost, slot)
            assert {where.node for where in places(heard, SlotLost)} == {"one"}
            [ended] = [event for _, event in heard if isinstance(event, Ended)]
            assert (ended.outcome, ended.unfinished) == (Outcome.LOST, True)
            assert ended.reason.startswith("its corpus did not come: NotADirectoryError")
            assert {other.node for other in engine.slots} == {"two"}
        finally:
            in_the_way.unlink()
        hear(engine, SlotAdded, slot)
        engine.start(job(corpus, tmp_path / "trial", slot))
        heard = hear(engine, Ended)
        assert (slot, Ended(Outcome.COMPLETE)) in heard and len(places(heard, Ended)) == 1

    def test_a_trial_whose_node_dies_goes_on_from_a_copy_of_its_checkpoint_with_the_same_bits(
        self, engine: RayEngine, ray_cluster: RayCluster, third: str, corpus: Path,
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(ray, "COPY_EVERY_S", 0.3)
        monkeypatch.setattr(ray, "COPIES_APART_S", 0.0)
        first, doomed = slot_of(engine, "one"), slot_of(engine, third)
        engine.start(job(corpus, tmp_path / "whole", first, LONG))
        whole = losses(listen(engine)[first])
        begun = replace(job(corpus, tmp_path / "parts", doomed, LONG), checkpoint_every_s=0.0)
        engine.start(begun)
        while rounds_in(begun.checkpoint) < 3:
            hear(engine, RoundDone)
        os.kill(ray_cluster.raylet(third), signal.SIGKILL)
        hear(engine, SlotLost)
        assert engine.collect(doomed) == begun.folder
        engine.start(replace(begun, slot=slot_of(engine, "one")))
        heard = hear(engine, Ended)
        rounds = [event for _, event in heard if isinstance(event, RoundDone)]
        assert rounds[0].repeated and losses([*rounds]) == whole and len(whole) == LONG.epochs


DRIVER = """
import sys
from pathlib import Path
from lstm_sweep.search.engines import open_engine
from tests.contract.engine_jobs import ENDLESS, job
engine = open_engine("ray", workers=2)
for slot in engine.slots:
    engine.start(job(Path(sys.argv[1]), Path(sys.argv[2]), slot, ENDLESS))
begun = set()
while True:
    for slot, message in engine.wait(1):
        if type(message).__name__ == "RoundDone" and slot not in begun:
            begun.add(slot)
            print(engine._owners[slot].hello.pid, flush=True)
"""


def test_nothing_stays_on_any_node_when_the_driver_is_killed(
    ray_cluster: RayCluster, corpus: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", DRIVER, str(corpus), str(tmp_path)]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert driver.stdout
    agents = {int(driver.stdout.readline()) for _ in range(2)}
    processes = set[int]().union(*map(family, agents))
    assert len(agents) == 2 and len(processes) >= 8
    driver.kill()
    driver.communicate()
    assert left_of(processes) == set()


def test_other_versions_on_a_node_are_refused_in_a_line(
    ray_cluster: RayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = ray_agent.versions()
    monkeypatch.setattr(ray, "versions", lambda: theirs | {"keras": "2.0"})
    with pytest.raises(InputError) as caught:
        open_engine("ray")
    assert str(caught.value).removeprefix("node one: ").removeprefix("node two: ") == (
        f"it has keras {theirs['keras']} and the driver keras 2.0: expected the same on all nodes"
    )


def test_agents_on_gpus_have_those_that_ray_gives_and_others_see_none(
    ray_cluster: RayCluster,
) -> None:
    with RayEngine() as engine:
        assert {(slot.gpu, engine.describe(slot).gpu) for slot in engine.slots} == {(None, False)}
    ray_cluster.add("cards", num_gpus=2)
    try:
        with RayEngine(per_gpu=2) as engine:
            assert [(slot.node, slot.gpu, slot.core) for slot in engine.slots] == [
                ("cards", gpu, None) for gpu in ("0", "1", "0", "1")
            ]
            assert engine.describe(engine.slots[0]).kind == "gpu"
        with RayEngine(workers=1) as engine:
            [slot] = engine.slots
            assert slot.gpu == "0"
    finally:
        ray_cluster.remove("cards")


def kept_as(digest: str) -> Path:
    """Where all nodes on this machine keep a corpus."""
    return Path(tempfile.gettempdir()) / f"lstm-sweep-{os.getuid()}" / "corpora" / digest


def test_a_corpus_is_fetched_once_for_all_trials_on_a_node(
    engine: RayEngine, tmp_path: Path
) -> None:
    corpus = saved_corpus(tmp_path, seed=os.getpid())  # which no other cluster here has fetched
    found, kept = set(), kept_as(ray_agent.digest(ray_agent.read(corpus)))
    for number in range(2):
        slot = slot_of(engine, "one")
        engine.start(job(corpus, tmp_path / str(number), slot))
        assert listen(engine)[slot][-1] == Ended(Outcome.COMPLETE)
        found.add((kept.stat().st_ino, kept.stat().st_mtime))
    assert len(found) == 1
    engine.close()
    assert not kept.exists()


def test_slots_that_are_missing_are_a_demand_that_an_autoscaler_sees(
    ray_cluster: RayCluster,
) -> None:
    with RayEngine(workers=9) as engine:
        assert len(engine.slots) == 4
        see(ray_cluster, lambda status: "{'CPU': 1.0} * 5 (PACK): 1+ pending" in status)
    see(ray_cluster, lambda status: "pending" not in status.partition("Demands:")[2])


def see(cluster: RayCluster, wanted: Callable[[str], bool]) -> None:
    """Wait for what the autoscaler sees, which looks every few seconds."""
    until = time.monotonic() + WITHIN_S
    while not wanted(status := cluster.status()):
        assert time.monotonic() < until, status
        time.sleep(1)


# A node that is cut off from the network, while all that runs on it goes on, and comes back


#: rounds that are over within the seconds for which the node is cut off
ROUNDS = 30


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with ray_hosts.running() as hosts, mock.patch.dict("os.environ", hosts.login):
        yield hosts


def test_a_trial_that_ends_while_its_node_is_cut_off_does_not_end_twice(
    hosts: Hosts, tmp_path: Path
) -> None:
    corpus, config = saved_corpus(tmp_path), CONFIG.evolve(epochs=ROUNDS)
    with RayEngine() as engine:
        far = slot_of(engine, "far")
        begun = job(corpus, tmp_path / "trial", far, config)
        engine.start(begun)
        hear(engine, RoundDone)
        processes = hosts.agents()
        assert len(processes) > 2
        hosts.cut()
        began = time.monotonic()
        heard = hear(engine, SlotLost)
        print(f"a node that is cut off is lost after {time.monotonic() - began:.1f} s")
        assert places(heard, SlotLost) == [far]
        again = slot_of(engine, "near")
        engine.start(replace(begun, slot=again))
        hear(engine, RoundDone)
        hosts.mend()
        heard = hear(engine, Ended)
        ends = [(where, event) for where, event in heard if isinstance(event, Ended)]
        assert ends == [(again, Ended(Outcome.COMPLETE))]
        assert len(losses([one for _, one in heard if isinstance(one, RoundDone)])) < ROUNDS
        assert left_of(processes) == set()
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert all(isinstance(event, SlotAdded) for _, event in engine.wait(0.2))
