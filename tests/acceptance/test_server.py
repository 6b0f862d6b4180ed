"""The MLflow server that `ui` starts: the pages that it serves, and the port that it takes."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.store.server import Pages, serve
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.sweep.corpus_task import CorpusTask
from lstm_sweep.search.sweep.observer import Silent
from lstm_sweep.search.sweep.sweep import Sweep
from tests.conftest import TINY, Done, run_here, write_text
from tests.fakes import ScriptedEngine
from tests.servers import free_port, served
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec


@pytest.mark.full
def test_it_shows_files_that_it_keeps_and_files_of_who_writes_to_the_database(
    workplace: Callable[[str], Path], corpus: Corpus, tmp_path: Path
) -> None:
    folder, spec = workplace("behind"), tiny_spec(trials=2, **PLAIN)
    direct = Store(replace(load(folder, {}), experiment="direct"))
    runs = [sweep_of(direct, corpus, ScriptedEngine(LOSSES), spec).run().run_id]
    with served(folder) as address:
        for experiment in ("through", "direct"):
            own = direct.settings.artifacts if experiment == "direct" else None
            store = Store(Settings(address, own, experiment, "test"))
            sweep = Sweep(
                spec, name="t", task=CorpusTask.of(spec, corpus), store=store,
                engine=ScriptedEngine(LOSSES), observer=Silent(),
            )  # fmt: skip
            runs.append(sweep.run().run_id)
            assert store.fetch(runs[-1], "sweep.yaml", tmp_path).exists()
        kept = [direct.client.get_run(run_id).info.artifact_uri for run_id in runs]
        for run_id in runs:
            page = f"{address}/get-artifact?path=sweep.yaml&run_uuid={run_id}"
            with urllib.request.urlopen(page, timeout=20) as answer:
                assert b"trials: 2" in answer.read()
        with urllib.request.urlopen(f"{address}/", timeout=20) as page:
            assert b"MLflow" in page.read()
        pages = run_here("ui", cwd=tmp_path, MLFLOW_TRACKING_URI=address).out
        assert f"all runs: {address}/" in pages
        refused = launch_elsewhere(tmp_path, "direct", address)
    assert [uri.partition(":")[0] for uri in kept] == ["file", "mlflow-artifacts", "file"]
    [line] = refused.err.splitlines()
    assert (refused.code, refused.out) == (2, "")
    assert f"its files are at 'file://{folder}/mlartifacts', a place that your settings" in line
    assert "use another `experiment`, or set `artifacts`" in line


def launch_elsewhere(folder: Path, experiment: str, address: str) -> Done:
    """Try to begin a sweep from a folder with settings of its own."""
    (folder / "mlflow.yaml").write_text(f"experiment: {experiment}\n", encoding="utf-8")
    write_text(folder / "words.txt")
    typed = ("launch", "--data", "words.txt", "--on", "inline", *TINY)
    return run_here(*typed, cwd=folder, MLFLOW_TRACKING_URI=address)


class Stranger(http.server.BaseHTTPRequestHandler):
    """Answers every request, as a second `ui` would."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


@pytest.fixture
def stolen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The first port that `ui` chooses, which somebody takes just before its server can.

    In place of that server a process ends as it would; a real one does in `test_server_auth.py`.
    """
    start, ports = subprocess.Popen, []
    thieves: list[http.server.ThreadingHTTPServer] = []

    def steal_and_start(command: list[str], **more: Any) -> Any:
        if not thieves:
            ports.append(int(command[command.index("--port") + 1]))
            thieves.append(http.server.ThreadingHTTPServer(("127.0.0.1", ports[0]), Stranger))
            threading.Thread(target=thieves[0].serve_forever).start()
            command = [sys.executable, "-c", ""]
        return start(command, **more)

    monkeypatch.setattr(subprocess, "Popen", steal_and_start)
    yield ports
    for thief in thieves:
        thief.shutdown()
        thief.server_close()


@pytest.mark.full
def test_a_port_that_is_taken_in_between_is_left_to_who_took_it(
    workplace: Callable[[str], Path], stolen: list[int]
) -> None:
    settings, announced, said = load(workplace("stolen"), {}), [], list[str]()

    def announce(pages: Pages) -> None:
        with urllib.request.urlopen(f"{pages.address}/version", timeout=60) as answer:
            announced.append((int(pages.address.rpartition(":")[2]), answer.read()))
        raise KeyboardInterrupt

    serve(settings, "127.0.0.1", None, announce=announce, say=said.append)
    assert said == ["starting the MLflow server ..."]
    [(port, version)] = announced
    assert port > stolen[0]
    assert version.decode() == metadata.version("mlflow")


def test_a_port_that_was_named_and_is_taken_in_between_is_one_clear_line(
    workplace: Callable[[str], Path], stolen: list[int]
) -> None:
    settings, port = load(workplace("named"), {}), free_port()
    with pytest.raises(InputError, match=f"--port {port}: it is taken, expected a free one"):
        serve(settings, "127.0.0.1", port, announce=print, say=print)
    assert stolen == [port]
