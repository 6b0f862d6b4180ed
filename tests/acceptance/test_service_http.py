"""A service over HTTP: upload, submit, listen, export, rerun, by real drivers and a real server."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from lstm_sweep.search.client.listening import Event, Told
from lstm_sweep.search.service.app import create_app
from lstm_sweep.search.service.auth import TokenFile
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import HttpSettings, ServiceSettings, service_folder
from lstm_sweep.search.store.settings import load
from tests.conftest import write_text
from tests.service_app import send_corpus

pytestmark = pytest.mark.full

API = "/api/v1"
SUBMISSION: dict[str, Any] = {
    "space": {
        "direction": "uni", "layers": 2, "layer_size": [8, 12], "sequence_length": 10, "stride": 10,
        "batch_size": 32, "learning_rate": 0.01, "dropout": {"low": 0, "high": 0.3}, "epochs": 2,
    },
    "trials": 3, "ladder": False, "halving": False, "early_stopping": 0, "size_rule": "warn",
    "targets": 500, "confirm_configs": 0,
}  # fmt: skip


@contextmanager
def served(folder: Path) -> Iterator[httpx2.Client]:
    """A client with a token of a service that listens on a port of this machine."""
    store = load(folder, {})
    service = Service(
        ServiceSettings(
            store=store, folder=folder, state=service_folder(store, folder) / "drivers", slots=2
        )
    )
    own = service_folder(store, folder)
    token = TokenFile(own).add("ann", "run")
    settings = HttpSettings(folder=own, asks_login=True, look_every_s=0.2)
    app = create_app(service, settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", log_config=None))
    thread = threading.Thread(target=server.run)
    service.start()
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        headers = {"Authorization": f"Bearer {token}"}
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=400
        ) as client:
            yield client
    finally:
        app.state.site.feeds.closing = True
        service.drain()
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


def events(client: httpx2.Client, sweep: str, last: str, most: int) -> Iterator[dict[str, Any]]:
    """Events of a sweep after an ID, until it has ended or so many have come."""
    headers = {"Last-Event-ID": last} if last else {}
    url = f"{API}/sweeps/{sweep}/events"
    with client.stream("GET", url, headers=headers) as answer:
        event: dict[str, Any] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            event[name] = value
            if not line and "event" in event:
                yield event | {"data": json.loads(event["data"])}
                event, most = {}, most - 1
                if not most:
                    return


def test_a_sweep_is_uploaded_run_listened_to_exported_and_rerun(
    workplace: Callable[[str], Path], tmp_path: Path
) -> None:
    with served(workplace("served")) as client:
        body = SUBMISSION | {
            "data": send_corpus(client, write_text(tmp_path / "words.txt").read_bytes())
        }
        key = {"Idempotency-Key": "once"}
        made = client.post(f"{API}/sweeps", json=body, headers=key)
        assert (made.status_code, made.json()["owner"]) == (201, "ann")
        name = made.json()["sweep"]
        assert client.post(f"{API}/sweeps", json=body, headers=key).json()["sweep"] == name

        heard: list[dict[str, Any]] = []
        while not heard or heard[-1]["event"] != "end":  # the connection breaks at each third event
            last = next((e["id"] for e in reversed(heard) if "id" in e), "")
            heard += events(client, name, last, most=3)
        told = Told()
        sent = [Event(e["event"], e["data"], e.get("id", "")) for e in heard]
        heard = [one._asdict() | {"event": one.name} for e in sent for one in told.news(e)]
        rounds = [(e["data"]["number"], e["data"]["round"]) for e in heard if e["event"] == "round"]
        assert sorted(rounds) == [(n, r) for n in range(3) for r in (1, 2)]
        ended = [e["data"]["number"] for e in heard if e["data"].get("state") == "ended"]
        assert sorted(ended) == [0, 1, 2]
        assert heard[-1]["data"] == {"state": "finished"}
        assert list(events(client, name, heard[-1]["id"], most=3)) == []

        assert len(client.get(f"{API}/sweeps").json()["sweeps"]) == 1
        trials = client.get(f"{API}/sweeps/{name}/trials").json()
        best = trials["trials"][0]
        assert client.get(f"{API}/sweeps/{name}/export").status_code == 404
        for _ in range(2):  # made, and then kept
            assert client.post(f"{API}/sweeps/{name}/exports", json={}).status_code == 201
            bundle = client.get(f"{API}/sweeps/{name}/export")
            result = json.loads(bundle.headers["Lstm-Sweep-Export"])
            assert (result["trial"], result["parity"]["windows"] > 0) == (best["trial"], True)
        with zipfile.ZipFile(io.BytesIO(bundle.content)) as packed:
            assert packed.testzip() is None
            assert {Path(one).name for one in packed.namelist()} >= {"model.keras", "README.md"}

        rerun = client.post(f"{API}/runs/{best['run_id']}/reruns").json()
        until = time.monotonic() + 400
        while rerun["state"] in ("queued", "running") and time.monotonic() < until:
            time.sleep(0.3)
            rerun = client.get(f"{API}/reruns/{rerun['id']}").json()
        assert (rerun["state"], rerun["result"]["verdict"]) == ("done", "identical")
        assert "lstm_sweep_ready 1.0" in client.get("/metrics").text
