"""What the engine makes of what agents say, without Ray; tests of all engines start one."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.engines import ray as ray_engine
from lstm_sweep.search.engines import ray_cluster
from lstm_sweep.search.engines.base import Event, SlotAdded, SlotLost, write_quota
from lstm_sweep.search.engines.ray import RayEngine
from lstm_sweep.search.engines.ray_agent import Hello, versions
from lstm_sweep.search.engines.ray_cluster import AGAIN_S, Node
from lstm_sweep.search.engines.worker import CorpusTraining
from lstm_sweep.search.values.trial import Device, Ended, Job, Outcome, Paused, Slot, Trial

NODE = Node("a", "one", cpus=2, gpus=0, all_cpus=2)


class Stream:
    """What an agent has said, and was not heard yet."""

    def __init__(self, *items: object) -> None:
        self.items = list(items)

    def __next__(self) -> object:
        return self.items.pop(0)


class NoAnswerError(Exception):
    """Stands in for errors of Ray."""


class Cluster:
    """Stands in for Ray: a node on which an agent with two slots is made at once."""

    exceptions = SimpleNamespace(RayError=NoAnswerError)

    def __init__(self) -> None:
        #: streams of the agents that were made, and of the trials that were started
        self.agents: list[Stream] = []
        self.trials: list[Stream] = []
        self.called: list[str] = []
        self.killed = 0

    def make(self, engine: RayEngine, wanted: ray_cluster.Wanted) -> None:
        slots = tuple(Slot(index, core=index, node="one") for index in range(wanted.slots))
        self.agents.append(Stream(Hello(slots, Device(kind="cpu", node="one"), versions(), 1)))
        actor = mock.Mock()
        actor.train.options.return_value.remote = self._train
        for name in ("stop", "leave", "collect", "end", "warm_up"):
            noted = mock.Mock(side_effect=lambda *given, name=name: self.called.append(name))
            getattr(actor, name).options.return_value.remote = noted
        place = engine._places[wanted.node.id]
        member = ray_engine._Member(place, wanted, actor, self.agents[-1], 0.0)
        engine._members.append(member)

    def _train(self, *given: object) -> Stream:
        self.trials.append(Stream())
        return self.trials[-1]

    def wait(self, streams: list[Any], **more: object) -> tuple[list[Any], list[Any]]:
        return [one for one in streams if isinstance(one, Stream) and one.items], []

    def get(self, item: object, **more: object) -> object:
        if item is None or isinstance(item, Exception):
            raise item or NoAnswerError
        return item

    def kill(self, actor: object) -> None:
        self.killed += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(ray_cluster, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, clock: Any) -> Cluster:
    made = Cluster()
    monkeypatch.setitem(sys.modules, "ray", made)
    monkeypatch.setattr(RayEngine, "_make", lambda engine, wanted: made.make(engine, wanted))
    monkeypatch.setattr(ray_engine, "LOOK_EVERY_S", 3600.0)
    for name in ("connect", "disconnect"):
        monkeypatch.setattr(ray_cluster, name, lambda *address: None)
    monkeypatch.setattr(ray_cluster, "alive", lambda: {"a": NODE})
    return made


@pytest.fixture
def engine(cluster: Cluster) -> Iterator[RayEngine]:
    with RayEngine() as opened:
        yield opened


def job(slot: Slot, folder: Path) -> Job:
    trial = Trial(sweep="s", number=slot.index, config=TrialConfig(), seed=0)
    training = CorpusTraining(folder / "no", Scoring(1, 0))
    return Job(trial=trial, slot=slot, training=training, folder=folder)


def heard(engine: RayEngine, stream: Stream, *said: object) -> list[tuple[Slot, Event]]:
    stream.items += said
    found = list(engine.wait(0.0))
    while stream.items:
        found += engine.wait(0.0)
    return found


@pytest.mark.parametrize("leaves", [False, True], ids=["left out", "leaves"])
def test_an_agent_that_begins_on_a_node_that_gets_no_trials_offers_none_before_it_does(
    engine: RayEngine, cluster: Cluster, clock: Any, tmp_path: Path, leaves: bool
) -> None:
    slot, free = engine.slots
    wanted = engine._members[0].wanted
    cluster.make(engine, wanted)
    engine._members[1].made = time.monotonic()
    late = cluster.agents[1]
    hello, late.items = late.items, []
    if leaves:
        engine._seen = {"a": replace(NODE, leaving=True)}
        engine.wait(0.0)
    else:
        engine.start(job(slot, tmp_path))
        ended = Ended(Outcome.LOST, "no room", unfinished=True)
        heard(engine, cluster.trials[0], ended)
    assert engine.slots == ()
    assert (heard(engine, late, *hello), engine.slots) == ([], ())
    clock.s += AGAIN_S
    added = [at for at, event in engine.wait(0.0) if event == SlotAdded()]
    assert set(added) == (set() if leaves else {slot, free, *engine._members[1].slots})


def test_an_agent_that_breaks_off_is_killed_and_its_slots_are_lost(
    engine: RayEngine, cluster: Cluster, tmp_path: Path
) -> None:
    slot, free = engine.slots
    engine.start(job(slot, tmp_path))
    why = "The actor is dead because its node has died. Restarts: 0"
    gone = SlotLost("its agent has died: its node has died")
    assert heard(engine, cluster.trials[0], NoAnswerError(why)) == [(slot, gone), (free, gone)]
    assert (engine.slots, cluster.killed) == ((), 1)
    engine._seen = {"a": NODE}
    added = [*engine.wait(0.0), *engine.wait(0.0)]
    assert [event for _, event in added] == [SlotAdded()] * 2, "the node gets another agent"
    assert not {slot, free} & set(engine.slots)
    engine._seen = {}
    assert [event for _, event in engine.wait(0.0)] == [
        SlotLost("its node has left the cluster")
    ] * 2


@pytest.mark.parametrize("dies", [False, True], ids=["no answer", "lost"])
def test_a_network_of_an_earlier_stretch_is_not_taken_for_that_of_a_trial_that_has_ended(
    engine: RayEngine, cluster: Cluster, tmp_path: Path, dies: bool
) -> None:
    slot, _ = engine.slots
    begun = job(slot, tmp_path)
    for file in (begun.weights, begun.inputs, begun.checkpoint):
        file.write_bytes(b"of round 3")
    engine.start(begun)
    heard(engine, cluster.trials[0], Ended(Outcome.COMPLETE))
    if dies:
        heard(engine, cluster.agents[0], NoAnswerError("gone"))
    assert engine.collect(slot) == tmp_path
    assert [file.name for file in tmp_path.iterdir()] == [begun.checkpoint.name]


def test_slots_that_the_service_takes_back_are_left_once_their_trials_wait(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = tmp_path / "r.slots"
    monkeypatch.setenv("LSTM_SWEEP_QUOTA", str(quota))
    write_quota(quota, 2, "", 0.0)
    engine = RayEngine()
    slot, free = engine.slots
    assert (engine.reserve(slot), engine.surplus(), engine.refusal()) == ("", 0, "")
    engine.start(job(slot, tmp_path))
    write_quota(quota, 0, "waits: 2 sweeps share 1 slot", 0.0)
    assert engine.reserve(free) == engine.refusal() == "waits: 2 sweeps share 1 slot"
    assert engine.surplus() == 1
    left = SlotLost("it is not needed now, and left to others")
    assert list(engine.wait(0.0)) == [(free, left)], "on the other one a trial runs"
    paused = Paused("makes room", preempted=True)
    engine.stop(slot, paused)
    assert engine.surplus() == 0
    assert heard(engine, cluster.trials[0], paused) == [(slot, paused)]
    assert list(engine.wait(0.0)) == [], "its files were not fetched"
    engine._uncollected.clear()
    assert list(engine.wait(0.0)) == [(slot, left)]
    assert (engine.slots, cluster.called) == ((), ["leave", "stop", "leave"])
    engine.close()
