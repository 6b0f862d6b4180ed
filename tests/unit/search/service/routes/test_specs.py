from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from starlette.testclient import TestClient

from lstm_sweep.models.errors import InputError
from lstm_sweep.search import api
from lstm_sweep.search.service.answers import Answers
from lstm_sweep.search.service.routes import specs
from lstm_sweep.search.service.routes.specs import in_json
from tests.service_app import API, Place, send_corpus


@pytest.fixture
def client(workplace: Callable[[str], Path], data: Path) -> Iterator[TestClient]:
    with Place.in_folder(workplace("specs"), data_roots=(data.parent,)).client() as client:
        yield client


def test_sizes_are_those_of_the_command_line(client: TestClient) -> None:
    body = {"data": "server:words.txt", "space": "quick"}
    found = client.post(f"{API}/sizes", json=body).json()
    assert found["training_symbols"] == 4_800 and found["networks"]
    text = client.post(f"{API}/sizes", json=body, headers={"Accept": "text/plain"}).text
    assert text.startswith("corpus: ") and "4,800 training symbols" in text
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

    def ask(path: str, accept: str) -> int:
        body, headers = {"data": "server:words.txt"}, {"Accept": accept}
        return client.post(f"{API}/{path}", json=body, headers=headers).status_code

    kinds = [("sizes", "application/json"), ("sizes", "text/plain"), ("dry-runs", "*/*")] * 3
    with ThreadPoolExecutor(len(kinds)) as pool:
        asked = [pool.submit(ask, *kind) for kind in kinds]
        while begun.acquire(timeout=1):  # as many as are let in
            pass
        try:
            assert client.get(f"{API}/sweeps").status_code == 200
            assert ended == []
        finally:
            may.set()
        assert [one.result() for one in asked] == [422] * len(kinds)


def test_a_yaml_file_is_read_as_commands_do(client: TestClient) -> None:
    text = "trials: 3\nspace: {layers: [2, 3]}\nname: 2020-01-02\nminutes: .inf\n1: null\n"
    answer = client.post(f"{API}/yaml", json={"name": "sweep.yaml", "text": text})
    assert answer.json()["content"] == {
        "trials": 3, "space": {"layers": [2, 3]}, "name": "2020-01-02", "minutes": "inf", "1": None,
    }  # fmt: skip
    for text in ("a: [", "a: 1\na: 2", "a: &x 1\nb: *x", "!!python/object:os.system {}", "\x00"):
        answer = client.post(f"{API}/yaml", json={"name": "sweep.yaml", "text": text})
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("sweep.yaml:")
    for wrong in (
        {},
        {"name": "x"},
        {"name": "", "text": ""},
        {"name": "x", "text": "a" * 200_000},
    ):
        assert client.post(f"{API}/yaml", json=wrong).status_code == 422


def test_files_of_one_user_are_read_in_threads_of_that_user_alone(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ask = list[str](), Answers.ask

    async def noted(self: Answers, request: Request, call: Callable[[], Any]) -> Any:
        asked.append(request.url.path)
        return await ask(self, request, call)

    def in_a_thread(value: object) -> Any:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()  # on which all others wait
        return in_json(value)

    monkeypatch.setattr(Answers, "ask", noted)
    monkeypatch.setattr(specs, "in_json", in_a_thread)
    sent = client.post(f"{API}/yaml", json={"name": "sweep.yaml", "text": "trials: 3"})
    assert sent.json() == {"content": {"trials": 3}}
    assert client.get(f"{API}/corpora").status_code == 200
    assert asked == [f"{API}/yaml", f"{API}/corpora"]


def test_what_json_does_not_have_is_a_text() -> None:
    assert in_json({"big": 1 << 100_000, "list": [float("nan"), True]}) == {
        "big": "int too large to show", "list": ["nan", True],
    }  # fmt: skip
    json.dumps(in_json({(1, 2): b"x"}))
