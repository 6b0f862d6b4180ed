"""`ui`: the MLflow UI on this store."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from models.errors import InputError
from search import journal
from search.tracking import Store

FIRST_PORT = 5000
#: seconds that the server gets to answer for the first time
START_WITHIN_S = 180


def serve(store: Store, port: int | None, *, as_json: bool = False) -> int:
    """Start the MLflow server on 127.0.0.1 and wait until it ends or is interrupted.

    For a store that is a tracking server already, only its address is printed.

    Raises:
        InputError: the port is taken, or the server does not come up.
    """
    settings = store.settings
    if settings.is_server:
        _announce(store, settings.tracking_uri.rstrip("/"), as_json)
        return 0
    port = _free_port(port)
    command = [
        *(sys.executable, "-P", "-m", "mlflow", "server"),
        *("--backend-store-uri", settings.tracking_uri),
        *("--default-artifact-root", settings.artifacts or "mlartifacts"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    print("starting the MLflow server ...", file=sys.stderr, flush=True)
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(server, address)
        _announce(store, address, as_json)
        server.wait()
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


def _free_port(port: int | None) -> int:
    wanted = range(FIRST_PORT, FIRST_PORT + 50) if port is None else [port]
    for candidate in wanted:
        if not 0 < candidate < 65536:
            raise InputError(f"--port is {candidate}: expected 1 to 65535")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return candidate
    raise InputError(f"--port {wanted[0]}: it is taken, expected a free one")


def _wait_for(server: subprocess.Popen[bytes], address: str) -> None:
    until = time.monotonic() + START_WITHIN_S
    while time.monotonic() < until:
        if server.poll() is not None:
            raise InputError(f"the MLflow server ended with code {server.returncode} at its start")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise InputError(f"the MLflow server does not answer at {address}")


def _announce(store: Store, address: str, as_json: bool) -> None:
    sweeps = journal.sweeps(store)
    experiment = f"{address}{store.page()}"
    newest = f"{address}{store.page(sweeps[-1].info.run_id)}" if sweeps else None
    if as_json:
        print(json.dumps({"address": address, "runs": experiment, "sweep": newest}), flush=True)
        return
    print(f"all runs: {experiment}")
    if newest:
        print(f"newest sweep, {sweeps[-1].data.tags['sweep.name']}: {newest}")
    print("Ctrl-C ends it", flush=True)
