"""A real Ray head with its dashboard on this machine, as `ray start` makes it, for tests."""

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

from tests.servers import free_port, wait_for_answer

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
