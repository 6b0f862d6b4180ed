"""What `docker/compose.yaml` starts, as processes: database, MLflow's server, service and proxy."""

from __future__ import annotations

import json
import re
import signal
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pytest

from tests import browser as browsers
from tests import postgres, proxy
from tests.browser import Tab
from tests.conftest import start_program, wait_until, write_text
from tests.launcher import Started
from tests.postgres import named, write_settings
from tests.servers import free_port, served
from tests.unit.containers import SERVICES

pytestmark = pytest.mark.full

PASSWORD = "a password of the tests"
READER = "a password of a reader"
#: the status of an answer to a page
STATUS = "(path) => fetch(path).then((answer) => answer.status)"


@dataclass(frozen=True)
class Team:
    """The one address, and the process of the service."""

    url: str
    service: Started

    def ask(self, path: str, login: str = "admin", **body: Any) -> tuple[int, str]:
        """Status and text of an answer to a user; with a body it is a POST."""
        headers = {"Content-Type": "application/json", "Accept": "text/html, application/json"}
        if login:
            secret = {"admin": PASSWORD, "reader": READER}.get(login, "wrong")
            given = b64encode(f"{login}:{secret}".encode()).decode()
            headers["Authorization"] = f"Basic {given}"
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.url}{path}", data, headers)
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
    here = {"0.0.0.0": "127.0.0.1", "8000": port}
    options = [here.get(word, word) for word in command] + ["--slots", "1", "--json"]
    write_text(folder / "words.txt")
    options += ["--data-root", str(folder)]
    with postgres.running() as database:
        database.client("createdb", "lstm_sweep")
        write_settings(server, database.address("lstm_sweep"), str(server / "artifacts"))
        secrets = {**database.login, "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD}
        with served(server, "--host", "127.0.0.1", **secrets, **named(server)) as mlflow:
            login = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
            given = {"MLFLOW_TRACKING_URI": mlflow, "FORWARDED_ALLOW_IPS": "*", **login}
            service = start_program(*options, cwd=folder, **given, **named(server))
            assert service.stdout.readline(), service.stderr.read()
            try:
                place = urlsplit(mlflow).netloc
                with proxy.running(folder, f"127.0.0.1:{port}", place) as url:
                    yield Team(url, service)
            finally:
                service.send_signal(signal.SIGTERM)
                assert service.wait(60) == 0


def test_one_address_and_one_login_for_the_service_and_for_mlflow(team: Team) -> None:
    status, page = team.ask("/", login="")
    assert status == 200 and 'name="password"' in page  # the page to log in
    for login in ("", "nobody"):
        assert team.ask("/password", login)[0] == team.ask("/mlflow/", login)[0] == 401
    for path in (
        "/",
        "/password",
        "/mlflow/",
        "/mlflow/ajax-api/2.0/mlflow/experiments/search?max_results=1",
    ):
        assert team.ask(path)[0] == 200
    page = team.ask("/mlflow/")[1]
    found = re.findall(r"(static-files/[^\"]+\.js)\"", page)
    assert found and all(team.ask(f"/mlflow/{path}")[0] == 200 for path in found)


def test_a_browser_logs_in_with_name_and_password_through_the_proxy(team: Team) -> None:
    with browsers.running() as browser:
        tab = Tab(browser, team.url)
        assert tab.go("/launch").url == f"{team.url}/login"
        for secret in ("wrong", PASSWORD):
            tab.page.get_by_label("Name").fill("admin")
            tab.page.get_by_label("Password").fill(secret)
            tab.page.get_by_role("button", name="Log in").first.click()
            tab.page.get_by_role(
                "alert" if secret == "wrong" else "heading",
                name=None if secret == "wrong" else "Sweeps",
            ).wait_for()
            assert tab.faults() == []
        tab.page.get_by_role("link", name="Launch a sweep").click()
        tab.page.get_by_role("heading", name="Launch a sweep").wait_for()
        [cookie] = tab.page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert PASSWORD not in cookie["value"]
        shown = tab.page.goto(f"{team.url}/mlflow/")
        assert shown and shown.status == 200
        runs = "/mlflow/ajax-api/2.0/mlflow/experiments/search?max_results=1"
        assert tab.page.evaluate(STATUS, runs) == 200
        tab.go("/")
        tab.page.get_by_role("button", name="Log out").click()
        assert tab.go("/launch").url == f"{team.url}/login"
        # not from a page, where the browser asks for a password and waits
        assert tab.page.context.request.get(f"{team.url}{runs}").status == 401


def test_nobody_but_the_proxy_is_told_a_login(team: Team) -> None:
    for path in ("mlflow", "%6Dlflow", "MLFLOW", "mlflow/"):
        assert team.ask(f"/api/v1/session/{path}") == (404, "")


def test_a_sweep_is_launched_followed_and_found_in_mlflow(team: Team) -> None:
    sweep: dict[str, Any] = {
        "data": "server:words.txt",
        "trials": 1,
        "space": "quick",
        "confirm_configs": 0,
    }
    more: dict[str, Any] = {"name": "first", "ladder": False, "targets": 100, "size_rule": "off"}
    status, text = team.ask("/api/v1/sweeps", **sweep, **more)
    assert status == 201, text
    assert json.loads(text)["run_id"]

    def state() -> str:
        return str(json.loads(team.ask("/api/v1/sweeps/first")[1])["state"])

    wait_until(lambda: state() == "finished", team.service)
    events = team.ask("/api/v1/sweeps/first/events")[1]
    assert "event: snapshot" in events and "event: end" in events
    page = team.ask("/sweeps/first")[1]
    link = re.search(r'href="/mlflow/#/experiments/\d+/runs/([0-9a-f]{32})', page)
    assert link
    status, run = team.ask(f"/mlflow/api/2.0/mlflow/runs/get?run_id={link[1]}")
    assert (status, json.loads(run)["run"]["info"]["status"]) == (200, "FINISHED")


def test_users_of_mlflow_read_and_admins_run(team: Team) -> None:
    with mock.patch.dict(
        "os.environ", MLFLOW_TRACKING_USERNAME="admin", MLFLOW_TRACKING_PASSWORD=PASSWORD
    ):
        from mlflow.server.auth.client import AuthServiceClient

        AuthServiceClient(f"{team.url}/mlflow").create_user("reader", READER)
    assert team.ask("/api/v1/sweeps", login="reader")[0] == 200
    status, text = team.ask("/api/v1/sweeps", login="reader", data="python-docs")
    assert status == 403 and "'reader' may read" in text
