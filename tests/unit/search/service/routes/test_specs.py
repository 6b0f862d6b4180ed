from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

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
