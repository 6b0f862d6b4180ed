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
from dataclasses import dataclass
from typing import Any

from lstm_sweep.models.errors import InputError, cut
from lstm_sweep.search.process import scoped

#: seconds until what has failed is tried again, at least and at most
AGAIN_S, AGAIN_AT_MOST_S = 2.0, 60.0
#: seconds without a failure after which the next one is the first again
FORGOTTEN_AFTER_S = 600.0


def delay_s(times: int) -> float:
    """Seconds until what has failed so many times in a row is tried again."""
    return min(AGAIN_AT_MOST_S, AGAIN_S * 2.0 ** min(times - 1, 99))


@dataclass(frozen=True)
class Offer:
    """How many slots of an agent trials may begin on."""

    #: None for all
    slots: int | None = None
    #: why not on all
    reason: str = ""
    #: whether people know that: it has been so shortly before, say
    told: bool = False

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.slots != 0


#: trials may begin on all slots
ALL = Offer()


def left_out(reason: str, slots: int = 0, *, told: bool = False) -> Offer:
    """No slots of a node, or fewer than it has, since trials could not begin on it."""
    return Offer(slots, f"its node is left out for a while: {reason}", told)


class Faults:
    """Counts trials that could not begin on a node, or for which it had no room.

    After one, none begins there for a while, and then, for as long again, on one slot at most: else
    all that wait for a slot would be tried there at once.
    """

    def __init__(self) -> None:
        self._times = 0
        self._reason = ""
        self._last = -math.inf

    def note(self, reason: str) -> None:
        """Count one; not those that were under way while the node is left out."""
        if not self.offer:
            return
        now = time.monotonic()
        self._times = 1 if now - self._last > FORGOTTEN_AFTER_S else self._times + 1
        self._reason, self._last = reason, now

    @property
    def offer(self) -> Offer:
        """On how many slots trials may begin now."""
        if not self._times:
            return ALL
        passed, delay = time.monotonic() - self._last, delay_s(self._times)
        if passed >= 2 * delay:
            return ALL
        tried_again = passed >= delay
        return left_out(self._reason, int(tried_again), told=tried_again or self._times > 1)


#: variable of Ray that it reads at its import
NO_HANDLER = "RAY_DISABLE_FAILURE_SIGNAL_HANDLER"
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
    #: all of its GPUs
    all_gpus: int = 0
    #: all of its CPUs
    all_cpus: int = 0
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

    None stands for the one that RAY_ADDRESS names, or else for the one of this machine.

    No signal handler is installed, and nothing is printed: Ray does either in the main thread, or
    of errors of workers, which agents report themselves.

    Raises:
        InputError: Ray is not installed, or there is no such cluster.
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
                _take_signals_back()
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
    failed: list[BaseException] = []

    def init() -> None:
        try:
            with _process_restored():
                # `auto` reads RAY_ADDRESS
                name = address or "auto"
                ray.init(address=name, log_to_driver=False, logging_level=logging.CRITICAL)
            _mute(ray)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=init, name="ray.init")
    thread.start()
    thread.join()
    if failed:
        lines = str(failed[0]).strip().splitlines() or [type(failed[0]).__name__]
        why = " ".join(map(str.strip, lines))
        raise InputError(
            "--on ray: found no cluster that this machine can join as a driver "
            f"({cut(why, 300)}), expected a node of one, as `ray start` makes it"
        ) from failed[0]


@contextlib.contextmanager
def _process_restored() -> Iterator[None]:
    """Undo what Ray changes in this process at its import, and as it connects.

    These are environment variables, `sys.excepthook`, `faulthandler` and the state of `random`.
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


def _take_signals_back() -> None:
    """Give SIGTERM back to Python: Ray prints a stack in its handler before it calls Python's."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _mute(ray: Any) -> None:
    """End the thread that prints errors of workers and nodes to this program's output."""
    with contextlib.suppress(AttributeError):  # not public
        worker = ray._private.worker.global_worker
        worker.threads_stopped.set()
        worker.gcs_error_subscriber.close()
        worker.listener_thread.join()
        worker.threads_stopped.clear()


def disconnect() -> None:
    """Close the connection if `connect` has opened it and no other engine uses it."""
    import ray

    with _lock:
        if _users:
            _users.pop()
            if not _users:
                ray.shutdown()


def alive() -> dict[str, Node]:
    """The nodes that are alive, by their ID."""
    import ray
    from ray._private.state import state

    free = state.available_resources_per_node()
    leaving = set(state.get_draining_nodes())
    found = [node for node in ray.nodes() if node["Alive"]]
    names = names_of(found)
    return {
        node["NodeID"]: Node(
            node["NodeID"],
            names[node["NodeID"]],
            int(free.get(node["NodeID"], {}).get("CPU", 0)),
            int(free.get(node["NodeID"], {}).get("GPU", 0)),
            int(node["Resources"].get("GPU", 0)),
            int(node["Resources"].get("CPU", 0)),
            node["NodeID"] in leaving,
        )
        for node in found
    }


def names_of(nodes: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Names of nodes for people, by ID: as given to `ray start`, else of the host.

    Nodes of one name have the beginning of their ID beside it.
    """
    names = {}
    for node in nodes:
        given = node["NodeName"] != node["NodeManagerAddress"]
        names[node["NodeID"]] = node["NodeName" if given else "NodeManagerHostname"]
    often = Counter(names.values())
    return {id: f"{name}-{id[:6]}" if often[name] > 1 else name for id, name in names.items()}


def wanted(nodes: Iterable[Node], missing: int | None, per_gpu: int, *, gpus: bool) -> list[Wanted]:
    """Agents that are to be made on nodes; they take `missing` slots, None for all that are free.

    The slots are spread evenly over the nodes.
    """
    rooms = {node: node.gpus * per_gpu if gpus else node.cpus for node in nodes}
    rooms = {node: room for node, room in rooms.items() if room > 0 and not node.leaving}
    given = dict.fromkeys(rooms, 0)
    left = math.inf if missing is None else missing
    while left > 0 and (open_nodes := [node for node in rooms if given[node] < rooms[node]]):
        for node in open_nodes[: int(min(left, len(open_nodes)))]:
            given[node] += 1
            left -= 1
    return [_agent(node, slots, per_gpu, gpus=gpus) for node, slots in given.items() if slots]


def _agent(node: Node, slots: int, per_gpu: int, *, gpus: bool) -> Wanted:
    if not gpus:
        return Wanted(node, slots, 0, slots)
    cards = min(slots, node.gpus)  # each GPU once, then each a second time
    return Wanted(node, min(node.cpus, slots), cards, slots)


def singly(wanted: Wanted) -> list[Wanted]:
    """An agent as several small ones, each of which can be ended alone: for one CPU or one GPU."""
    if not wanted.gpus:
        return [Wanted(wanted.node, 1, 0, 1)] * wanted.slots
    some, more = divmod(wanted.slots, wanted.gpus)
    shares = [some + (index < more) for index in range(wanted.gpus)]
    cpus = max(0, wanted.cpus)
    return [
        Wanted(wanted.node, cpus // wanted.gpus + (index < cpus % wanted.gpus), 1, share)
        for index, share in enumerate(shares)
    ]


def slots_of(nodes: Iterable[Node]) -> int:
    """How many slots all sweeps have together: GPUs, or CPUs if no node has any."""
    staying = [node for node in nodes if not node.leaving]
    gpus = sum(node.all_gpus for node in staying)
    return gpus or sum(node.all_cpus for node in staying)


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
