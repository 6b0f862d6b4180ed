from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lstm_sweep.models.errors import InputError
from lstm_sweep.search import api
from tests.service_app import API, Place, send_corpus


@pytest.fixture
def client(workplace: Callable[[str], Path], data: Path) -> Iterator[TestClient]:
    with Place.in_folder(workplace("specs"), data_roots=(data.parent,)).client() as client:
        yield client


def test_sizes_are_those_of_the_command_line(client: TestClient) -> None:
    body = {"data": "server:words.txt", "space": "quick"}
    found = client.post(f"{API}/sizes", json=body).json()
    assert found["training_symbols"] == 4_800 and found["networks"]
    for wrong in ({}, {"data": "/etc/passwd"}, {"data": "server:words.txt", "trials": 4}):
        assert client.post(f"{API}/sizes", json=wrong).status_code == 422


def test_a_dry_run_names_data_as_the_request_does(client: TestClient) -> None:
    data = send_corpus(client, b"sun moon river " * 400)
    body = {"data": data, "trials": 20, "set": ["layer_size=8,12"], "size_rule": "warn"}
    found = client.post(f"{API}/dry-runs", json=body).json()
    assert (found["spec"]["data"], found["budget"]["trials"]) == (data, 20)
    assert "uploads" not in str(found["notes"]) and found["typical"]["config"]["layer_size"] in (
        8,
        12,
    )
    assert client.get(f"{API}/sweeps").json()["sweeps"] == []
    wrong: list[dict[str, Any]] = [
        {"trials": 0}, {"trails": 3}, {"priority": 999}, {"data": "/etc/passwd"},
        {"space": {"x": 1}},
    ]  # fmt: skip
    for more in wrong:
        assert client.post(f"{API}/dry-runs", json=body | more).status_code == 422
    assert client.post(f"{API}/dry-runs", json={"template": data}).status_code == 403


def test_who_looks_at_large_data_holds_nobody_up(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may, ended = threading.Semaphore(0), threading.Event(), list[str]()

    def take_long(*given: Any, **more: Any) -> None:
        begun.release()
        may.wait(20)
        ended.append("too late")
        raise InputError("no")

    for name in ("size", "dry_run"):
        monkeypatch.setattr(api, name, take_long)

    def ask(path: str) -> int:
        return client.post(f"{API}/{path}", json={"data": "server:words.txt"}).status_code

    kinds = ["sizes", "dry-runs"] * 4
    with ThreadPoolExecutor(len(kinds)) as pool:
        asked = [pool.submit(ask, kind) for kind in kinds]
        while begun.acquire(timeout=1):  # as many as are let in
            pass
        try:
            assert client.get(f"{API}/sweeps").status_code == 200
            assert ended == []
        finally:
            may.set()
        assert [one.result() for one in asked] == [422] * len(kinds)
