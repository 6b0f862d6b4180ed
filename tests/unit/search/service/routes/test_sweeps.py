from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lstm_sweep.search import api
from tests.service_app import API, SPACE, Place, use_scripted_engines


@pytest.fixture
def place(workplace: Callable[[str], Path], data: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    use_scripted_engines(monkeypatch)
    return Place.in_folder(workplace("sweeps"), data_roots=(data.parent,))


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    with place.client() as client:
        yield client


def body(**more: Any) -> dict[str, Any]:
    return {"data": "server:words.txt", "space": SPACE, "size_rule": "off", "trials": 1} | more


def test_a_sweep_is_submitted_and_found(place: Place, client: TestClient) -> None:
    made = client.post(f"{API}/sweeps", json=body(priority=7))
    assert (made.status_code, made.headers["location"]) == (201, f"{API}/sweeps/words-1")
    name = made.json()["sweep"]
    assert client.get(made.headers["location"]).json() == made.json()
    expected = api.status(name, settings=place.service.settings.store).to_dict()
    assert {**expected, "owner": made.json()["owner"]} == made.json()
    [row] = api.sweeps(settings=place.service.settings.store).to_list()
    assert client.get(f"{API}/sweeps").json() == {
        "sweeps": [row | {"data": "server:words.txt"}],  # no path of the machine
        "left_out": [],
        "next_page": None,
    }
    assert client.get(f"{API}/queue").json()["queue"][0]["priority"] == 7


def test_a_submission_that_is_sent_again_makes_no_second_sweep(
    place: Place, client: TestClient
) -> None:
    key = {"Idempotency-Key": "a-token"}
    names = [client.post(f"{API}/sweeps", json=body(), headers=key).json()["sweep"] for _ in "ab"]
    names.append(client.post(f"{API}/sweeps", json=body()).json()["sweep"])
    assert names == ["words-1", "words-1", "words-2"]


@pytest.mark.parametrize(
    "fields, sentence",
    [
        ({"trials": 0}, "request: trials is 0: expected a whole number from 1"),
        ({"trails": 5}, "request: 'trails' is no field: did you mean 'trials'?"),
        ({"priority": 500}, "priority is 500: expected a whole number from -100 to 100"),
        ({"priority": True}, "priority is True: expected a whole number from -100 to 100"),
        ({"data": "/etc/passwd"}, "request: data is '/etc/passwd': expected the name of a sample"),
        ({"space": "/etc/passwd"}, "request: space is '/etc/passwd': expected default or quick"),
        ({"space": {"layers": "many"}}, "request: space: layers"),
        ({"name": "../x"}, "request: name is '../x': expected up to 100 letters"),
        ({"split": [1]}, "request: split is [1]: expected three shares"),
    ],
)
def test_a_bad_submission_gets_the_sentence_of_the_command_line(
    client: TestClient, fields: dict[str, Any], sentence: str
) -> None:
    answer = client.post(f"{API}/sweeps", json=body(**fields))
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(sentence)
    assert client.get(f"{API}/sweeps").json()["sweeps"] == []


def test_a_template_is_refused(client: TestClient) -> None:
    answer = client.post(f"{API}/sweeps", json={"template": "server:words.txt"})
    assert (answer.status_code, "--allow-code" in answer.json()["detail"]) == (403, True)


def test_a_name_that_is_taken_is_a_conflict(place: Place, client: TestClient, data: Path) -> None:
    place.launch(data, "s", trials=1)
    answer = client.post(f"{API}/sweeps", json=body(name="s"))
    assert (answer.status_code, answer.json()["type"]) == (
        409,
        "urn:lstm-sweep:problem:sweep-exists",
    )


def test_a_sweep_is_paused_resumed_stopped_and_reprioritised(
    place: Place, client: TestClient, data: Path
) -> None:
    place.launch(data, "s", trials=1)
    for what in ("pause", "resume"):
        assert client.post(f"{API}/sweeps/s/{what}").json()["sweep"] == "s"
    assert place.service.calls == [("pause", "s"), ("resume", "s")]
    for field in ("seed", "request"):
        assert client.post(f"{API}/sweeps/s/resume", json={field: 1}).status_code == 422
    stopped = client.post(f"{API}/sweeps/s/stop").json()
    assert (stopped["state"], stopped["had_ended"]) == ("finished", True)
    assert stopped["advice"].startswith("lstm-sweep ") or "`lstm-sweep" in stopped["advice"]
    assert client.patch(f"{API}/sweeps/s", json={"priority": -3}).json()["priority"] == -3
    for wrong in ({}, {"priority": "high"}, {"priority": 1, "more": 2}):
        assert client.patch(f"{API}/sweeps/s", json=wrong).status_code == 422


@pytest.mark.parametrize("name", ["none", "%2e%2e", "a%00", "%ff", "x" * 200, "a%2Fb"])
def test_an_unknown_sweep_is_no_error_of_the_server(client: TestClient, name: str) -> None:
    for method, path in [("GET", ""), ("POST", "/pause"), ("POST", "/stop"), ("GET", "/trials"),
                         ("GET", "/events"), ("GET", "/export"), ("GET", "/trials/0")]:  # fmt: skip
        answer = client.request(method, f"{API}/sweeps/{name}{path}")
        assert answer.status_code in (404, 405, 422), path
        assert answer.headers["content-type"] == "application/problem+json"


def test_an_unchanged_answer_is_not_sent_again(
    place: Place, client: TestClient, data: Path
) -> None:
    place.launch(data, "s", trials=1)
    first = client.get(f"{API}/sweeps/s")
    again = client.get(f"{API}/sweeps/s", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    place.service.owners["s"] = "ann"
    assert client.get(f"{API}/sweeps/s", headers={"If-None-Match": first.headers["etag"]}).json()
