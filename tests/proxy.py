"""The proxy of `docker/compose.yaml`: a real Caddy with the very file that its service has."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.postgres import do_without
from tests.servers import free_port

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
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://{listen}/api/v1/health", timeout=5).close()
                break
            except urllib.error.HTTPError as error:  # it asks for a login itself
                error.close()
                assert error.code == 401
                break
            except OSError:
                assert process.poll() is None, (folder / "proxy.log").read_text()
                assert time.monotonic() < until
                time.sleep(0.1)
        yield f"http://{listen}"
    finally:
        process.terminate()
        process.wait(20)
