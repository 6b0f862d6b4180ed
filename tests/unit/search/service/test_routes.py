"""What endpoints answer beside what the commands show, which are compared with them elsewhere."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lstm_sweep.models.errors import InputError, NoRoomError
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.references import (
    DifferentSearchError,
    QueueFullError,
    ServiceEndsError,
    SweepExistsError,
    SweepRunsError,
)
from lstm_sweep.search.service.answers import (
    Answers,
    ProblemError,
    refusal,
    to_json,
)
from lstm_sweep.search.service.logs import Metrics
from lstm_sweep.search.service.queue import QueuedSweep
from lstm_sweep.search.store.cache import Cache
from lstm_sweep.search.store.faults import BadRunError, NoSuchRunError, StoreError
from tests.service_app import API, SPACE, Place, send_corpus, use_scripted_engines


@pytest.fixture
def place(workplace: Callable[[str], Path], data: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    use_scripted_engines(monkeypatch)
    return Place.in_folder(workplace("sweeps"), data_roots=(data.parent,))


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    with place.client() as client:
        yield client


@pytest.fixture(scope="module")
def swept(workplace: Callable[[str], Path], data: Path) -> Iterator[Place]:
    """A service with the sweep `s` of three trials, which no test changes."""
    with pytest.MonkeyPatch.context() as patch:
        use_scripted_engines(patch)
        place = Place.in_folder(workplace("swept"), data_roots=(data.parent,))
        place.launch(data)
        yield place


@pytest.fixture
def on_s(swept: Place) -> Iterator[TestClient]:
    with swept.client() as client:
        yield client


def body(**more: Any) -> dict[str, Any]:
    return {"data": "server:words.txt", "space": SPACE, "size_rule": "off", "trials": 1} | more


def test_a_sweep_is_submitted_and_found(place: Place, client: TestClient) -> None:
    made = client.post(f"{API}/sweeps", json=body(priority=7))
    assert (made.status_code, made.headers["location"]) == (201, f"{API}/sweeps/words-1")
    name = made.json()["sweep"]
    assert client.get(made.headers["location"]).json() == made.json()
    expected = Local(place.service.settings.store).status(name).to_dict()
    assert {**expected, "owner": made.json()["owner"]} == made.json()
    [row] = Local(place.service.settings.store).sweeps().to_list()
    assert client.get(f"{API}/sweeps").json() == {
        "sweeps": [row | {"data": "server:words.txt"}],  # no path of the machine
        "left_out": [],
        "next_page": None,
    }
    assert client.get(f"{API}/queue").json()["queue"][0]["priority"] == 7
    key = {"Idempotency-Key": "a-token"}
    names = [client.post(f"{API}/sweeps", json=body(), headers=key).json()["sweep"] for _ in "ab"]
    assert names == ["words-2", "words-2"]


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
    assert client.post(f"{API}/dry-runs", json=body(**fields)).status_code == 422
    assert client.get(f"{API}/sweeps").json()["sweeps"] == []


def test_a_sweep_is_paused_resumed_stopped_and_reprioritised(
    swept: Place, on_s: TestClient
) -> None:
    for what in ("pause", "resume"):
        assert on_s.post(f"{API}/sweeps/s/{what}").json()["sweep"] == "s"
    assert swept.service.calls == [("pause", "s"), ("resume", "s")]
    for field in ("seed", "request"):
        assert on_s.post(f"{API}/sweeps/s/resume", json={field: 1}).status_code == 422
    stopped = on_s.post(f"{API}/sweeps/s/stop").json()
    assert (stopped["state"], stopped["had_ended"]) == ("finished", True)
    assert stopped["advice"].startswith("lstm-sweep ") or "`lstm-sweep" in stopped["advice"]
    assert on_s.patch(f"{API}/sweeps/s", json={"priority": -3}).json()["priority"] == -3
    for wrong in ({}, {"priority": "high"}, {"priority": 1, "more": 2}):
        assert on_s.patch(f"{API}/sweeps/s", json=wrong).status_code == 422


@pytest.mark.parametrize("name", ["none", "%2e%2e", "a%00", "%ff", "x" * 200, "a%2Fb"])
def test_an_unknown_sweep_is_no_error_of_the_server(client: TestClient, name: str) -> None:
    for method, path in [("GET", ""), ("POST", "/pause"), ("POST", "/stop"), ("GET", "/trials"),
                         ("GET", "/events"), ("GET", "/export"), ("GET", "/trials/0")]:  # fmt: skip
        answer = client.request(method, f"{API}/sweeps/{name}{path}")
        assert answer.status_code in (404, 405, 422), path
        assert answer.headers["content-type"] == "application/problem+json"


def test_trials_come_in_pages_and_are_found_by_their_runs(swept: Place, on_s: TestClient) -> None:
    expected = Local(swept.service.settings.store).trials("s").to_list()
    pages, page = list[str](), ""
    while page is not None:
        found = on_s.get(f"{API}/sweeps/s/trials?limit=2&page={page}").json()
        pages += [one["trial"] for one in found["trials"]]
        page = found["next_page"]
    assert pages == [one["trial"] for one in expected] and len(pages) == 3
    shown = on_s.get(f"{API}/sweeps/s/trials/2").json()
    for reference in (shown["run_id"], shown["run_id"][:8]):
        assert on_s.get(f"{API}/runs/{reference}").json() == shown


def test_what_is_not_there_is_refused(on_s: TestClient) -> None:
    for path, status in (
        ("sweeps/s/trials/9", 404), ("sweeps/s/trials/x", 422), ("sweeps/s/trials/-1", 422),
        ("sweeps/s/trials?limit=0", 422), ("sweeps/s/trials?limit=1001", 422),
        ("sweeps/s/trials?page=x", 422),
        ("sweeps?page=x", 422), ("queue?page=-1", 422), ("runs/ffffff", 404),
        ("runs/a", 404), ("runs/a%2Fb", 404), ("runs/a'b", 422), ("reruns/none", 404),
        (f"sweeps/s/trials/{10**30}", 422),
    ):  # fmt: skip
        answer = on_s.get(f"{API}/{path}")
        assert (answer.status_code, answer.json()["status"]) == (status, status), path


def test_a_rerun_waits_until_it_is_trained(swept: Place) -> None:
    client = swept.client()  # not entered, so nothing is trained
    made = client.post(f"{API}/sweeps/s/trials/1/reruns", json={"changes": {"dropout": 0.25}})
    assert made.status_code == 202
    assert client.get(made.headers["location"]).json() == made.json()
    assert (made.json()["trial"], made.json()["state"]) == ("s/1", "queued")
    changes: list[Any] = [{"none": 1}, [], {"dropout": [1]}, {"dropout": "\n"}]
    settings: list[Any] = ["layers=2", ["layers"], ["none=1"], ["layers=2,3"], [2], None]
    bodies = [{"x": 1}, *({"changes": one} for one in changes), *({"set": s} for s in settings)]
    for wrong in bodies:
        assert client.post(f"{API}/sweeps/s/trials/1/reruns", json=wrong).status_code == 422
    assert client.post(f"{API}/sweeps/s/trials/9/reruns").status_code == 404


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
        monkeypatch.setattr(Local, name, take_long)

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


def test_it_says_without_a_login_whether_it_takes_sweeps_and_names_nothing(
    workplace: Callable[[str], Path],
) -> None:
    place = Place.in_folder(workplace("ready"), asks_login=True)
    place.service.owners["a-name"] = "ann"  # one in the queue
    with place.client() as client:
        answer = client.get(f"{API}/ready")
        assert answer.json() == {
            "status": "ready", "takes_code": False, "running": 1, "queued": 0, "slots_held": 1,
        }  # fmt: skip
        place.service.not_ready = "store postgresql://db/runs does not answer"
        answer = client.get(f"{API}/ready")
        assert (answer.status_code, "postgresql" in answer.text) == (503, False)
        assert client.get(f"{API}/health").json()["status"] == "ok"


def test_methods_that_clients_make_up_are_counted_as_one() -> None:
    metrics = Metrics()
    for method in ("GET", "PATCH", *(f"MADE{n}" for n in range(50))):
        metrics.note(method, "/", 404, 0.1)
    found = dict(re.findall(r'requests_total{method="(\w+)".*} (\d+)', metrics.text({}).decode()))
    assert found == {"GET": "1", "PATCH": "1", "other": "50"}


def test_an_operator_sees_deaths_failures_the_store_and_how_long_the_oldest_waits(
    place: Place, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    queue = [
        QueuedSweep(
            sweep=name, run_id=name, owner="ann", priority=0, slots=slots,
            submitted=now - timedelta(hours=hours), wanted=1, driver=None, why="",
        )
        for name, hours, slots in (("a", 9, 1), ("b", 2, 0), ("c", 1, 0))
    ]  # fmt: skip
    monkeypatch.setattr(place.service, "queue", lambda: queue)
    place.service.figures = {"driver_deaths": 3, "failed_looks": 2, "store_seconds": 0.25}
    client.get(f"{API}/sweeps/none")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = dict(re.findall(r"^(\S+) (\S+)$", answer.text, re.MULTILINE))
    assert f'route="{API}/sweeps/{{sweep}}",status="404"}} 1.0' in answer.text
    figures = {name.removeprefix("lstm_sweep_"): float(value) for name, value in found.items()}
    assert 7200 <= figures["oldest_wait_seconds"] < 7300
    assert figures["process_open_fds"] > 2
    expected = {
        "driver_deaths": 3, "failed_looks": 2, "store_seconds": 0.25, "ready": 1,
        'sweeps{state="running"}': 1, 'sweeps{state="queued"}': 2,
        'slots{what="held"}': 1, 'slots{what="wanted"}': 3,
    }  # fmt: skip
    assert expected.items() <= figures.items()


class Asked:
    """Counts how often it is asked, and answers once it may."""

    def __init__(self) -> None:
        self.times = 0
        self.may = threading.Event()
        self.may.set()

    def __call__(self) -> int:
        self.times += 1
        own = self.times
        assert self.may.wait(30)
        return own


async def until(asked: Asked, times: int) -> None:
    while asked.times < times:
        await asyncio.sleep(0.01)


def test_after_a_change_the_next_answer_is_new_although_another_is_under_way() -> None:
    asked = Asked()

    async def run() -> None:
        answers = Answers(Cache(), 60.0)
        asked.may.clear()
        before = asyncio.create_task(answers.get(("key",), asked))
        await until(asked, 1)
        await answers.change(lambda: None)
        after = asyncio.create_task(answers.get(("key",), asked))
        await until(asked, 2)
        asked.may.set()
        assert (await before, await after) == (1, 2)
        assert (await answers.get(("key",), asked)) == 2

    asyncio.run(run())


def test_any_document_is_valid_json() -> None:
    assert to_json({"a": float("nan"), "b": "\ud800"}) == b'{"a": null, "b": "?"}'


@pytest.mark.parametrize(
    "error, status, name",
    [
        (InputError("no"), 422, "input"),
        (NoSuchRunError("no"), 404, "not-found"),
        (SweepExistsError("no"), 409, "sweep-exists"),
        (SweepRunsError("no"), 409, "sweep-runs"),
        (DifferentSearchError("no"), 409, "different-search"),
        (BadRunError("no"), 409, "unreadable-run"),
        (QueueFullError("no"), 429, "queue-full"),
        (ServiceEndsError("no"), 503, "ending"),
        (StoreError("no"), 503, "store"),
        (NoRoomError("no"), 507, "disk"),
        (ProblemError(507, "no"), 507, "disk"),
    ],
)
def test_each_error_has_a_status(error: Exception, status: int, name: str) -> None:
    answer = refusal(error).response()
    found = json.loads(bytes(answer.body))
    assert (answer.status_code, answer.media_type) == (status, "application/problem+json")
    assert found["type"] == f"urn:lstm-sweep:problem:{name}"
    assert (found["status"], found["detail"]) == (status, "no")
    assert ("retry-after" in answer.headers) is (status in (429, 503))


def test_the_sentence_is_that_of_the_command_line_without_secrets() -> None:
    error = InputError("--size-rule is 'x', see https://me:hunter2@host/\x1b[31m")
    found = json.loads(bytes(refusal(error).response().body))
    assert found["detail"] == "--size-rule is 'x', see https://me:***@host/\\x1b[31m"
