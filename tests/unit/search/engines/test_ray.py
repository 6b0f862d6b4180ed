"""What the engine makes of what agents say, without Ray; tests of all engines start one."""

from __future__ import annotations

import errno
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines import ray as ray_engine
from lstm_sweep.search.engines import ray_agent, ray_cluster
from lstm_sweep.search.engines.base import Event, SlotAdded, SlotLost, write_quota
from lstm_sweep.search.engines.ray import RayEngine
from lstm_sweep.search.engines.ray_agent import (
    Agent,
    Bytes,
    Hello,
    KeptCheckpoint,
    SharedCorpus,
    digest,
    read,
    versions,
    write,
)
from lstm_sweep.search.engines.ray_cluster import (
    Node,
    connect,
    names_of,
    slots_of,
    wanted,
)
from lstm_sweep.search.values.trial import (
    Computing,
    Device,
    Ended,
    Job,
    Outcome,
    Paused,
    Slot,
    Trial,
)
from tests.fakes import job_of

NODE = Node("a", "one", cpus=2, gpus=0, all_cpus=2)


class Stream:
    """What an agent has said, and was not heard yet."""

    def __init__(self, *items: object) -> None:
        self.items = list(items)

    def __next__(self) -> object:
        return self.items.pop(0)


class NoAnswerError(Exception):
    """Stands in for errors of Ray."""


TRIAL = Trial(sweep="s", number=0, config=TrialConfig(), seed=0)


class Cluster:
    """Stands in for Ray: a node on which an agent with two slots is made at once."""

    exceptions = SimpleNamespace(RayError=NoAnswerError)

    def __init__(self) -> None:
        #: streams of the agents that were made, and of the trials that were started
        self.agents: list[Stream] = []
        self.trials: list[Stream] = []
        self.called: list[str] = []

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

    def put(self, files: object) -> object:
        return files

    def kill(self, actor: object) -> None:
        """It dies at once."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
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


def heard(engine: RayEngine, stream: Stream, *said: object) -> list[tuple[Slot, Event]]:
    stream.items += said
    found = list(engine.wait(0.0))
    while stream.items:
        found += engine.wait(0.0)
    return found


@pytest.mark.parametrize("leaves", [False, True], ids=["left out", "leaves"])
def test_an_agent_that_begins_on_a_node_that_gets_no_trials_offers_none_before_it_does(
    engine: RayEngine, cluster: Cluster, tmp_path: Path, leaves: bool
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
        engine.start(job_of(TRIAL, slot, tmp_path))
        ended = Ended(Outcome.LOST, "no room", unfinished=True)
        heard(engine, cluster.trials[0], ended)
    assert engine.slots == ()
    assert (heard(engine, late, *hello), engine.slots) == ([], ())
    engine._members[0].place.out_until = 0.0
    added = [at for at, event in engine.wait(0.0) if event == SlotAdded()]
    assert set(added) == (set() if leaves else {slot, free, *engine._members[1].slots})


@pytest.mark.parametrize("dies", [False, True], ids=["no answer", "lost"])
def test_a_network_of_an_earlier_stretch_is_not_taken_for_that_of_a_trial_that_has_ended(
    engine: RayEngine, cluster: Cluster, tmp_path: Path, dies: bool
) -> None:
    slot, _ = engine.slots
    begun = job_of(TRIAL, slot, tmp_path)
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
    engine.start(job_of(TRIAL, slot, tmp_path))
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


# An agent without Ray and without workers, and what it keeps on its node


COMPLETE = Ended(Outcome.COMPLETE)
CORPUS = SharedCorpus("abc", ["a reference"])


def of(content: bytes) -> Bytes:
    return np.frombuffer(content, np.uint8)


class Local:
    """Stands in for `local`: trials end when they are stopped."""

    started: list[Job]
    fails: OSError | None

    def __init__(self, slots: tuple[Slot, ...]) -> None:
        self._events: list[tuple[Slot, Event]] = []

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing runs."""

    def start(self, job: Job) -> None:
        if self.fails:
            raise self.fails
        self.started.append(job)

    def stop(self, slot: Slot, ended: Ended | Paused) -> None:
        self._events.append((slot, ended))

    def wait(self, timeout_s: float) -> list[tuple[Slot, Event]]:
        events, self._events = self._events, []
        return events


@dataclass
class Place:
    """An agent with a slot."""

    agent: Agent
    slot: Slot
    folder: Path

    @property
    def job(self) -> Job:
        return job_of(TRIAL, self.slot, Path("/of/the/driver/0"))

    def train(
        self, number: int, files: dict[str, Bytes] | None = None, corpus: SharedCorpus | None = None
    ) -> Iterator[Event | KeptCheckpoint]:
        return self.agent.train(number, self.job, files or {}, corpus, 0.0)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(ray_agent, "_end_with_parent", lambda parent: None)
    monkeypatch.setattr(ray_agent, "LocalEngine", Local)
    monkeypatch.setattr(Local, "started", [], raising=False)
    monkeypatch.setattr(Local, "fails", None, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    agent = Agent("node", 1, on_gpus=False, root=tmp_path / "scratch")
    return Place(agent, next(agent.run()).slots[0], tmp_path)


def test_a_trial_runs_in_a_folder_of_the_agent_with_the_files_of_the_driver(place: Place) -> None:
    place.agent.stop(1, COMPLETE)  # before it has come
    place.agent.stop(1, Paused("the first call counts"))
    assert [*place.train(1, {"checkpoint.npz": of(b"state")})] == [COMPLETE]
    [job] = Local.started
    assert job.checkpoint.read_bytes() == b"state" and place.folder in job.folder.parents
    job.weights.write_bytes(b"weights")
    found = {name: bytes(data) for name, data in place.agent.collect(place.slot).items()}
    assert found == {"checkpoint.npz": b"state", "model.keras": b"weights"}
    place.agent.stop(2, COMPLETE)
    assert [*place.train(2)] == [COMPLETE]
    assert not job.folder.exists() and place.agent.collect(place.slot) == {}


def test_a_trial_begins_once_its_corpus_has_come(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    came, full = threading.Event(), [True, False]

    def get(reference: object) -> dict[str, Bytes]:
        if full.pop(0):
            raise OSError("No space left on device")
        assert came.wait(60)
        return {"corpus.json": of(b"{}")}

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=get))
    monkeypatch.setattr(ray_agent, "COMPUTING_EVERY_S", 0.01)
    reason = "its corpus did not come: OSError: No space left on device"
    assert [*place.train(1, corpus=CORPUS)][-1] == Ended(Outcome.LOST, reason, unfinished=True)
    stream = place.train(2, corpus=CORPUS)
    assert next(stream) == Computing(), "or it would seem to hang"
    came.set()

    def stop() -> None:
        while not Local.started:
            time.sleep(0.01)
        place.agent.stop(2, COMPLETE)

    threading.Thread(target=stop, daemon=True).start()
    assert [*stream][-1] == COMPLETE
    [job] = Local.started
    wanted = place.folder / "scratch" / "corpora" / "abc"
    assert job.training == place.job.training.reading(wanted)
    assert job.training.reads == wanted


def test_files_travel_with_their_names_alone_and_appear_once_they_are_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = {"empty": of(b""), "odd": of(b"abcde"), "../out": of(b"abc")}
    write(tmp_path / "there", sent)
    found = {name: bytes(data) for name, data in read(tmp_path / "there").items()}
    assert found == {"empty": b"", "odd": b"abcde", "out": b"abc"}
    assert digest(read(tmp_path / "there")) == digest({k: of(v) for k, v in found.items()})
    others = (found | {"odd": b"abcdf"}, {"other": b"abcde"}, {"odd": b"abcde"})
    assert len({digest({k: of(v) for k, v in files.items()}) for files in others}) == 3

    def fail(file: Path, data: Any) -> None:
        file.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "there", {"odd": of(b"later")})
    assert bytes(read(tmp_path / "there")["odd"]) == b"abcde"


A = Node("a1", "a", cpus=4, gpus=0)
B = Node("b1", "b", cpus=2, gpus=0)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [(0, {}), (1, {"a": 1}), (3, {"a": 2, "b": 1}), (5, {"a": 3, "b": 2}), (9, {"a": 4, "b": 2})],
)
def test_so_many_slots_are_spread_over_the_nodes(missing: int, expected: dict[str, int]) -> None:
    found = wanted([A, B], missing, 1, gpus=False)
    assert {one.node.name: one.slots for one in found} == expected


def test_a_node_has_the_name_that_it_was_given_or_that_of_its_host() -> None:
    host = {"NodeManagerHostname": "host", "NodeManagerAddress": "10.0.0.1"}
    nodes = [
        host | {"NodeID": "01", "NodeName": "given"},
        host | {"NodeID": "ab", "NodeName": "10.0.0.1"},
    ]
    assert names_of(nodes) == {"01": "given", "ab": "host"}


def test_no_cluster_and_no_ray_are_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = list[threading.Thread]()

    def init(**options: Any) -> None:
        threads.append(threading.current_thread())
        raise ConnectionError("Could not find any\n  running Ray instance.")

    rayless = SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setitem(sys.modules, "ray", rayless)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(InputError) as caught:
        connect()
    assert str(caught.value) == (
        "--on ray: found no cluster that this machine can join as a driver (Could not find any "
        "running Ray instance.), expected a node of one, as `ray start` makes it"
    )
    assert threads and threading.main_thread() not in threads, "Ray would take over SIGTERM"
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"it needs ray, expected: pip install lstm-sweep\[ray\]"):
        connect()


def test_slots_are_counted_as_gpus_where_there_are_some_and_on_nodes_that_stay() -> None:
    one, two = Node("a", "a", 0, 0, all_cpus=4), Node("b", "b", 1, 0, all_cpus=2)
    leaving = Node("c", "c", 8, 0, all_cpus=8, leaving=True)
    assert slots_of([one, two, leaving]) == 6
    assert slots_of([one, Node("d", "d", 8, 1, all_gpus=2, all_cpus=8)]) == 2
    assert slots_of([]) == 0
