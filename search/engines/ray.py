"""Runs trials on the nodes of a Ray cluster, by agents that hold slots there.

An agent is an actor that runs trials on its node as `local` does, for as many slots as it was given
CPUs or GPUs; each trial is a call of it that yields what happens. The driver is a process on a node
of the cluster.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from lstm_sweep.models.errors import InputError
from lstm_sweep.models.rounds import Progressed, RoundDone
from lstm_sweep.search.engines import ray_agent, ray_cluster
from lstm_sweep.search.engines.base import Engine, Event, Quota, SlotAdded, SlotLost
from lstm_sweep.search.engines.ray_agent import (
    CONTROL,
    FILES,
    TRIALS,
    Agent,
    Hello,
    KeptCheckpoint,
    SharedCorpus,
    different,
    versions,
)
from lstm_sweep.search.engines.ray_cluster import (
    KINDS,
    Demand,
    Node,
    Wanted,
    why_ended,
)
from lstm_sweep.search.values.trial import Device, Ended, Job, Outcome, Paused, Slot, TrialFiles


@dataclass(eq=False)
class _Place:
    """A node, as the driver knows it."""

    name: str
    leaving: bool = False
    #: why it gets no agent any more; empty if it does
    refused: str = ""
    #: what could not begin there last, and until when nothing else does
    fault: str = ""
    out_until: float = 0.0
    #: why no trial began there when people were told of it last
    said: str = ""

    @property
    def out(self) -> str:
        """Why no trial begins there; empty if some may."""
        left_out = self.fault if time.monotonic() < self.out_until else ""
        return LEAVING if self.leaving else left_out

    def leave_out(self, why: str) -> None:
        """Let nothing begin there for a while: else all that wait for a slot are tried at once."""
        self.fault = f"its node is left out for a while: {why}"
        self.out_until = time.monotonic() + LEFT_OUT_S


@dataclass(eq=False)
class _Member:
    """An agent, as the driver knows it."""

    place: _Place
    wanted: Wanted
    actor: Any
    #: what it says of itself; it breaks off when the agent dies
    stream: Any
    made: float
    hello: Hello | None = None
    slots: list[Slot] = field(default_factory=list)

    def call(self, name: str, *arguments: Any, group: str = FILES) -> Any:
        return getattr(self.actor, name).options(concurrency_group=group).remote(*arguments)


@dataclass(eq=False)
class _Running:
    number: int
    job: Job
    #: what happens
    stream: Any
    #: whether it has got anywhere, so that this attempt counts
    began: bool = False
    #: whether it was told to stop
    stopping: bool = False


#: seconds between two looks at the nodes of the cluster
LOOK_EVERY_S = 1.0
#: seconds for which a node is left out where a trial could not begin, or an agent has died early
LEFT_OUT_S = 30.0
#: seconds that an agent has to begin; one that has failed later has not failed to begin
BEGIN_WITHIN_S, LASTED_S = 90.0, 30.0
#: seconds between two copies of the checkpoint of a trial, and between those of two trials
COPY_EVERY_S, COPIES_APART_S = 60.0, 0.5
#: seconds that nodes have to give their first slots, and that an agent has to give files
OPEN_WITHIN_S, FILES_WITHIN_S = 60.0, 600.0
#: seconds that agents have in the end: to end their trials, to give their files, to delete theirs;
#: and for which the end waits for the cluster's head
END_WITHIN_S, LAST_FILES_WITHIN_S, LEAVE_WITHIN_S, ANSWER_WITHIN_S = 3.0, 4.0, 1.0, 2.0
#: why trials end on a node that is drained, and why a slot is lost that others are to have
LEAVING = "its node is about to leave the cluster"
GIVEN_BACK = "it is not needed now, and left to others"


class RayEngine(Engine):
    """Slots on all nodes of a cluster, also on those that join while it is open.

    A thread looks at the nodes; all else happens in calls of `wait`.
    """

    def __init__(
        self, workers: int | None = None, per_gpu: int = 1, address: str | None = None
    ) -> None:
        """Connect to the cluster at Ray's own `address`, and wait for the slots of its nodes."""
        self.slots: tuple[Slot, ...] = ()
        self._workers, self._per_gpu = workers, per_gpu
        self.quota = Quota.given()
        self._versions = versions()
        self._places: dict[str, _Place] = {}
        #: agents that live
        self._members: list[_Member] = []
        #: of each slot that there ever was
        self._owners: dict[Slot, _Member] = {}
        #: slots that were added and not lost, and why the last ones have no agent any more
        self._added: set[Slot] = set()
        self._gone: dict[Slot, str] = {}
        self._running: dict[Slot, _Running] = {}
        self._numbers = itertools.count(1)
        #: folder of the trial that was started last on each slot
        self._folders: dict[Slot, Path] = {}
        #: slots whose last trial has files on its node that were not collected
        self._uncollected: set[Slot] = set()
        self._corpora: dict[Path, SharedCorpus] = {}
        #: whether agents are to be warmed up, and for user code; None if not
        self._warm: bool | None = None
        #: whether slots are GPUs, and whether an agent has begun, from which on this stays
        self._gpus = self._begun = False
        #: the nodes by the last look, until `wait` has seen them; slots that are missing
        self._seen: dict[str, Node] | None = None
        self._missing_slots = 0
        self._closed, self._closing = False, threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="ray nodes", daemon=True)
        ray_cluster.connect(address)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._seen = ray_cluster.alive()
        self._watcher.start()
        until = time.monotonic() + OPEN_WITHIN_S
        while time.monotonic() < until:
            self.wait(0.1)
            for place in self._places.values():
                if place.refused:
                    raise InputError(f"node {place.name}: {place.refused}")
            if self.slots and all(member.hello for member in self._members):
                return

    # what the driver calls

    @override
    def describe(self, slot: Slot) -> Device:
        hello = self._owners[slot].hello
        assert hello
        return hello.device

    @override
    def warm_up(self, *, user_code: bool = False) -> None:
        self._warm = user_code
        for member in self._members:
            if member.hello:
                member.call("warm_up", user_code)

    @override
    def reserve(self, slot: Slot) -> str:
        if self._workers is not None and len(self._running) >= self._workers:
            return "all workers have a trial"  # those on a node that was left out were replaced
        if self.quota is None or len(self._running) < self.quota.most():
            return ""
        return self.quota.why()

    @override
    def staying(self) -> int:
        return sum(not one.stopping for one in self._running.values())

    @override
    def start(self, job: Job) -> None:
        if self._closed:
            raise RuntimeError("the engine is closed")
        if job.slot in self._running:
            raise RuntimeError(f"{job.slot} is taken")
        if job.slot not in self.slots:
            raise RuntimeError(f"{job.slot} is lost")
        job.folder.mkdir(parents=True, exist_ok=True)
        number, every_s = next(self._numbers), max(COPY_EVERY_S, COPIES_APART_S * len(self.slots))
        train = self._owners[job.slot].actor.train.options(
            num_returns="streaming", concurrency_group=TRIALS
        )
        files, corpus = ray_agent.read(job.folder), self._shared(job.training.reads)
        stream = train.remote(number, job, files, corpus, every_s)
        self._running[job.slot] = _Running(number, job, stream)
        self._folders[job.slot] = job.folder
        self._uncollected.add(job.slot)

    def _shared(self, folder: Path | None) -> SharedCorpus | None:
        """The folder that a trial reads, which is put into Ray's object store once."""
        import ray

        if folder is None or not folder.is_dir():
            return None
        if folder not in self._corpora:
            files = ray_agent.read(folder)
            self._corpora[folder] = SharedCorpus(ray_agent.digest(files), [ray.put(files)])
        return self._corpora[folder]

    @override
    def stop(self, slot: Slot, ended: Ended | Paused) -> None:
        if running := self._running.get(slot):
            running.stopping = True
            self._owners[slot].call("stop", running.number, ended, group=CONTROL)

    @override
    def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
        if self._closed:
            return []
        self._look()
        events = self._changes()
        for stream, source in self._ready(0.0 if events else timeout_s):
            events += self._receive(stream, *source)
        self._give_back()
        return events + self._changes()

    def _changes(self) -> list[tuple[Slot, Event]]:
        """Slots that were added or lost; one where trials may not begin is lost once it is free."""
        offered = [slot for one in self._members if not one.place.out for slot in one.slots]
        events: list[tuple[Slot, Event]] = []
        for slot in sorted(self._added.difference(offered, self._running), key=lambda s: s.index):
            place, why = self._owners[slot].place, self._gone.pop(slot, "")
            told, place.said = place.said == place.out != "", place.out or place.said
            events.append((slot, SlotLost(why or place.out, told and not why)))
            self._added.remove(slot)
        events += [(slot, SlotAdded()) for slot in offered if slot not in self._added]
        self._added.update(offered)
        self.slots = tuple(offered)
        return events

    def _ready(self, timeout_s: float) -> list[tuple[Any, tuple[_Member, Slot | None]]]:
        """Streams with something to say, or that have broken off, and whose they are."""
        import ray

        streams: dict[Any, tuple[_Member, Slot | None]] = {}
        streams |= {member.stream: (member, None) for member in self._members}
        streams |= {one.stream: (self._owners[at], at) for at, one in self._running.items()}
        if not streams:
            time.sleep(timeout_s)
            return []
        ready, _ = ray.wait([*streams], timeout=timeout_s)
        if ready:
            ready, _ = ray.wait([*streams], num_returns=len(streams), timeout=0)
        return [(stream, streams[stream]) for stream in ready]

    def _receive(self, stream: Any, member: _Member, slot: Slot | None) -> list[tuple[Slot, Event]]:
        """What a stream says next: that of an agent, or of the trial on a slot."""
        import ray

        if member not in self._members:
            return []  # it was lost by what another stream has said just now
        try:
            item = ray.get(next(stream))
        except StopIteration:
            self._lose(member, "its agent has ended")
        except Exception as error:
            for_good = getattr(error, "actor_init_failed", False)
            self._lose(member, why_ended(error), for_good=for_good)
        else:
            if slot is not None:
                return self._report(member, slot, item)
            self._welcome(member, item)
        return []

    def _welcome(self, member: _Member, hello: Hello) -> None:
        if why := different(hello.versions, self._versions):
            self._lose(member, why, for_good=True)
            return
        member.hello, self._begun = hello, True
        if self._warm is not None:
            member.call("warm_up", self._warm)
        first = len(self._owners)
        member.slots = [replace(slot, index=first + i) for i, slot in enumerate(hello.slots)]
        self._owners |= dict.fromkeys(member.slots, member)

    def _report(
        self, member: _Member, slot: Slot, item: Event | KeptCheckpoint
    ) -> list[tuple[Slot, Event]]:
        running = self._running[slot]
        if isinstance(item, KeptCheckpoint):
            with contextlib.suppress(OSError):  # of a full disk
                ray_agent.write(running.job.folder, {running.job.checkpoint.name: item.data})
            return []
        running.began = running.began or isinstance(item, RoundDone | Progressed)
        if isinstance(item, Ended) and item.outcome is Outcome.LOST and item.unfinished:
            member.place.leave_out(item.reason)
            item = replace(item, unfinished=not running.began)
        if isinstance(item, Ended | Paused):
            del self._running[slot]
        return [(slot, item)]

    def _lose(self, member: _Member, reason: str, *, for_good: bool = False) -> None:
        """Kill an agent, of which nothing counts any more; `for_good`: its node gets no other."""
        _kill(member.actor)
        if for_good:
            member.place.refused = reason
        elif time.monotonic() - member.made < LASTED_S:
            member.place.leave_out(reason)
        self._drop(member, reason)

    def _drop(self, member: _Member, reason: str) -> None:
        self._members.remove(member)
        for slot in member.slots:
            self._running.pop(slot, None)
            self._gone[slot] = reason

    # nodes

    def _watch(self) -> None:
        """Look at the nodes now and then, and let autoscalers see how many slots are missing."""
        demand = Demand()
        while not self._closing.wait(LOOK_EVERY_S):
            with contextlib.suppress(Exception):  # such as a head that does not answer just now
                # before the demand changes: what it held is free only a moment after it is left
                self._seen = ray_cluster.alive()
                demand.show(self._missing_slots, KINDS[self._gpus])
        with contextlib.suppress(Exception):
            demand.show(0, KINDS[self._gpus])

    def _look(self) -> None:
        nodes, self._seen = self._seen, None
        if nodes is None:
            return
        for id, node in nodes.items():
            place = self._places.setdefault(id, _Place(node.name))
            if node.leaving and not place.leaving:
                place.leaving = True
                for slot in self._running:
                    if self._owners[slot].place is place:  # its files can still be had
                        self.stop(slot, Ended(Outcome.LOST, LEAVING))
        for member in list(self._members):
            if member.wanted.node.id not in nodes:
                self._lose(member, "its node has left the cluster")
            elif not member.hello and time.monotonic() - member.made > BEGIN_WITHIN_S:
                self._lose(member, f"its agent has not begun within {BEGIN_WITHIN_S:g} s")
        self._make_agents(nodes)

    def _make_agents(self, nodes: dict[str, Node]) -> None:
        if not self._begun:  # until then, the node that had GPUs may have been a dying one
            self._gpus = any(node.all_gpus for node in nodes.values())
        waited_for = {one.wanted.node.id for one in self._members if not one.hello}
        stay = {id for id, one in self._places.items() if not (one.out or one.refused)}
        usable = [node for id, node in nodes.items() if id in stay - waited_for]
        singly = self.quota is not None
        for wanted in ray_cluster.wanted(
            usable, self._missing(), self._per_gpu, gpus=self._gpus, singly=singly
        ):
            self._make(wanted)
        missing = self._missing()
        busy = len(self._running) >= len(self.slots)
        self._missing_slots = int(busy) if missing is None else missing

    def _make(self, wanted: Wanted) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        groups = {TRIALS: wanted.slots, CONTROL: 1, FILES: 2}
        node = wanted.node
        actor = (
            ray.remote(concurrency_groups=groups)(Agent)
            .options(
                num_cpus=wanted.cpus,
                num_gpus=wanted.gpus,
                max_restarts=0,
                max_task_retries=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
            )
            .remote(node.name, wanted.slots, on_gpus=wanted.gpus > 0)
        )
        stream = actor.run.options(num_returns="streaming").remote()
        place = self._places[node.id]
        self._members.append(_Member(place, wanted, actor, stream, time.monotonic()))

    # how many slots

    def _limit(self) -> float:
        return min(self._workers or math.inf, self.quota.most() if self.quota else math.inf)

    def _count(self) -> int:
        """How many slots there are, or will be, on nodes that stay and are not left out."""
        return sum(one.wanted.slots for one in self._members if not one.place.out)

    def _missing(self) -> int | None:
        limit = self._limit()
        return None if limit == math.inf else max(0, int(limit) - self._count())

    def _give_back(self) -> None:
        excess = self._count() - self._limit()
        busy = self._uncollected.union(self._running)
        newest = sorted(self._members, key=lambda one: (one.hello is not None, -one.made))
        for member in newest if excess > 0 else ():
            slots = member.wanted.slots
            if slots <= excess and not member.place.out and busy.isdisjoint(member.slots):
                excess -= slots
                member.call("leave")
                self._drop(member, GIVEN_BACK)

    # files

    @override
    def collect(self, slot: Slot) -> Path:
        if slot not in self._folders:
            raise LookupError(f"no trial was started on {slot}")
        member = self._owners[slot]
        if slot in self._uncollected and not self._closed and member in self._members:
            self._fetch_files({slot: member.call("collect", slot)}, FILES_WITHIN_S)
        if slot in self._uncollected:  # what is here was written before it was started there
            files = TrialFiles(folder=self._folders[slot])
            for old in (files.weights, files.inputs):
                old.unlink(missing_ok=True)
        return self._folders[slot]

    def _fetch_files(self, answers: dict[Slot, Any], within_s: float) -> None:
        import ray

        until = time.monotonic() + within_s
        for slot, answer in answers.items():
            try:
                files = ray.get(answer, timeout=max(0.0, until - time.monotonic()))
            except ray.exceptions.RayError:  # the node is gone, or too slow
                continue
            folder = self._folders[slot]
            if folder.is_dir():  # the driver has removed it if it needs nothing of it
                ray_agent.write(folder, files)
            self._uncollected.discard(slot)

    @override
    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._closing.set()
        try:
            self._end_agents()
        finally:
            for member in self._members:
                _kill(member.actor)
            # nothing that is Ray's is kept beyond the connection
            self._corpora.clear()
            self._running.clear()
            for member in (*self._members, *self._owners.values()):
                member.stream = member.actor = None
            if self._watcher.is_alive():
                self._watcher.join(ANSWER_WITHIN_S)
            ray_cluster.disconnect()

    def _end_agents(self) -> None:
        members = [member for member in self._members if member.hello]
        _wait([member.call("end", group=CONTROL) for member in members], END_WITHIN_S)
        answers = {
            slot: self._owners[slot].call("collect", slot)
            for slot in self._uncollected
            if self._owners[slot] in members
        }
        with contextlib.suppress(OSError):
            self._fetch_files(answers, LAST_FILES_WITHIN_S)
        _wait([member.call("leave") for member in members], LEAVE_WITHIN_S)


def _kill(actor: Any) -> None:
    import ray

    with contextlib.suppress(Exception):
        ray.kill(actor)


def _wait(answers: list[Any], within_s: float) -> None:
    import ray

    if answers:
        ray.wait(answers, num_returns=len(answers), timeout=within_s)
