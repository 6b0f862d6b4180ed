from __future__ import annotations

import asyncio
import base64
import http.server
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after, to_thread

from lstm_sweep.search.service import login as module
from lstm_sweep.search.service.http_settings import HttpSettings, Limits
from lstm_sweep.search.service.login import WITHIN_S, Failures, Login, basic_login, cookie_of
from lstm_sweep.search.service.permissions import Role, User
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.tokens import PREFIX, TokenFile

#: of users of MLflow: whether they are admins
USERS = {"ann:secret": True, "bob:secret": False}


def basic(login: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


@pytest.fixture
def asked() -> list[str]:
    """Logins that MLflow's server was asked about."""
    return []


@pytest.fixture
def mlflow(asked: list[str]) -> Iterator[str]:
    """Address of a stand-in for MLflow's server; the real one is asked in `tests/acceptance`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization", "").removeprefix("Basic ")
            login = base64.b64decode(given).decode()
            asked.append(login)
            self.send_response(200 if login in USERS else 401)
            self.end_headers()
            user = {"username": login.partition(":")[0], "is_admin": USERS.get(login)}
            self.wfile.write(json.dumps({"user": user}).encode())

        def log_message(self, *arguments: Any) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def user_of(login: Login, headers: dict[str, str]) -> User | int:
    """Who sends a request with these headers, or the status of the refusal."""
    return asyncio.run(who(login, headers))


async def who(login: Login, headers: dict[str, str], address: str = "10.0.0.1") -> User | int:
    """Who sends a request from an address, or the status of the refusal."""
    try:
        return await login.user_of(headers, address)
    except ProblemError as error:
        return error.status


def test_users_of_mlflow_are_let_in(tmp_path: Path, mlflow: str, asked: list[str]) -> None:
    now = [0.0]
    settings = HttpSettings(folder=tmp_path, asks_login=True, mlflow=mlflow)
    login = Login(settings, lambda: now[0])
    for _ in range(3):
        assert user_of(login, basic("ann:secret")) == User("ann", Role.RUN)
    assert user_of(login, basic("bob:secret")) == User("bob", Role.READ)
    assert user_of(login, basic("ann:wrong")) == 401
    assert asked == ["ann:secret", "bob:secret", "ann:wrong"]  # remembered for a while
    now[0] = 61.0
    assert user_of(login, basic("ann:secret")) == User("ann", Role.RUN)
    assert len(asked) == 4


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
def test_what_a_proxy_forwards_needs_a_login_though_this_machine_needs_none(
    tmp_path: Path, header: str
) -> None:
    login = Login(HttpSettings(folder=tmp_path))
    assert isinstance(found := user_of(login, {}), User) and found.role is Role.RUN
    forwarded = {header: "192.0.2.7"}
    assert user_of(login, forwarded) == 401
    token = TokenFile(tmp_path).add("ann", "read")
    assert user_of(login, {**forwarded, "authorization": f"Bearer {token}"}) == User(
        "ann", Role.READ
    )


def test_what_a_proxy_sends_on_to_mlflow_is_the_login_of_the_browser(tmp_path: Path) -> None:
    login = Login(HttpSettings(folder=tmp_path, asks_login=True))
    cookie = {"cookie": f"lstm-sweep-token={login.sessions.begin('YW5uOnNlY3JldA==')}"}
    assert login.for_mlflow(cookie) == "Basic YW5uOnNlY3JldA=="
    assert login.for_mlflow(cookie | {"authorization": "Basic b3RoZXI="}) == "Basic b3RoZXI="
    for other in ({}, {"cookie": "lstm-sweep-token=guessed"}):
        assert login.for_mlflow(other) == ""


def test_passwords_are_not_tried_while_too_many_have_failed(
    tmp_path: Path, mlflow: str, asked: list[str]
) -> None:
    limits = Limits(failures=2)
    settings = HttpSettings(folder=tmp_path, asks_login=True, mlflow=mlflow, limits=limits)
    login = Login(settings)
    assert user_of(login, basic("bob:secret")) == User("bob", Role.READ)
    assert [user_of(login, basic(f"ann:{n}")) for n in range(4)] == [401, 401, 429, 429]
    assert user_of(login, basic("ann:secret")) == 429
    assert len(asked) == 3
    assert user_of(login, basic("bob:secret")) == User("bob", Role.READ)


def test_no_more_passwords_are_tried_at_once_than_may_fail(
    tmp_path: Path, mlflow: str, asked: list[str]
) -> None:
    limits = Limits(failures=2)
    login = Login(HttpSettings(folder=tmp_path, asks_login=True, mlflow=mlflow, limits=limits))

    async def run() -> None:
        good = [who(login, basic("bob:secret")) for _ in range(3)]
        assert await asyncio.gather(*good) == [User("bob", Role.READ)] * 3
        guesses = [who(login, basic(f"ann:{n}")) for n in range(20)]
        assert Counter(await asyncio.gather(*guesses)) == {401: 2, 429: 18}
        assert await who(login, basic("ann:secret"), "10.0.0.2") == User("ann", Role.RUN)

    asyncio.run(run())
    assert (len(asked), len(login.turns)) == (4, 0)


def test_logins_leave_threads_to_others_while_mlflow_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    def ask(at: str, given: str) -> None:
        assert answers.wait(60)

    monkeypatch.setattr(module, "ask_mlflow", ask)
    login = Login(HttpSettings(folder=tmp_path, asks_login=True, mlflow="http://127.0.0.1:9"))

    async def run() -> None:
        logins = [who(login, basic("ann:secret"), f"10.0.0.{n}") for n in range(60)]
        waiting = asyncio.gather(*logins)
        await asyncio.sleep(0.1)
        try:
            with fail_after(10):
                assert await to_thread.run_sync(lambda: "done") == "done"
        finally:
            answers.set()
        assert await waiting == [401] * 60

    asyncio.run(run())


def test_a_server_that_is_silent_lets_nobody_in_and_counts_against_nobody(tmp_path: Path) -> None:
    limits = Limits(failures=1)
    settings = HttpSettings(
        folder=tmp_path, asks_login=True, mlflow="http://127.0.0.1:9", limits=limits
    )
    login = Login(settings)
    assert [user_of(login, basic("ann:secret")) for _ in "ab"] == [503, 503]


def test_a_browser_is_let_in_by_a_session_for_as_long_as_mlflow_knows_the_user(
    tmp_path: Path, mlflow: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    login = Login(HttpSettings(folder=tmp_path, asks_login=True, mlflow=mlflow), lambda: now[0])
    session = login.sessions.begin(basic_login("bob", "secret"))
    cookie = {"cookie": f"lstm-sweep-token={session}"}
    for now[0] in (0.0, 30.0, 61.0):
        assert user_of(login, cookie) == User("bob", Role.READ)
    assert asked == ["bob:secret"] * 2
    monkeypatch.delitem(USERS, "bob:secret")
    now[0] = 130.0
    assert user_of(login, cookie) == 401


def test_a_cookie_that_is_forgotten_is_no_attempt_to_guess_a_token(tmp_path: Path) -> None:
    login = Login(HttpSettings(folder=tmp_path, asks_login=True, limits=Limits(failures=1)))
    old = {"cookie": "lstm-sweep-token=of-an-earlier-start"}
    assert [user_of(login, old) for _ in "ab"] == [401, 401]
    guessed = {"cookie": f"lstm-sweep-token={PREFIX}guessed"}
    assert [user_of(login, guessed) for _ in "ab"] == [401, 429]


@pytest.mark.parametrize(
    "name, password", [("", "x"), ("ann", ""), ("a:b", "x"), ("ann", "x" * 201), ("a" * 201, "x")]
)
def test_what_cannot_be_name_and_password_is_refused(name: str, password: str) -> None:
    with pytest.raises(ProblemError) as refused:
        basic_login(name, password)
    assert refused.value.status == 422


def test_passwords_are_none_without_mlflow(tmp_path: Path) -> None:
    login = Login(HttpSettings(folder=tmp_path, asks_login=True))
    assert user_of(login, basic("ann:secret")) == 401


def test_on_loopback_nobody_is_asked_but_a_bad_token_is_refused(tmp_path: Path) -> None:
    login = Login(HttpSettings(folder=tmp_path))
    user = user_of(login, {})
    assert isinstance(user, User) and user.role is Role.RUN
    assert user_of(login, {"authorization": "Bearer x"}) == 401


def test_failures_are_counted_within_a_minute() -> None:
    now = [0.0]
    failures = Failures(2, lambda: now[0])
    for now[0] in (0.0, 10.0):
        assert failures.wait_s("a") == 0
        failures.note("a")
    assert failures.wait_s("a") == WITHIN_S - 10
    assert failures.wait_s("b") == 0
    now[0] = WITHIN_S
    assert failures.wait_s("a") == 0


@pytest.mark.parametrize(
    "cookie", ["", "a=b", "lstm-sweep-token", "\x00=;;", "=", "lstm-sweep-token="]
)
def test_what_is_no_cookie_of_ours_is_none(cookie: str) -> None:
    assert cookie_of({"cookie": cookie}) == ""


@pytest.mark.parametrize("other", ['prefs={"theme":"dark"}', "a[b]=c", "say=caf\xe9", "lone", "x="])
def test_cookies_of_other_programs_of_the_host_hide_none_of_ours(other: str) -> None:
    for cookies in (["lstm-sweep-token=of-us", other], [other, "lstm-sweep-token=of-us"]):
        assert cookie_of({"cookie": "; ".join(cookies)}) == "of-us"


def test_those_who_wait_for_a_server_that_does_not_answer_are_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = Login(HttpSettings(folder=tmp_path, asks_login=True, mlflow="http://mlflow"))
    asked = []

    def silent(at: str, given: str) -> None:
        asked.append(given)
        time.sleep(0.05)
        raise ProblemError(503, "no answer")

    monkeypatch.setattr("lstm_sweep.search.service.login.ask_mlflow", silent)

    async def run() -> list[User | int]:
        return await asyncio.gather(*(who(login, basic(f"ann:{n}")) for n in range(8)))

    assert (asyncio.run(run()), len(asked)) == ([503] * 8, 1)
    assert (user_of(login, basic("ann:later")), len(asked)) == (503, 2)
