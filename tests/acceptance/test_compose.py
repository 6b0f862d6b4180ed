"""What `docker/compose.yaml` starts, as processes: database, MLflow's server, service and proxy."""

from __future__ import annotations

import http.server
import json
import os
import re
import sys
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pytest

from lstm_sweep.search.service.auth import TokenFile
from lstm_sweep.search.service.settings import service_folder
from lstm_sweep.search.store.settings import load
from tests import browser as browsers
from tests import postgres
from tests.browser import Tab, caddy
from tests.conftest import run_command, wait_until, write_text
from tests.launcher import Started
from tests.postgres import named, write_settings
from tests.servers import free_port, served, serving
from tests.unit.documents import DOCKER, SERVICES

pytestmark = pytest.mark.full

PASSWORD = "a password of the tests"
#: passwords of the users of MLflow that docker/users.py makes
USERS = {"SERVICE_PASSWORD": "a password of sweeps", "PAGES_PASSWORD": "a password of pages"}
#: a page of MLflow, and a request that its pages make
MLFLOW, RUNS = "/mlflow/", "/mlflow/ajax-api/2.0/mlflow/experiments/search?max_results=1"
#: the status of an answer to a page
STATUS = "(path) => fetch(path).then((answer) => answer.status)"


@dataclass(frozen=True)
class Team:
    """The one address, the process of the service, and tokens by role."""

    url: str
    service: Started
    tokens: dict[str, str]

    def ask(
        self, path: str, role: str = "run", headers: dict[str, str] | None = None, **body: Any
    ) -> tuple[int, str]:
        """Status and text of an answer to a program; with a body it is a POST."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        if role:
            sent["Authorization"] = f"Bearer {self.tokens.get(role, role)}"
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.url}{path}", data, sent)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """All services of the file, with its commands, settings and proxy, on other ports."""
    server, folder = tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("service")
    port, command = str(free_port()), list(SERVICES["service"]["command"])
    proxy_address = command[command.index("--proxy") + 1]
    ours = {"0.0.0.0": "127.0.0.1", "8000": port, proxy_address: "127.0.0.1"}
    assert command.pop(0) == "serve"
    options = [ours.get(word, word) for word in command]
    write_text(folder / "words.txt")
    options += ["--slots", "1", "--data-root", str(folder)]
    with postgres.running() as database:
        database.client("createdb", "lstm_sweep")
        write_settings(server, database.address("lstm_sweep"), str(server / "artifacts"))
        secrets = {**database.login, "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD}
        with served(server, "--host", "127.0.0.1", **secrets, **named(server)) as mlflow:
            make_users(mlflow)
            given = {
                "MLFLOW_TRACKING_URI": mlflow,
                "MLFLOW_TRACKING_USERNAME": "service",
                "MLFLOW_TRACKING_PASSWORD": USERS["SERVICE_PASSWORD"],
            }
            with mock.patch.dict("os.environ", given):
                own = TokenFile(service_folder(load(folder), folder))
            tokens = {role: own.add(role, role) for role in ("read", "run", "admin")}
            login = b64encode(f"pages:{USERS['PAGES_PASSWORD']}".encode()).decode()
            here, place = f"127.0.0.1:{port}", urlsplit(mlflow).netloc
            with (
                serving(folder, *options, **given, **named(server)) as (_, service),
                caddy(folder, SERVICE=here, MLFLOW=place, MLFLOW_LOGIN=login) as url,
            ):
                yield Team(url, service, tokens)


def make_users(mlflow: str) -> None:
    """Make the users of MLflow as the service `users` does, which may be done again."""
    admin = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    for _ in range(2):
        given = os.environ | admin | USERS | {"MLFLOW_TRACKING_URI": mlflow}
        done = run_command(sys.executable, DOCKER / "users.py", environment=given)
        assert done.code == 0, done


def test_one_address_and_one_login_for_the_service_and_for_mlflow(team: Team) -> None:
    page = {"Accept": "text/html"}
    for path in ("/", MLFLOW):
        status, text = team.ask(path, "", page)
        assert status == 200 and 'name="token"' in text  # the page to log in
    for login in ("", "lstm-sweep-guessed"):
        assert team.ask(RUNS, login)[0] == 401
    basic = b64encode(f"admin:{PASSWORD}".encode()).decode()  # of MLflow, which nobody can try here
    assert team.ask(RUNS, "", {"Authorization": f"Basic {basic}"})[0] == 401
    for path in ("/", MLFLOW, RUNS):
        assert team.ask(path, "read")[0] == 200
    found = re.findall(r"(static-files/[^\"]+\.js)\"", team.ask(MLFLOW)[1])
    assert found and all(team.ask(f"/mlflow/{path}")[0] == 200 for path in found)


def test_nobody_changes_runs_by_the_pages_of_mlflow(team: Team) -> None:
    for role in ("read", "admin"):
        delete = "/mlflow/api/2.0/mlflow/experiments/delete"
        status, text = team.ask(delete, role, experiment_id="0")
        assert (status, "ermission" in text) == (403, True)


def test_a_browser_logs_in_with_a_token_through_the_proxy(team: Team) -> None:
    with browsers.running() as browser:
        tab = Tab(browser, team.url)
        assert tab.go("/launch").url == f"{team.url}/login"
        tab.page.get_by_label("Token").fill(team.tokens["run"])
        tab.page.get_by_role("button", name="Log in").first.click()
        tab.page.get_by_role("heading", name="Sweeps").wait_for()
        tab.page.get_by_role("link", name="Launch a sweep").click()
        tab.page.get_by_role("heading", name="Launch a sweep").wait_for()
        [cookie] = tab.page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert team.tokens["run"] not in cookie["value"]
        shown = tab.page.goto(f"{team.url}/mlflow/")
        assert shown and shown.status == 200
        assert tab.page.evaluate(STATUS, RUNS) == 200
        tab.go("/")
        tab.page.get_by_role("button", name="Log out").click()
        for path in ("/launch", MLFLOW):
            assert tab.go(path).url == f"{team.url}/login"


def test_a_sweep_is_launched_followed_and_found_in_mlflow(team: Team) -> None:
    sweep: dict[str, Any] = {
        "data": "server:words.txt",
        "trials": 1,
        "space": "quick",
        "confirm_configs": 0,
        "name": "first",
        "ladder": False,
        "targets": 100,
        "size_rule": "off",
    }
    status, text = team.ask("/api/v1/sweeps", **sweep)
    assert status == 201, text
    assert json.loads(text)["run_id"]

    def state() -> str:
        return str(json.loads(team.ask("/api/v1/sweeps/first")[1])["state"])

    wait_until(lambda: state() == "finished", team.service)
    events = team.ask("/api/v1/sweeps/first/events")[1]
    assert "event: status" in events and "event: end" in events
    page = team.ask("/sweeps/first")[1]
    link = re.search(r'href="/mlflow/#/experiments/\d+/runs/([0-9a-f]{32})', page)
    assert link
    status, run = team.ask(f"/mlflow/api/2.0/mlflow/runs/get?run_id={link[1]}")
    assert (status, json.loads(run)["run"]["info"]["status"]) == (200, "FINISHED")


def test_who_asks_is_noted_as_the_proxy_says_it(team: Team) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-User": "admin"}
    status, text = team.ask("/api/v1/sweeps", "read", forged, data="python-docs")
    assert status == 403 and "'read' may read" in text


class SignOn(http.server.BaseHTTPRequestHandler):
    """The part of a single sign-on that a proxy asks about each request."""

    def do_GET(self) -> None:
        """Name whoever has a cookie of it; refuse others."""
        name = (self.headers["Cookie"] or "").partition("signed-on=")[2]
        self.send_response(200 if name else 401)
        if name:
            self.send_header("Remote-User", name)
        self.end_headers()

    def log_message(self, *parts: object) -> None:
        """Say nothing."""


def test_people_log_in_at_a_proxy_which_names_them(workplace: Callable[[str], Path]) -> None:
    folder, port = workplace("single-sign-on"), str(free_port())
    token = TokenFile(service_folder(load(folder, {}), folder)).add("ann@example.org", "run")
    text = (DOCKER.parent / "docs" / "service.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"^runs\.example\.org \{\n.*?^\}\n", text, re.MULTILINE | re.DOTALL)
    sign_on = http.server.ThreadingHTTPServer(("127.0.0.1", 0), SignOn)
    thread = threading.Thread(target=sign_on.serve_forever)
    thread.start()
    for name, here in [
        ("runs.example.org", "{$LISTEN}"), ("127.0.0.1:8000", f"127.0.0.1:{port}"),
        ("https://auth.example.org", f"127.0.0.1:{sign_on.server_port}"),
    ]:  # fmt: skip
        assert name in shown
        shown = shown.replace(name, here)
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https off\n}}\n{shown}")
    options = ["--proxy", "127.0.0.1", "--user-header", "Remote-User", "--no-mlflow"]
    try:
        with (
            serving(folder, "--port", port, *options) as (told, service),
            caddy(folder, folder / "Caddyfile", SERVICE=f"127.0.0.1:{port}") as url,
        ):
            assert told["auth"] == "token or proxy"
            team = Team(url, service, {"ann": token})
            forged = {"Remote-User": "admin"}
            for name, role in (("ann@example.org", "run"), ("bob", "read")):
                login = {"Cookie": f"signed-on={name}", "Origin": url} | forged
                status, answer = team.ask("/api/v1/user", "", login)
                assert (status, json.loads(answer)) == (200, {"name": name, "role": role})
                status, answer = team.ask("/api/v1/sweeps/none/pause", "", login, a=1)
                assert status == (404 if role == "run" else 403), answer
                login["Origin"] = "http://evil.example"
                assert team.ask("/api/v1/sweeps/none/pause", "", login, a=1)[0] == 403
            known = json.loads(team.ask("/api/v1/user", "ann", forged)[1])
            assert known["name"] == "ann@example.org"
            assert team.ask("/api/v1/user", "lstm-sweep-guessed", forged)[0] == 401
            assert team.ask("/api/v1/user", "", forged)[0] == 401
    finally:
        sign_on.shutdown()
        thread.join()
        sign_on.server_close()
