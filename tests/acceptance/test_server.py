"""The MLflow server: as a store for a sweep, and as the pages that `ui` serves."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.conftest import PROGRAM, TINY, run_program, write_text
from tests.servers import free_port


def test_a_sweep_through_a_server_gives_the_same_losses_as_on_sqlite(
    workplace: Callable[[str], Path],
) -> None:
    behind, local = workplace("behind"), workplace("local")
    for folder in (behind, local):
        write_text(folder / "words.txt")
    launch = ("launch", "--data", "words.txt", "--name", "s", "--json", *TINY, "--trials", "2")
    server = subprocess.Popen(
        [PROGRAM, "ui", "--json", "--port", str(free_port())],
        cwd=behind,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())["address"]
        elsewhere = {"MLFLOW_TRACKING_URI": address}
        remote = run_program(*launch, cwd=local, **elsewhere)
        assert remote.code == 0, remote.err
        listed = run_program("trials", "s", "--json", cwd=local, **elsewhere).json
        pages = run_program("ui", cwd=local, **elsewhere).out
        assert address in pages
        with urllib.request.urlopen(f"{address}/", timeout=20) as page:
            assert b"MLflow" in page.read()
        exported = run_program("export", "s", "--to", "best", cwd=local, **elsewhere)
        assert exported.code == 0, exported.err
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    direct = run_program(*launch, cwd=local)
    assert direct.code == 0, direct.err
    other = run_program("trials", "s", "--json", cwd=local).json
    for row in (*listed, *other):
        del row["run_id"]
    assert listed == other
    assert len(listed) == 2
