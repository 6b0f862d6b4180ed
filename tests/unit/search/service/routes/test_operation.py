from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lstm_sweep.search.store.faults import StoreError
from tests.service_app import API, Place


@pytest.fixture
def place(workplace: Callable[[str], Path]) -> Place:
    return Place.in_folder(workplace("operation"))


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    with place.client() as client:
        yield client


def test_it_says_whether_it_takes_sweeps(place: Place, client: TestClient) -> None:
    assert client.get(f"{API}/ready").json() == {"status": "ready", "takes_code": False}
    place.service.not_ready = "the service ends"
    answer = client.get(f"{API}/ready")
    assert (answer.status_code, answer.json()["detail"]) == (503, "the service ends")
    assert client.get(f"{API}/health").json()["status"] == "ok"


def test_a_login_is_handed_on_only_where_that_was_asked_for(
    workplace: Callable[[str], Path],
) -> None:
    basic = {"Authorization": "Basic YW5uOnNlY3JldA=="}
    for hands_on in (False, True):
        place = Place.in_folder(workplace("handing-on"), asks_login=True, hands_on_logins=hands_on)
        with place.client() as client:
            answer = client.get(f"{API}/session/mlflow", headers=basic)
            given = answer.headers.get("Authorization")
            wanted = (204, basic["Authorization"]) if hands_on else (404, None)
            assert (answer.status_code, given) == wanted
            assert "Authorization" not in client.get(f"{API}/session/mlflow").headers


def test_a_store_that_fails_is_said_and_may_be_asked_again(
    place: Place, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
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
