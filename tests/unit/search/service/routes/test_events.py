from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lstm_sweep.search.service.routes import events
from tests.service_app import API, Place, use_scripted_engines


@pytest.fixture(scope="module")
def place(workplace: Callable[[str], Path], data: Path) -> Place:
    """A service with a sweep `s` of three trials, which has ended."""
    with pytest.MonkeyPatch.context() as patch:
        use_scripted_engines(patch)
        place = Place.in_folder(workplace("events"))
        place.launch(data)
        return place


def listen(client: TestClient, last_id: str) -> tuple[int, list[str], list[str]]:
    """Status of the answer, and names and IDs of all events."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    answer = client.get(f"{API}/sweeps/s/events?from=beginning", headers=headers)
    fields = [line.partition(": ") for line in answer.text.splitlines()]
    names, ids = ([value for name, _, value in fields if name == of] for of in ("event", "id"))
    return answer.status_code, names, ids


def test_whoever_was_not_told_of_the_end_is_told_of_it(place: Place) -> None:
    with place.client() as client:
        status, names, ids = listen(client, "")
        assert (status, names) == (200, [*(["round", "round", "trial"] * 3), "status", "end"])
        for at in range(len(ids) - 1):  # the connection breaks after this event
            rest = [name for name in names[at + 1 :] if name != "status"]
            status, told, _ = listen(client, ids[at])
            assert (status, told) == (200, [*rest[:-1], "status", "end"])
        assert listen(client, ids[-1]) == (204, [], [])


def test_a_stream_that_does_not_begin_has_no_listener(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place.client() as client:
        with monkeypatch.context() as patch:
            patch.setattr(events, "events_after", lambda cursor, view: 1 / 0)
            assert client.get(f"{API}/sweeps/s/events").status_code == 500
        assert client.app.state.site.feeds.listeners == 0  # type: ignore[attr-defined]
