"""For `ray`: the connection to a cluster, its nodes, and which agents they are to have."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import math
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass
from typing import Any

from lstm_sweep.models.errors import InputError, cut
from lstm_sweep.search.process import scoped

#: variable of Ray that it reads at its import
NO_HANDLER = "RAY_DISABLE_FAILURE_SIGNAL_HANDLER"
#: what slots are made of
KINDS = ("CPU", "GPU")
#: held while the connection is opened or closed; how many engines use it, if it is ours
_lock = threading.Lock()
_users: list[int] = []


@dataclass(frozen=True)
class Node:
    """A node that is alive."""

    id: str
    #: its name for people, which no other node has
    name: str
    #: CPUs and GPUs that nobody has taken in Ray
    cpus: int
    gpus: int
    #: all of its CPUs and GPUs
    all_cpus: int = 0
    all_gpus: int = 0
    #: whether it is being drained: it will leave the cluster before long
    leaving: bool = False


@dataclass(frozen=True)
class Wanted:
    """An agent that a node is to have."""

    node: Node
    cpus: int
    gpus: int
    slots: int


def connect(address: str | None = None) -> None:
    """Connect this process to the cluster at Ray's own `address`, such as HOST:PORT.

    None stands for the one that RAY_ADDRESS names, or else for the one of this machine. No signal
    handler is installed, and nothing is printed.
    """
    try:
        with _process_restored():
            import ray
    except ImportError:
        raise InputError("--on ray: it needs ray, expected: pip install lstm-sweep[ray]") from None
    with _lock:
        if _users or not ray.is_initialized():
            if not _users:
                _init(ray, address)
                handler = signal.getsignal(signal.SIGTERM)
                if handler and threading.current_thread() is threading.main_thread():
                    # given back to Python: Ray prints a stack in its own before it calls Python's
                    signal.signal(signal.SIGTERM, handler)
            _users.append(1)


def _init(ray: Any, address: str | None) -> None:
    name, given = "address", address
    if given is None:
        name, given = "RAY_ADDRESS", os.environ.get("RAY_ADDRESS", "auto")
    if "://" in given:
        raise InputError(
            f"{name} is '{cut(given)}': expected HOST:PORT of a cluster of which this "
            f"machine is a node, since trials report through Ray's own connections"
        )

    def init() -> None:
        with _process_restored():  # `auto` reads RAY_ADDRESS
            level = logging.CRITICAL
            ray.init(address=address or "auto", log_to_driver=False, logging_level=level)
        # ends the thread that prints errors of workers and nodes to this program's output
        with contextlib.suppress(AttributeError):  # not public
            worker = ray._private.worker.global_worker
            worker.threads_stopped.set()
            worker.gcs_error_subscriber.close()
            worker.listener_thread.join()
            worker.threads_stopped.clear()

    try:
        with futures.ThreadPoolExecutor(1, "ray.init") as thread:
            thread.submit(init).result()
    except BaseException as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        why = " ".join(map(str.strip, lines))
        raise InputError(
            "--on ray: found no cluster that this machine can join as a driver "
            f"({cut(why, 300)}), expected a node of one, as `ray start` makes it"
        ) from error


@contextlib.contextmanager
def _process_restored() -> Iterator[None]:
    """Undo what Ray changes in this process at its import, and as it connects.

    Within, it does not take over SIGTERM, at which it would print a stack.
    """
    hook, state, handles_faults = sys.excepthook, random.getstate(), faulthandler.is_enabled()
    variables = ("PYTHONBREAKPOINT", "RAY_CLIENT_MODE")
    try:
        with scoped.restored(*variables), scoped.variable(NO_HANDLER, "1"):
            yield
    finally:
        sys.excepthook = hook
        if not handles_faults:
            faulthandler.disable()
        random.setstate(state)


def disconnect() -> None:
    """Close the connection if `connect` has opened it and no other engine uses it."""
    import ray

    with _lock:
        if _users:
            _users.pop()
            if not _users:
                ray.shutdown()


def alive() -> dict[str, Node]:
    import ray
    from ray._private.state import state

    free = state.available_resources_per_node()
    leaving = set(state.get_draining_nodes())
    found = [node for node in ray.nodes() if node["Alive"]]
    names, nodes = names_of(found), {}
    for node in found:
        id, every = node["NodeID"], node["Resources"]
        cpus, gpus = (int(free.get(id, {}).get(kind, 0)) for kind in KINDS)
        all_cpus, all_gpus = (int(every.get(kind, 0)) for kind in KINDS)
        nodes[id] = Node(id, names[id], cpus, gpus, all_cpus, all_gpus, id in leaving)
    return nodes


def names_of(nodes: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Names for people, by ID: as given to `ray start`, else of the host; no two alike."""
    names = {}
    for node in nodes:
        given = node["NodeName"] != node["NodeManagerAddress"]
        names[node["NodeID"]] = node["NodeName" if given else "NodeManagerHostname"]
    often = Counter(names.values())
    return {id: f"{name}-{id[:6]}" if often[name] > 1 else name for id, name in names.items()}


def wanted(
    nodes: Iterable[Node], missing: int | None, per_gpu: int, *, gpus: bool, singly: bool = False
) -> list[Wanted]:
    """Agents that are to be made on nodes; they take `missing` slots, None for all that are free.

    With `singly` each agent is for one CPU or one GPU, so that it can be ended alone.
    """
    rooms = {node: node.gpus * per_gpu if gpus else node.cpus for node in nodes}
    rooms = {node: room for node, room in rooms.items() if room > 0 and not node.leaving}
    given = dict.fromkeys(rooms, 0)
    left = math.inf if missing is None else missing
    while left > 0 and (open_nodes := [node for node in rooms if given[node] < rooms[node]]):
        for node in open_nodes[: int(min(left, len(open_nodes)))]:
            given[node] += 1
            left -= 1
    found = []
    for node, slots in given.items():
        cards = min(slots, node.gpus) if gpus else 0  # each GPU once, then each a second time
        parts = (cards or slots) if singly else min(slots, 1)
        cpus = min(node.cpus, slots)
        found += [
            Wanted(node, *(n // parts + (index < n % parts) for n in (cpus, cards, slots)))
            for index in range(parts)
        ]
    return found


class Demand:
    """Slots that are missing, as a placement group that nothing uses: autoscalers see that."""

    def __init__(self) -> None:
        self._group: Any = None
        self._slots = 0

    def show(self, slots: int, kind: str) -> None:
        """So many are missing; once there is room for them, it is left free, and shown again."""
        from ray.util import placement_group, placement_group_table, remove_placement_group

        if self._group and placement_group_table(self._group).get("state") == "CREATED":
            slots = 0
        if slots == self._slots:
            return
        if self._group:
            remove_placement_group(self._group)
        self._group = placement_group([{kind: 1}] * slots, strategy="PACK") if slots else None
        self._slots = slots


def slots_of(nodes: Iterable[Node]) -> int:
    """How many slots all sweeps have together: GPUs, or CPUs if no node has any."""
    staying = [node for node in nodes if not node.leaving]
    gpus = sum(node.all_gpus for node in staying)
    return gpus or sum(node.all_cpus for node in staying)


#: what Ray says of an actor that has died, with a detail after it, and what that means
ENDS = {
    "the actor's node was terminated unexpectedly": "its node has died",
    "Worker exit detail:": "its agent has died",
    "The actor is dead because": "its agent has died",
}


def why_ended(error: Exception) -> str:
    text = " ".join(str(error).split())
    if getattr(error, "actor_init_failed", False):
        lines = [line for line in str(error).splitlines() if line.strip()]
        return f"its agent could not begin: {lines[-1].strip() if lines else type(error).__name__}"
    if getattr(error, "preempted", False):
        return "its node was preempted"
    for said, meaning in ENDS.items():
        if said in text:
            detail = text.partition(said)[2].strip(" :.").partition(". ")[0]
            return f"{meaning}: {cut(detail, 200)}" if detail else meaning
    return f"its agent has ended: {cut(text, 200)}"


#: seconds between two counts of slots
LOOK_EVERY_S = 1.0


def main() -> int:
    """Print how many slots there are, at each change, until the process that wants to know ends.

    It is a process of its own, since Ray ends the one that is connected to a head that dies.
    """
    parent, said = os.getppid(), -1
    try:
        connect()
    except InputError as error:
        print(error, flush=True)
        return 2
    while os.getppid() == parent:
        count = slots_of(alive().values())
        if count != said:
            said = count
            print(count, flush=True)
        time.sleep(LOOK_EVERY_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
