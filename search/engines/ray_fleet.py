"""For `ray`: the agents of a cluster, made where there is room, listened to, and given up."""

from __future__ import annotations

import asyncio
import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from lstm_sweep.models.errors import cut
from lstm_sweep.search.engines import ray_cluster
from lstm_sweep.search.engines.ray_agent import Agent, Hello, Offering, Report
from lstm_sweep.search.engines.ray_cluster import ALL, Node, Offer, Wanted, delay_s

#: seconds between two looks at the nodes of the cluster
LOOK_EVERY_S = 1.0
#: seconds that an agent has to begin
BEGIN_WITHIN_S = 90.0
#: an agent that has failed after so many seconds has not failed to begin
LASTED_S = 30.0
#: seconds for which the end waits for answers of the cluster's head
ANSWERS_WITHIN_S = 2.0
#: seconds that an agent which is not needed has to delete its files
CLEAR_WITHIN_S = 5.0
#: states of actors and placement groups in Ray
DEAD, CREATED = "DEAD", "CREATED"
#: what Ray says of an actor that has died, with a detail after it, and what that means
ENDS = {
    "the actor's node was terminated unexpectedly": "its node has died",
    "Worker exit detail:": "its agent has died",
    "The actor is dead because": "its agent has died",
}
#: groups of threads of an agent: one for calls that are to be in order, one for files
CONTROL, FILES = "control", "files"


@dataclass(frozen=True)
class Gone:
    """An agent has ended, and nothing that it ran does run any more."""

    reason: str
    #: whether no other agent would do better on its node
    for_good: bool = False


@dataclass(frozen=True)
class Leaving:
    """The node of an agent is going to leave the cluster."""


@dataclass(eq=False)
class Member:
    """An agent, as the driver knows it."""

    wanted: Wanted
    actor: Any
    made: float
    hello: Hello | None = None
    #: why it was given up; empty as long as it was not
    lost: str = ""
    leaving: bool = False
    #: on how many of its slots trials may begin
    offer: Offer = ALL
    #: number of the last report, and of the last call that is carried out in order
    reports: int = 0
    calls: int = 0
    #: digests of the corpora that it was told to fetch
    corpora: set[str] = field(default_factory=set)

    @property
    def node(self) -> Node:
        """The node on which the agent runs."""
        return self.wanted.node

    def call(self, name: str, *arguments: Any, group: str = FILES) -> Any:
        """Call a method of the agent; a reference to what it returns."""
        return getattr(self.actor, name).options(concurrency_group=group).remote(*arguments)

    def call_in_order(self, name: str, *arguments: Any) -> None:
        """Call a method that changes what runs, after all such calls before it."""
        self.calls += 1
        self.call(name, self.calls, *arguments, group=CONTROL)


Said = tuple[Member, Hello | Report | Offering | Gone | Leaving]


class Fleet:
    """Keeps an agent on each node with room, as long as slots are missing.

    Two threads: one looks at the nodes, one listens to all agents. What they find is in `inbox`.
    """

    def __init__(
        self, workers: int | None, per_gpu: int, most: Callable[[], int] | None = None
    ) -> None:
        """`most` says how many slots there may be, if that changes; agents are small then."""
        self.inbox: queue.SimpleQueue[Said] = queue.SimpleQueue()
        #: whether each slot has a trial, so that more slots could be used
        self.busy = True
        self._workers, self._per_gpu, self._most = workers, per_gpu, most
        #: whether slots are GPUs, and whether an agent has begun, from which on this stays
        self._gpus = self._begun = False
        self._members: list[Member] = []
        #: how often agents have failed on a node, and when the next is made
        self._failures: dict[str, tuple[int, float]] = {}
        #: a placement group that nothing uses: autoscalers see from it that slots are missing
        self._demand: Any = None
        self._demanded = 0
        self._loop = asyncio.new_event_loop()
        self._closing = threading.Event()
        #: held while an agent is given up
        self._lock = threading.Lock()
        self._listener = threading.Thread(
            target=self._loop.run_forever, name="ray listener", daemon=True
        )
        self._watcher = threading.Thread(target=self._watch, name="ray nodes", daemon=True)

    @property
    def members(self) -> list[Member]:
        """Agents that were not given up."""
        return [member for member in self._members if not member.lost]

    def begin(self) -> None:
        """Make the first agents, and go on looking for nodes."""
        self._listener.start()
        self._look()
        self._watcher.start()

    def _watch(self) -> None:
        while not self._closing.wait(LOOK_EVERY_S):
            with contextlib.suppress(Exception):  # such as a head that does not answer just now
                self._look()

    # nodes

    def _look(self) -> None:
        """Find out which nodes have come or gone; make agents where there is room."""
        nodes = ray_cluster.alive()
        if self._demand_is_met():
            self._ask_for(0)  # its room is free at the next look
            return
        if not self._begun:  # until then, the node that had GPUs may have been a dying one
            self._gpus = any(node.all_gpus for node in nodes.values())
            self._begun = any(member.hello for member in self.members)
        for member in self.members:
            self._check(member, nodes.get(member.node.id))
        now = time.monotonic()
        waited_for = {one.node.id for one in self.members if not (one.hello and one.offer)}
        usable = [
            node
            for node in nodes.values()
            if node.id not in waited_for and self._failures.get(node.id, (0, 0.0))[1] <= now
        ]
        missing = self._missing()
        for wanted in ray_cluster.wanted(usable, missing, self._per_gpu, gpus=self._gpus):
            for part in [wanted] if self._most is None else ray_cluster.singly(wanted):
                self._make(part)
        missing = self._missing()
        self._ask_for(int(self.busy) if missing is None else missing)

    def _missing(self) -> int | None:
        limit = self._limit()
        return None if limit == math.inf else max(0, int(limit) - self._count())

    def _limit(self) -> float:
        """How many slots there may be."""
        return min(self._workers or math.inf, self._most() if self._most else math.inf)

    def _count(self) -> int:
        """How many slots there are, or will be, on nodes that stay and are not left out."""
        return sum(member.wanted.slots for member in self._staying)

    @property
    def _staying(self) -> list[Member]:
        return [one for one in self.members if one.offer and not one.leaving]

    def surplus(self) -> list[Member]:
        """Agents that could be ended, newest first, until no more slots are left than allowed."""
        excess = self._count() - self._limit()
        newest = sorted(self._staying, key=lambda one: (one.hello is not None, -one.made))
        return [member for member in newest if member.wanted.slots <= excess]

    def release(self, member: Member) -> bool:
        """End an agent whose slots are not needed, soon; whether there are more than may be."""
        with self._lock:
            if member.lost or self._count() <= self._limit():
                return False
            member.lost = "it is not needed"
        self._schedule(self._end(member))
        return True

    async def _end(self, member: Member) -> None:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(_answer(member.call("clear")), CLEAR_WITHIN_S)
        await asyncio.to_thread(self._kill, member)

    def _check(self, member: Member, node: Node | None) -> None:
        if node is None:
            self.give_up(member, "its node has left the cluster")
        elif node.leaving and member.hello and not member.leaving:
            member.leaving = True
            self.inbox.put((member, Leaving()))
        elif not member.hello and time.monotonic() - member.made > BEGIN_WITHIN_S:
            self.give_up(member, f"its agent has not begun within {BEGIN_WITHIN_S:g} s")

    def _make(self, wanted: Wanted) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        agent = ray.remote(concurrency_groups={CONTROL: 1, FILES: 2})(Agent)
        actor = agent.options(
            num_cpus=wanted.cpus,
            num_gpus=wanted.gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(wanted.node.id, soft=False),
        ).remote(wanted.node.name, wanted.slots, on_gpus=wanted.gpus > 0)
        member = Member(wanted, actor, time.monotonic())
        self._members = [*self.members, member]
        stream = actor.run.options(num_returns="streaming").remote()
        self._schedule(self._listen(member, stream))

    def _demand_is_met(self) -> bool:
        from ray.util import placement_group_table

        return bool(self._demand) and placement_group_table(self._demand).get("state") == CREATED

    def _ask_for(self, slots: int) -> None:
        """Let autoscalers see that so many slots are missing."""
        from ray.util import placement_group, remove_placement_group

        if slots == self._demanded:
            return
        if self._demand:
            remove_placement_group(self._demand)
        kind = "GPU" if self._gpus else "CPU"
        self._demand = placement_group([{kind: 1}] * slots, strategy="PACK") if slots else None
        self._demanded = slots

    # agents

    def _schedule(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _listen(self, member: Member, stream: Any) -> None:
        """Put all that an agent says into the inbox."""
        from ray.exceptions import ActorUnavailableError, RayError

        reason, for_good = "its agent has ended", False
        try:
            async for reference in stream:
                self.inbox.put((member, await reference))
        except ActorUnavailableError:  # it may run on, and so may its trials
            reason = "its agent could not be reached"
            await asyncio.to_thread(self._kill, member)
        except RayError as error:
            reason, for_good = _why(error), getattr(error, "actor_init_failed", False)
        except Exception as error:
            reason = f"its agent could not be heard: {type(error).__name__}: {error}"
            await asyncio.to_thread(self._kill, member)
        if not self._closing.is_set():
            self.give_up(member, reason, for_good=for_good)

    def give_up(self, member: Member, reason: str, *, for_good: bool = False) -> None:
        """Kill an agent; nothing that it says from now on counts.

        `for_good`: its node gets no other.
        """
        import ray

        with self._lock:
            if member.lost:
                return
            member.lost = reason
        with contextlib.suppress(Exception):
            ray.kill(member.actor)
        times, _ = self._failures.get(member.node.id, (0, 0.0))
        times = 0 if time.monotonic() - member.made > LASTED_S else times + 1
        delay = delay_s(times) if times else 0.0
        again = math.inf if for_good else time.monotonic() + delay
        self._failures[member.node.id] = times, again
        self.inbox.put((member, Gone(reason, for_good)))

    def _kill(self, member: Member) -> None:
        """Kill an agent, and wait until it is dead, as is then all that it ran, or for `close`."""
        import ray
        from ray._private import state

        with contextlib.suppress(Exception):
            ray.kill(member.actor)
        while not self._closing.wait(0.2):
            with contextlib.suppress(Exception):
                if state.actors(member.actor._actor_id.hex()).get("State") == DEAD:
                    return

    def stop_looking(self) -> None:
        """Make no more agents, and let those that there are end."""
        self._closing.set()

    def close(self) -> None:
        """Kill all agents, and end the threads."""
        import ray

        self.stop_looking()
        if self._watcher.is_alive():
            self._watcher.join(ANSWERS_WITHIN_S)
        for member in self.members:
            with contextlib.suppress(Exception):
                ray.kill(member.actor)
        with contextlib.suppress(Exception):
            self._ask_for(0)
        if self._listener.is_alive():
            self._schedule(self._stop_listening())
            self._listener.join(ANSWERS_WITHIN_S)
        self._members = []

    async def _stop_listening(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loop.stop()


async def _answer(reference: Any) -> Any:
    return await reference


def _why(error: Exception) -> str:
    """Why an agent has ended, in a line."""
    text = " ".join(str(error).split())
    if getattr(error, "actor_init_failed", False):
        lines = [line for line in str(error).splitlines() if line.strip()]
        return f"its agent could not begin: {lines[-1].strip() if lines else type(error).__name__}"
    if getattr(error, "preempted", False):
        return "its node was preempted"
    for said, meaning in ENDS.items():
        _, found, after = text.partition(said)
        if found:
            detail = after.strip(" :.").partition(". ")[0]
            return f"{meaning}: {cut(detail, 200)}" if detail else meaning
    return f"its agent has ended: {cut(text, 200)}"
