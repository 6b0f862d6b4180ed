"""The proxy of `docker/compose.yaml`: a real Caddy with the very file that its service has."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.postgres import do_without
from tests.servers import free_port, wait_for_answer

CADDYFILE = Path(__file__).parents[1] / "docker" / "Caddyfile"


@contextlib.contextmanager
def running(folder: Path, file: Path = CADDYFILE, **given: str) -> Iterator[str]:
    """The proxy with a settings file and what that takes from the environment; its address."""
    program = shutil.which("caddy")
    if program is None:
        do_without("caddy", "Caddy is not installed, expected Debian's package `caddy`")
    listen = f"127.0.0.1:{free_port()}"
    given["LISTEN"] = f"http://{listen}"
    with (folder / "proxy.log").open("w") as log:
        process = subprocess.Popen(
            [program, "run", "--config", file, "--adapter", "caddyfile"],
            env=os.environ | given | {"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)},
            stdout=log,
            stderr=log,
        )
    try:
        wait_for_answer(f"http://{listen}/api/v1/health", process, folder / "proxy.log")
        yield f"http://{listen}"
    finally:
        process.terminate()
        process.wait(20)
