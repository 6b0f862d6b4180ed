from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lstm_sweep.search import api
from tests.service_app import API, Place, use_scripted_engines


@pytest.fixture(scope="module")
def place(workplace: Callable[[str], Path], data: Path) -> Iterator[Place]:
    """A service with a sweep `s` of three trials."""
    with pytest.MonkeyPatch.context() as patch:
        use_scripted_engines(patch)
        place = Place.in_folder(workplace("trials"), data_roots=(data.parent,))
        place.launch(data)
        yield place


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    with place.client() as client:
        yield client


def test_trials_are_those_of_the_command_line(place: Place, client: TestClient) -> None:
    store = place.service.settings.store
    expected = api.trials("s", settings=store)
    found = client.get(f"{API}/sweeps/s/trials").json()
    rows = [one.document() for one in expected]
    assert found["trials"] == rows and len(found["trials"]) == 3
    assert found["baselines"] == dict(expected.baselines)
    top = client.get(f"{API}/sweeps/s/trials?limit=1").json()["trials"]
    assert top == rows[:1]
    pages, page = list[str](), ""
    while page is not None:
        found = client.get(f"{API}/sweeps/s/trials?limit=2&page={page}").json()
        pages += [one["trial"] for one in found["trials"]]
        page = found["next_page"]
    assert pages == [one["trial"] for one in expected.to_list()]
    shown = client.get(f"{API}/sweeps/s/trials/2").json()
    assert shown == api.show("s/2", settings=store).document()
    for reference in (shown["run_id"], shown["run_id"][:8]):
        assert client.get(f"{API}/runs/{reference}").json() == shown


@pytest.mark.parametrize(
    "path, status",
    [("sweeps/s/trials/9", 404), ("sweeps/s/trials/x", 422), ("sweeps/s/trials/-1", 422),
     ("sweeps/s/trials?limit=0", 422), ("sweeps/s/trials?limit=1001", 422),
     ("sweeps/s/trials?page=x", 422),
     ("sweeps?page=x", 422), ("queue?page=-1", 422), ("runs/ffffff", 404),
     ("runs/a", 404), ("runs/a%2Fb", 404), ("runs/a'b", 422), ("reruns/none", 404),
     (f"sweeps/s/trials/{10**30}", 422)],
)  # fmt: skip
def test_what_is_not_there_is_refused(client: TestClient, path: str, status: int) -> None:
    answer = client.get(f"{API}/{path}")
    assert (answer.status_code, answer.json()["status"]) == (status, status)


def test_two_trials_are_compared(place: Place, client: TestClient) -> None:
    store = place.service.settings.store
    found = client.get(f"{API}/compare?first=s/1&other=s/2").json()
    assert found == api.compare("s/1", "s/2", settings=store).document()
    for query, status in (("first=s/1", 422), ("first=s/1&other=s/9", 404), ("first=&other=", 422)):
        assert client.get(f"{API}/compare?{query}").status_code == status


def test_a_rerun_waits_until_it_is_trained(place: Place) -> None:
    client = place.client()  # not entered, so nothing is trained
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


def test_a_model_that_was_not_kept_cannot_be_exported(place: Place, client: TestClient) -> None:
    assert client.get(f"{API}/sweeps/none/export").status_code == 404
    assert client.get(f"{API}/sweeps/s/export?format=onnx").status_code == 404
    assert client.get(f"{API}/sweeps/s/export?format=x").status_code == 422
    assert client.post(f"{API}/sweeps/s/exports", json={"format": "onnx"}).status_code == 422
    assert client.post(f"{API}/sweeps/none/exports", json={}).status_code == 404
    assert client.post(f"{API}/sweeps/s/exports", json={"format": "x"}).status_code == 422
