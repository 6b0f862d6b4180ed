"""A Ray cluster whose second node is a host of its own: a network namespace of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.postgres import do_without
from tests.ray_cluster import HEALTH, family, title
from tests.servers import free_port

#: what tests may not do without if `LSTM_SWEEP_TESTS_NEED` has it
NAME = "namespaces"
#: addresses of the two hosts, of a network that is for tests of devices (RFC 2544)
NEAR, FAR, WIDTH = "198.18.77.1", "198.18.77.2", 30


@dataclass(frozen=True)
class Hosts:
    """A head on this machine, `near`, and a node in a namespace, `far`."""

    #: what a driver on this machine needs in its environment
    login: dict[str, str]
    #: process of the far node's `ray start`
    far: int
    _link: str

    def cut(self) -> None:
        """Take the far host off the network."""
        _ip("link", "set", self._link, "down")

    def mend(self) -> None:
        """Let it be reached again."""
        _ip("link", "set", self._link, "up")

    def agents(self) -> set[int]:
        """Processes of agents on the far host, and of all that these have started."""
        agents = [pid for pid in family(self.far) if title(pid).startswith("ray::Agent")]
        return set[int]().union(*map(family, agents))


@contextlib.contextmanager
def running() -> Iterator[Hosts]:
    """Both nodes, with a CPU each; nothing of them is left in the end."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # its sockets need a short path
    port = free_port()
    login = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(folder)}
    environment = os.environ | login | HEALTH | {"HOME": str(folder)}
    environment.pop("RAY_ADDRESS", None)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        space, link = stack.enter_context(_host())
        head = [
            "--head",
            "--port",
            str(port),
            "--include-dashboard=false",
            "--node-ip-address",
            NEAR,
        ]
        _start("near", [], head, environment, stack)
        inside = ["ip", "netns", "exec", space]
        options = ["--address", f"{NEAR}:{port}", "--node-ip-address", FAR]
        far = _start("far", inside, options, environment, stack)
        yield Hosts(login | {"RAY_ADDRESS": f"{NEAR}:{port}"}, far, link)


def _start(
    name: str,
    inside: list[str],
    options: list[str],
    environment: dict[str, str],
    stack: contextlib.ExitStack,
) -> int:
    """Start a node, and wait until it has begun; its process."""
    log = Path(environment["HOME"]) / f"{name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(*inside, sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
                *("--node-name", name, "--num-cpus", "1", "--object-store-memory", "100000000"),
                *options,
            ],
            env=environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    stack.callback(_end, process)
    until = time.monotonic() + 120
    while "Ray runtime started" not in log.read_text():
        assert process.poll() is None and time.monotonic() < until, log.read_text()
        time.sleep(0.2)
    return process.pid


def _end(process: subprocess.Popen[bytes]) -> None:
    for pid in family(process.pid):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    process.wait(60)


@contextlib.contextmanager
def _host() -> Iterator[tuple[str, str]]:
    """A namespace and this machine's end of the cable to it; without one, see `do_without`."""
    space, near, far = (f"{name}{os.getpid()}" for name in ("lsw", "lsn", "lsf"))
    if not shutil.which("ip"):
        do_without(NAME, "there is no program `ip`, expected Debian's package `iproute2`")
    made = subprocess.run(
        ["ip", "netns", "add", space], capture_output=True, text=True, check=False
    )
    if made.returncode:
        why = f"no network namespace can be made ({made.stderr.strip()}), expected CAP_NET_ADMIN"
        do_without(NAME, f"{why} and CAP_SYS_ADMIN, as of root")
    try:
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", space)
        _ip("addr", "add", f"{NEAR}/{WIDTH}", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", space, "addr", "add", f"{FAR}/{WIDTH}", "dev", far)
        _ip("-n", space, "link", "set", far, "up")
        _ip("-n", space, "link", "set", "lo", "up")
        yield space, near
    finally:
        _ip("netns", "del", space)  # with both ends of the cable


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
