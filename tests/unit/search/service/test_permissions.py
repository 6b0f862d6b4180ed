"""Whose sweep may be changed by whom, over HTTP and in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.search.service.permissions import Role, User, check_owner
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.tokens import TokenFile
from tests.service_app import API, SPACE, Place, use_scripted_engines
from tests.unit.search.service.pages.site import browser

#: what changes a sweep: method, path below it and body
CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/pause", {}),
    ("POST", "/resume", {}),
    ("POST", "/stop", {}),
    ("PATCH", "", {"priority": -1}),
]


@pytest.fixture
def place(workplace: Callable[[str], Path], data: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A service that asks for tokens, with a sweep of ann, and one that was made without it."""
    use_scripted_engines(monkeypatch)
    place = Place.in_folder(workplace("owned"), asks_login=True, data_roots=(data.parent,))
    place.launch(data, "anns", trials=1)
    place.launch(data, "nobodys", trials=1)
    place.service.owners["anns"] = "ann"
    return place


def login(place: Place, name: str, role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TokenFile(place.settings.folder).add(name, role)}"}


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("method, path, body", CHANGES)
def test_a_sweep_is_changed_by_its_owner_and_by_admins(
    place: Place, method: str, path: str, body: dict[str, Any], text: bool
) -> None:
    users = {"ann": "run", "bob": "run", "eve": "admin", "rita": "read"}
    logins = {name: login(place, name, role) for name, role in users.items()}
    more = {"Accept": "text/plain"} if text else {}

    def status(sweep: str, name: str) -> int:
        answer = client.request(
            method, f"{API}/sweeps/{sweep}{path}", json=body, headers=logins[name] | more
        )
        if name == "bob":
            who = "ann or an admin" if sweep == "anns" else "an admin"
            assert f"expected {who} for this, 'bob' is neither" in answer.json()["detail"]
        return answer.status_code

    with place.client() as client:
        before = list(place.service.calls)
        for sweep in ("anns", "nobodys"):
            assert [status(sweep, name) for name in ("bob", "rita")] == [403, 403]
        assert status("nobodys", "ann") == 403
        assert place.service.calls == before and not place.service.priorities
        assert [status("anns", name) for name in ("ann", "eve")] == [200, 200]
        assert status("nobodys", "eve") == 200


def test_a_form_is_refused_as_a_request_is(place: Place) -> None:
    with browser(place, **login(place, "bob", "run")) as tab:
        for method, path, body in CHANGES:
            path = path or "/priority"
            answer = tab.post(f"/sweeps/anns{path}", data=body)
            assert (method, answer.status_code) == (method, 403)
            assert "ann or an admin" in answer.text
        assert not place.service.calls and not place.service.priorities
        assert "anns/resume" not in tab.get("/sweeps/anns").text
    for name, role in (("ann", "run"), ("eve", "admin")):
        with browser(place, **login(place, name, role)) as tab:
            assert "anns/resume" in tab.get("/sweeps/anns").text
            assert ("nobodys/resume" in tab.get("/sweeps/nobodys").text) is (role == "admin")


def test_a_priority_before_others_is_for_admins(place: Place) -> None:
    ann, eve = login(place, "ann", "run"), login(place, "eve", "admin")
    sweep = {"data": "server:words.txt", "space": SPACE, "size_rule": "off", "trials": 1}
    with place.client() as client:
        for headers, priority, status in [(ann, 1, 403), (ann, 0, 201), (ann, -5, 201),
                                          (eve, 100, 201)]:  # fmt: skip
            answer = client.post(
                f"{API}/sweeps", json=sweep | {"priority": priority}, headers=headers
            )
            assert answer.status_code == status, answer.text
            change = {"priority": priority}
            answer = client.patch(f"{API}/sweeps/anns", json=change, headers=headers)
            assert answer.status_code == (403 if status == 403 else 200), answer.text
    with browser(place, **ann) as tab:
        sent = {name: (None, text) for name, text in (("data", "python-docs"), ("priority", "9"))}
        assert tab.post("/launch", files=sent).status_code == 403


@pytest.mark.parametrize(
    "role, name, owner, may",
    [
        (Role.RUN, "ann", "ann", True),
        (Role.RUN, "ann", "bob", False),
        (Role.RUN, "ann", None, False),
        (Role.RUN, "", "", False),  # nobody's is not that of somebody without a name
        (Role.READ, "ann", "ann", False),
        (Role.ADMIN, "ann", "bob", True),
        (Role.ADMIN, "ann", None, True),
    ],
)
def test_what_is_anothers_is_left_alone(
    role: Role, name: str, owner: str | None, may: bool
) -> None:
    if may:
        check_owner(User(name, role), owner, "corpus 'c'")
        return
    with pytest.raises(ProblemError, match="corpus 'c'") as refused:
        check_owner(User(name, role), owner, "corpus 'c'")
    assert refused.value.status == 403
