from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lstm_sweep.search.service.routes.specs import in_json
from tests.service_app import API, Place


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
    content = b"sun moon river " * 400
    digest = hashlib.sha256(content).hexdigest()
    headers = {"Upload-Offset": "0", "Upload-Length": str(len(content))}
    kind = {"Content-Type": "application/octet-stream"}
    client.patch(f"{API}/uploads/{digest}", content=content, headers=headers | kind)
    files = [{"path": "a.txt", "sha256": digest}]
    data = client.post(f"{API}/corpora", json={"name": "a.txt", "files": files}).json()["data"]
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


def test_what_json_does_not_have_is_a_text() -> None:
    assert in_json({"big": 1 << 100_000, "list": [float("nan"), True]}) == {
        "big": "int too large to show", "list": ["nan", True],
    }  # fmt: skip
    json.dumps(in_json({(1, 2): b"x"}))
