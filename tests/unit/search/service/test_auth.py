"""Whose sweep may be changed by whom, over HTTP and in a browser."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.service.answers import ProblemError
from lstm_sweep.search.service.auth import PREFIX, Login, TokenFile
from lstm_sweep.search.service.settings import HttpSettings
from tests.service_app import API, SPACE, Place, use_scripted_engines
from tests.unit.search.service.pages.site import browser

#: what changes a sweep: method, path below it and body
CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/pause", {}),
    ("POST", "/resume", {}),
    ("POST", "/stop", {}),
    ("PATCH", "", {"priority": -1}),
    ("DELETE", "?dry_run=true", {}),
]
#: users, their roles, and which sweeps each may change
USERS = {
    "ann": ("run", {"anns"}),
    "bob": ("run", set[str]()),
    "rita": ("read", set[str]()),
    "eve": ("admin", {"anns", "nobodys"}),
}


@pytest.fixture(scope="module")
def place(workplace: Callable[[str], Path], data: Path) -> Iterator[Place]:
    """A service that asks for tokens, with a sweep of ann, and one that was made without it."""
    with pytest.MonkeyPatch.context() as patch:
        use_scripted_engines(patch)
        place = Place.in_folder(workplace("owned"), asks_login=True, data_roots=(data.parent,))
        place.launch(data, "anns", trials=1)
        place.launch(data, "nobodys", trials=1)
        place.service.owners["anns"] = "ann"
        yield place


@pytest.fixture(scope="module")
def logins(place: Place) -> dict[str, dict[str, str]]:
    """What each user sends."""
    tokens = TokenFile(place.settings.folder)
    return {
        name: {"Authorization": f"Bearer {tokens.add(name, role)}"}
        for name, (role, _) in USERS.items()
    }


def test_a_sweep_is_changed_by_its_owner_and_by_admins(
    place: Place, logins: dict[str, dict[str, str]]
) -> None:
    with place.client() as client:
        for method, path, body in CHANGES:
            for name, (_, own) in USERS.items():
                for sweep in ("anns", "nobodys"):
                    done = len(place.service.calls), dict(place.service.priorities)
                    answer = client.request(
                        method, f"{API}/sweeps/{sweep}{path}", json=body, headers=logins[name]
                    )
                    expected = 200 if sweep in own else 403
                    assert answer.status_code == expected, (method, path, name, sweep)
                    if expected == 403:
                        assert done == (len(place.service.calls), place.service.priorities)
                    if name == "bob":
                        who = "ann or an admin" if sweep == "anns" else "an admin"
                        assert (
                            f"expected {who} for this, 'bob' is neither" in answer.json()["detail"]
                        )


def test_a_form_is_refused_as_a_request_is(place: Place, logins: dict[str, dict[str, str]]) -> None:
    done = len(place.service.calls), dict(place.service.priorities)
    with browser(place, **logins["bob"]) as tab:
        for method, path, body in CHANGES[:-1]:
            answer = tab.post(f"/sweeps/anns{path or '/priority'}", data=body)
            assert (method, answer.status_code) == (method, 403)
            assert "ann or an admin" in answer.text
        assert done == (len(place.service.calls), place.service.priorities)
        assert "anns/resume" not in tab.get("/sweeps/anns").text
    for name in ("ann", "eve"):
        with browser(place, **logins[name]) as tab:
            assert "anns/resume" in tab.get("/sweeps/anns").text
            assert ("nobodys/resume" in tab.get("/sweeps/nobodys").text) is (name == "eve")


def test_a_user_prunes_what_is_the_users_own(
    place: Place, logins: dict[str, dict[str, str]]
) -> None:
    body = {"older_than_seconds": 0, "dry_run": True}
    with place.client() as client:
        for name, sweeps in (("ann", []), ("eve", ["anns", "nobodys"])):
            answer = client.post(f"{API}/prune", json=body, headers=logins[name])
            assert [one["sweep"] for one in answer.json()["sweeps"]] == sweeps
        for wrong in ({}, {"older_than_seconds": -1}, body | {"x": 1}):
            assert client.post(f"{API}/prune", json=wrong, headers=logins["eve"]).status_code == 422


def test_a_priority_before_others_is_for_admins(
    place: Place, logins: dict[str, dict[str, str]]
) -> None:
    sweep = {"data": "server:words.txt", "space": SPACE, "size_rule": "off", "trials": 1}
    with place.client() as client:
        for name, priority, is_allowed in (("ann", 1, False), ("ann", 0, True), ("eve", 9, True)):
            client.headers.update(logins[name])
            change = {"priority": priority}
            submitted = client.post(f"{API}/sweeps", json=sweep | change)
            changed = client.patch(f"{API}/sweeps/anns", json=change)
            expected = (201, 200) if is_allowed else (403, 403)
            assert (submitted.status_code, changed.status_code) == expected
    with browser(place, **logins["ann"]) as tab:
        sent = {name: (None, text) for name, text in (("data", "python-docs"), ("priority", "9"))}
        assert tab.post("/launch", files=sent).status_code == 403


@pytest.mark.parametrize("name", ["", "a b", "../a"])
def test_what_is_no_name_gets_no_token(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="expected"):
        TokenFile(tmp_path).add(name, "run")


def test_the_file_has_no_token_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    token = tokens.add("ann", "run")
    assert token not in tokens.file.read_text()
    assert stat.S_IMODE(tokens.file.stat().st_mode) == 0o600
    tokens.file.chmod(0o640)
    with pytest.raises(InputError, match="nobody but you may read"):
        TokenFile(tmp_path).rows()


@pytest.mark.parametrize("near", ["", "x", PREFIX, "a" * 100_000, "\ud800", "ÿ"])
def test_what_is_no_token_is_nobodys(tmp_path: Path, near: str) -> None:
    login = Login(HttpSettings(folder=tmp_path))
    token = login.tokens.add("ann", "run")
    for wrong in (near, token[:-1], f"{token} "):
        with pytest.raises(ProblemError, match="the token is not known"):
            login.begin_session(wrong)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"tokens": [{"name": "a"}]}', '{"tokens": 1}']
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    tokens = TokenFile(tmp_path)
    tokens.file.touch(mode=0o600)
    tokens.file.write_text(text)
    with pytest.raises(InputError, match="lstm-sweep token add"):
        tokens.rows()


def test_a_link_is_refused(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.json"
    real.touch(mode=0o600)
    real.write_text(json.dumps({"tokens": []}))
    tokens = TokenFile(tmp_path)
    tokens.file.symlink_to(real)
    with pytest.raises(InputError, match="nobody but you"):
        tokens.rows()
