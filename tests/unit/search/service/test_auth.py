"""Who asks, and whose sweep may be changed by whom, over HTTP and in a browser."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.service.answers import ProblemError
from lstm_sweep.search.service.auth import (
    COOKIE,
    MOST_SESSIONS,
    PREFIX,
    SESSION_S,
    Login,
    TokenFile,
    User,
    check_user_header,
    cookie_of,
    parse_proxies,
    resolve_forwarded,
)
from lstm_sweep.search.service.settings import HttpSettings, Role
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


@pytest.mark.parametrize("near", ["", "x", PREFIX, "a" * 100_000, "\ud800", "ÿ"])
def test_what_is_no_token_is_nobodys(tmp_path: Path, near: str) -> None:
    login = Login(HttpSettings(folder=tmp_path))
    token = login.tokens.add("ann", "run")
    for wrong in (near, token[:-1], f"{token} "):
        with pytest.raises(ProblemError, match="the token is not known"):
            login.begin_session(wrong)


def test_the_file_has_no_token_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    for name in ("", "a b", "../a"):
        with pytest.raises(InputError, match="expected"):
            tokens.add(name, "run")
    token = tokens.add("ann", "run")
    assert token not in tokens.file.read_text()
    assert stat.S_IMODE(tokens.file.stat().st_mode) == 0o600
    for text in ("", "{", "[]", "{}", '{"tokens": [{"name": "a"}]}', '{"tokens": 1}'):
        tokens.file.write_text(text)
        with pytest.raises(InputError, match="lstm-sweep token add"):
            tokens.rows()
    tokens.file.chmod(0o640)
    with pytest.raises(InputError, match="nobody but you may read"):
        tokens.rows()
    real = tokens.file.rename(tmp_path / "elsewhere.json")
    real.chmod(0o600)
    tokens.file.symlink_to(real)
    with pytest.raises(InputError, match="nobody but you"):
        tokens.rows()


def user_of(login: Login, *headers: tuple[str, str], by_proxy: bool = False) -> User | int:
    """Who sends a request with these headers, or the status of the refusal."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    try:
        return login.user_of(Headers(raw=raw), by_proxy=by_proxy)
    except ProblemError as error:
        return error.status


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


def cookie(session: str) -> tuple[str, str]:
    return "cookie", f"{COOKIE}={session}"


def test_a_session_is_the_tokens_until_it_is_ended_revoked_or_unused(tmp_path: Path) -> None:
    now = [0.0]
    login = Login(HttpSettings(folder=tmp_path, asks_login=True), lambda: now[0])
    tokens = TokenFile(tmp_path)
    ann, bob = tokens.add("ann", "run"), tokens.add("bob", "read")
    first, user = login.begin_session(ann)
    second, _ = login.begin_session(ann)
    other, _ = login.begin_session(bob)
    assert user == User("ann", Role.RUN) and ann not in (first, second)
    for now[0] in (0.0, SESSION_S - 1, 2 * SESSION_S - 3):
        assert user_of(login, cookie(first)) == User("ann", Role.RUN)
    assert user_of(login, cookie(second)) == user_of(login, cookie(other)) == 401  # not used
    headers = [(b"cookie", f"{COOKIE}={first}".encode())]
    login.leave(Response(), Request({"type": "http", "headers": headers}))
    assert user_of(login, cookie(first)) == 401
    again, _ = login.begin_session(ann)
    tokens.revoke("ann")
    assert user_of(login, cookie(again)) == 401
    tokens.add("ann", "run")  # another token of the same name is another login
    assert user_of(login, cookie(again)) == 401


def test_a_token_has_so_many_sessions_and_ends_none_of_others(tmp_path: Path) -> None:
    login = Login(HttpSettings(folder=tmp_path, asks_login=True))
    tokens = TokenFile(tmp_path)
    ann, bob = tokens.add("ann", "run"), tokens.add("bob", "read")
    others, _ = login.begin_session(bob)
    own = [login.begin_session(ann)[0] for _ in range(MOST_SESSIONS + 2)]
    known = [user_of(login, cookie(session)) != 401 for session in own]
    assert known == [False] * 2 + [True] * MOST_SESSIONS
    assert user_of(login, cookie(others)) == User("bob", Role.READ)


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
def test_what_a_proxy_forwards_needs_a_login_though_this_machine_needs_none(
    tmp_path: Path, header: str
) -> None:
    login = Login(HttpSettings(folder=tmp_path))
    assert isinstance(here := user_of(login), User) and here.role is Role.ADMIN
    forwarded = (header, "192.0.2.7")
    assert user_of(login, forwarded) == 401
    token = TokenFile(tmp_path).add("ann", "read")
    assert user_of(login, forwarded, bearer(token)) == User("ann", Role.READ)


@pytest.mark.parametrize(
    "given", ["Bearer", "Bearer ", "Bearer \xff", "Basic YW5uOnNlY3JldA==", "Basic !!!",
              "Digest x", "lstm-sweep-x", "x" * 5000],
)  # fmt: skip
def test_on_loopback_nobody_is_asked_but_what_is_no_token_is_refused(
    tmp_path: Path, given: str
) -> None:
    login = Login(HttpSettings(folder=tmp_path))
    assert isinstance(user_of(login, cookie("of an earlier start")), User)
    assert user_of(login, ("authorization", given)) == 401


def test_a_name_is_believed_from_the_proxy_alone(tmp_path: Path) -> None:
    settings = HttpSettings(folder=tmp_path, asks_login=True, user_header="remote-user")
    login = Login(settings)
    token = TokenFile(tmp_path).add("ann@example.org", "admin")
    ann, bob = ("remote-user", "ann@example.org"), ("remote-user", "bob")
    assert user_of(login, ann) == 401
    assert user_of(login, ann, by_proxy=True) == User("ann@example.org", Role.ADMIN)
    assert user_of(login, bob, by_proxy=True) == User("bob", Role.READ)
    # a program's own token, which the proxy lets pass, and what the proxy itself asks for
    assert user_of(login, bob, bearer(token), by_proxy=True) == User("ann@example.org", Role.ADMIN)
    basic = ("authorization", "Basic Ym9iOnNlY3JldA==")
    assert user_of(login, bob, basic, by_proxy=True) == User("bob", Role.READ)
    assert user_of(login, bob, ann, by_proxy=True) == 403  # one may be the client's
    for name in ("a b", "../x", "x" * 101, "<b>"):
        assert user_of(login, ("remote-user", name), by_proxy=True) == 403
    for none in ((), (("remote-user", ""),), (("other", "bob"),)):
        assert user_of(login, *none, by_proxy=True) == 401
    assert user_of(Login(HttpSettings(folder=tmp_path)), bob, by_proxy=True) != User(
        "bob", Role.READ
    )


def test_tokens_that_others_may_read_let_nobody_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    login = Login(HttpSettings(folder=tmp_path, asks_login=True))
    token = TokenFile(tmp_path).add("ann", "run")
    assert user_of(login, bearer(token)) == User("ann", Role.RUN)
    login.tokens.file.chmod(0o644)  # nothing else of it changes
    assert [user_of(login, bearer(token)) for _ in range(5)] == [503] * 5
    assert caplog.text.count("nobody but you may read") == 1
    login.tokens.file.chmod(0o600)
    assert user_of(login, bearer(token)) == User("ann", Role.RUN)


@pytest.mark.parametrize(
    "peer, forwarded, scheme, client",
    [
        ("10.0.0.2", ["192.0.2.7"], "https", "192.0.2.7"),
        ("10.0.0.2", ["203.0.113.9, 192.0.2.7"], "https", "192.0.2.7"),  # the first is made up
        ("10.0.0.2", ["203.0.113.9", "192.0.2.7"], "https", "192.0.2.7"),
        ("10.0.0.2", ["192.0.2.7, 10.0.0.3"], "https", "192.0.2.7"),  # two proxies
        ("10.0.0.2", ["unknown"], "https", "10.0.0.2"),
        ("10.0.0.2", [], "https", "10.0.0.2"),
        ("::ffff:10.0.0.2", ["192.0.2.7"], "https", "192.0.2.7"),
        ("10.0.0.9", ["192.0.2.7"], "http", "10.0.0.9"),
        ("testclient", ["192.0.2.7"], "http", "testclient"),
    ],
)
def test_only_a_proxy_says_who_asks(
    peer: str, forwarded: list[str], scheme: str, client: str
) -> None:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    headers.append((b"x-forwarded-proto", b"https"))
    scope: dict[str, Any] = {"client": (peer, 1), "scheme": "http", "headers": headers}
    by_proxy = resolve_forwarded(scope, parse_proxies(("10.0.0.2", "10.0.0.3/32")))
    assert (by_proxy, scope["client"][0], scope["scheme"]) == (scheme == "https", client, scheme)


def test_options_of_a_proxy_are_checked() -> None:
    assert check_user_header("Remote-User") == "remote-user"
    assert check_user_header("X-Forwarded-User") == "x-forwarded-user"
    for header in ("User-Agent", "Sec-Fetch-Site", "Cookie", "X-Forwarded-For", "", "a b", "a:b"):
        with pytest.raises(InputError, match="--user-header is"):
            check_user_header(header)
    for proxy in ("", "*", "proxy", "10.0.0.1/8", "10.0.0"):
        with pytest.raises(InputError, match="--proxy is"):
            parse_proxies((proxy,))


@pytest.mark.parametrize(
    "other", ['prefs={"theme":"dark"}', "a[b]=c", "say=caf\xe9", "lone", "x=", COOKIE]
)
def test_cookies_of_other_programs_of_the_host_hide_none_of_ours(other: str) -> None:
    for cookies in ([f"{COOKIE}=of-us", other], [other, f"{COOKIE}=of-us"]):
        assert cookie_of({"cookie": "; ".join(cookies)}) == "of-us"
    assert cookie_of({"cookie": other}) == ""
