from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lstm_sweep.search.service.auth import TokenFile
from lstm_sweep.search.store.faults import StoreError
from tests.service_app import API, Place


@pytest.fixture
def place(workplace: Callable[[str], Path]) -> Place:
    return Place.in_folder(workplace("operation"))


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    with place.client() as client:
        yield client


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


def test_whoever_asks_is_told_who_that_is(workplace: Callable[[str], Path]) -> None:
    place = Place.in_folder(workplace("who"), asks_login=True)
    token = TokenFile(place.settings.folder).add("ann", "run")
    with place.client() as client:
        assert client.get(f"{API}/user").status_code == 401
        client.post(f"{API}/session", json={"token": token})
        assert client.get(f"{API}/user").json() == {"name": "ann", "role": "run"}


def test_a_store_that_fails_is_said_and_may_be_asked_again(
    place: Place, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(limit: int, page: str) -> None:
        raise StoreError("store x does not answer")

    monkeypatch.setattr(place.service, "sweeps", fails)
    answer = client.get(f"{API}/sweeps")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["detail"] == "store x does not answer"


def test_figures_are_in_the_format_of_prometheus(client: TestClient) -> None:
    client.get(f"{API}/sweeps/none")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert 'lstm_sweep_sweeps{state="running"} 0.0' in lines and "lstm_sweep_ready 1.0" in lines
    route = f'route="{API}/sweeps/{{sweep}}",status="404"'
    assert f'lstm_sweep_requests_total{{method="GET",{route}}} 1.0' in lines
