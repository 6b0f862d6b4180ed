"""The MLflow server: as a store for a sweep, and as the pages that `ui` serves."""

from __future__ import annotations

import http.server
import json
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from models.errors import InputError
from search import browse
from search.settings import load
from tests.conftest import TINY, run_program, start_program, write_text
from tests.servers import free_port


def test_a_sweep_through_a_server_gives_the_same_losses_as_on_sqlite(
    workplace: Callable[[str], Path],
) -> None:
    behind, local = workplace("behind"), workplace("local")
    for folder in (behind, local):
        write_text(folder / "words.txt")
    launch = ("launch", "--data", "words.txt", "--name", "s", "--json", *TINY, "--trials", "2")
    server = start_program("ui", "--json", "--port", str(free_port()), cwd=behind)
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


class Stranger(http.server.BaseHTTPRequestHandler):
    """Answers every request, as a second `ui` would."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


@pytest.fixture
def stolen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The first port that `ui` chooses, which somebody takes just before its server can."""
    start, ports = subprocess.Popen, []
    thieves: list[http.server.ThreadingHTTPServer] = []

    def steal_and_start(command: list[str], **more: Any) -> Any:
        if not thieves:
            ports.append(int(command[command.index("--port") + 1]))
            thieves.append(http.server.ThreadingHTTPServer(("127.0.0.1", ports[0]), Stranger))
            threading.Thread(target=thieves[0].serve_forever).start()
        return start(command, **more)

    monkeypatch.setattr(subprocess, "Popen", steal_and_start)
    yield ports
    for thief in thieves:
        thief.shutdown()
        thief.server_close()


def test_a_port_that_is_taken_in_between_is_left_to_who_took_it(
    workplace: Callable[[str], Path], stolen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, announced = load(workplace("stolen"), {}), []

    def announce(store: object, address: str, as_json: bool) -> None:
        with urllib.request.urlopen(f"{address}/version", timeout=60) as answer:
            announced.append((int(address.rpartition(":")[2]), answer.read()))
        raise KeyboardInterrupt

    monkeypatch.setattr(browse, "_announce", announce)
    assert browse.serve(settings, "127.0.0.1", None) == 0
    [(port, version)] = announced
    assert port > stolen[0]
    assert version.decode() == metadata.version("mlflow")


def test_a_port_that_was_named_and_is_taken_in_between_is_one_clear_line(
    workplace: Callable[[str], Path], stolen: list[int]
) -> None:
    settings, port = load(workplace("named"), {}), free_port()
    with pytest.raises(InputError, match=f"--port {port}: it is taken, expected a free one"):
        browse.serve(settings, "127.0.0.1", port)
    assert stolen == [port]
