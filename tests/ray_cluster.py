"""A real Ray cluster on this machine, whose nodes are processes of their own, for tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from tests.servers import free_port, wait_for_answer

#: CPUs of a node, as Ray counts them
CPUS = 2
#: with these a node that is silent is dead after 8 seconds instead of a minute, and a trial has
#: the priority of its test: by Ray's own 15 it times out on a busy machine
HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
    "RAY_worker_niceness": "0",
}


class RayCluster:
    """A head without CPUs, and nodes that come and go."""

    def __init__(self, folder: Path, **settings: str) -> None:
        """Start the head; `settings` are environment variables of it and of all nodes."""
        #: what a driver needs in its environment, and what nodes have
        self.login = {
            "RAY_AUTH_MODE": "disabled",
            "RAY_TMPDIR": str(folder),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self._environment = self.login | {"HOME": str(folder)} | HEALTH | settings
        self._nodes: dict[str, Any] = {}
        with self._starting():
            from ray.cluster_utils import Cluster

            head = {"num_cpus": 0, "include_dashboard": False, "node_name": "head"}
            self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.login["RAY_ADDRESS"] = self._cluster.address

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        with mock.patch.dict(os.environ, self._environment):
            for name in ("RAY_ADDRESS", "CUDA_VISIBLE_DEVICES"):
                os.environ.pop(name, None)
            yield

    def add(self, name: str, **arguments: Any) -> None:
        """Start a node of this name."""
        with self._starting():
            node = self._cluster.add_node(node_name=name, **{"num_cpus": CPUS} | arguments)
            self._nodes[name] = node

    def remove(self, name: str) -> None:
        """Kill a node with SIGKILL, unless it is gone, and leave what it has started to itself."""
        node = self._nodes.pop(name, None)
        if node and node.any_processes_alive():
            self._cluster.remove_node(node, allow_graceful=False)

    def behead(self) -> None:
        """Kill the head with SIGKILL, and leave the nodes to themselves."""
        self._cluster.remove_node(self._cluster.head_node, allow_graceful=False)

    def drain(self, name: str, within_s: int = 30) -> None:
        """Announce that a node is to leave within so many seconds."""
        self._command(
            *("drain-node", "--node-id", self._nodes[name].node_id),
            *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "wanted elsewhere"),
            *("--deadline-remaining-seconds", str(within_s)),
        )

    def status(self) -> str:
        """What the autoscaler knows of the cluster and of what is demanded."""
        return self._command("status")

    def _command(self, command: str, *arguments: str) -> str:
        return subprocess.run(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", command, *arguments),
                *("--address", self.login["RAY_ADDRESS"]),
            ],
            env=os.environ | self._environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def raylet(self, name: str) -> int:
        """Process ID of a node's raylet."""
        [info] = self._nodes[name].all_processes["raylet"]
        pid: int = info.process.pid
        return pid

    def agents(self, name: str) -> set[int]:
        """Processes of agents on a node, and of all that these have started."""
        processes = family(self.raylet(name))
        agents = [pid for pid in processes if title(pid).startswith("ray::Agent")]
        return set[int]().union(*map(family, agents))

    def stop(self) -> None:
        """End all nodes and the head."""
        self._cluster.shutdown()


@contextlib.contextmanager
def running(*nodes: str, **settings: str) -> Iterator[RayCluster]:
    """A cluster with nodes of these names, gone in the end."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # its sockets need a short path
    try:
        cluster = RayCluster(folder, **settings)
        try:
            for name in nodes:
                cluster.add(name)
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def family(pid: int) -> set[int]:
    """A process, its children, theirs and so on."""
    listing = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    rows = (row.split() for row in listing.stdout.splitlines())
    parents = {int(child): int(parent) for child, parent in rows}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def title(pid: int) -> str:
    """The command line of a process; empty if it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


# A real Ray head with its dashboard on this machine, as `ray start` makes it, for tests


#: options of `ray start` that take a port
PORTS = (
    "port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port",
    "metrics-export-port", "ray-client-server-port", "runtime-env-agent-port",
)  # fmt: skip


@dataclass(frozen=True)
class Head:
    """A head that answers."""

    address: str
    #: home of the user that runs it
    home: Path


@contextlib.contextmanager
def started(cpus: int = 2, python: str = sys.executable) -> Iterator[Head]:
    """A head without a token; it and all that it has started end with it.

    `python` runs it, and is the one of its jobs and workers.
    """
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # its sockets need a short path
    ports = {name: free_port() for name in PORTS}
    programs = Path(python).parent
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(python, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
                "--disable-usage-stats",
                *("--temp-dir", folder / "t", "--dashboard-host", "127.0.0.1"),
                *("--num-cpus", str(cpus), "--object-store-memory", "150000000"),
                *(f"--{name}={port}" for name, port in ports.items()),
            ],
            env={
                "HOME": str(folder), "PATH": f"{programs}:{os.environ['PATH']}",
                "RAY_raylet_graceful_shutdown_timeout_s": "1", "RAY_AUTH_MODE": "disabled",
            },
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{ports['dashboard-port']}"
        wait_for_answer(f"{address}/api/version", process, folder / "log")
        yield Head(address, folder)
    finally:
        process.terminate()
        process.wait(120)
        shutil.rmtree(folder, ignore_errors=True)
