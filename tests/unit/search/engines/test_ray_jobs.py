from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines import ray_jobs
from lstm_sweep.search.engines.ray_jobs import (
    JobState,
    NoAnswerError,
    RayJobs,
    UnknownJobError,
    checked_address,
    token_of,
)
from lstm_sweep.search.process.secrets import without_secrets
from tests.job_api import JobApi, answering


@pytest.fixture
def api() -> Iterator[JobApi]:
    with answering(JobApi()) as api:
        yield api


@pytest.fixture
def jobs(api: JobApi) -> RayJobs:
    return RayJobs(api.address)


def test_the_version_is_that_of_ray(jobs: RayJobs) -> None:
    assert jobs.version() == "2.60.0"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, "no such page"), "GET /api/version is answered by HTTP 404: no such page"),
        ((302, "http://login.example.org/"), "GET /api/version is answered by HTTP 302"),
        ((200, "<html>hello</html>"), "/api/version is '<html>hello</html>'"),
        ((200, "[1]"), "/api/version is '[1]'"),
        ((200, '{"version": "4"}'), "/api/version has no ray_version"),
    ],
)
def test_what_is_no_head_is_refused(
    api: JobApi, jobs: RayJobs, answer: tuple[int, str], said: str
) -> None:
    api.version = answer
    with pytest.raises(InputError) as refused:
        jobs.version()
    assert str(refused.value).startswith(f"{api.address} is no Ray head: {said}")
    assert str(refused.value).endswith(ray_jobs.EXPECTED)


def test_no_redirect_is_followed_so_that_nobody_else_gets_the_token(api: JobApi) -> None:
    with answering(JobApi()) as other:
        api.version = (307, f"{other.address}/api/version")
        with pytest.raises(InputError, match="HTTP 307"):
            RayJobs(api.address, "secret").version()
        assert other.asked == []


def test_a_head_that_is_not_there_does_not_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(NoAnswerError, match=f"{address}: Connection refused"):
            RayJobs(address).version()


def test_a_head_that_is_silent_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_jobs, "REQUEST_TIMEOUT_S", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(NoAnswerError, match="timed out"),
    ):
        RayJobs(f"http://127.0.0.1:{mute.getsockname()[1]}").version()


def test_a_head_that_fails_does_not_answer(api: JobApi, jobs: RayJobs) -> None:
    api.version = (500, "Traceback ...\nRuntimeError: no agent")
    with pytest.raises(NoAnswerError, match=r"HTTP 500: RuntimeError: no agent$"):
        jobs.version()


def test_what_speaks_no_http_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        jobs = RayJobs(f"http://127.0.0.1:{server.getsockname()[1]}")
        if os.fork() == 0:
            other = server.accept()[0]
            other.recv(1000)
            other.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            os._exit(0)
        with pytest.raises(NoAnswerError, match=r"SSH-2\.0"):
            jobs.version()
        os.wait()


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (None, "wants a token: expected RAY_AUTH_MODE=token"),
        ("another", "refuses the token (HTTP 403), expected that of its cluster"),
    ],
)
def test_a_token_that_is_missing_or_wrong_is_refused(
    api: JobApi, token: str | None, said: str
) -> None:
    api.token = "planted"
    jobs = RayJobs(api.address, token)
    for question in (jobs.version, lambda: jobs.state("job")):
        with pytest.raises(InputError) as refused:
            question()
        assert str(refused.value).startswith(f"{api.address} {said}")
        assert "planted" not in str(refused.value)


def test_the_right_token_is_taken(api: JobApi) -> None:
    api.token = "planted"
    assert RayJobs(api.address, "planted").version() == "2.60.0"


def test_a_package_is_uploaded_whole(api: JobApi, jobs: RayJobs) -> None:
    assert not jobs.has_package("a.zip")
    jobs.upload("a.zip", io.BytesIO(b"content"), 7)
    assert api.packages == {"a.zip": b"content"}
    assert jobs.has_package("a.zip")


def test_a_job_gets_its_command_its_variables_and_its_package(api: JobApi, jobs: RayJobs) -> None:
    jobs.submit("job-1", "exec date", environment={"A": "1"}, package="a.zip")
    assert api.submitted["job-1"] == {
        "entrypoint": "exec date",
        "submission_id": "job-1",
        "runtime_env": {"env_vars": {"A": "1"}, "working_dir": "gcs://a.zip"},
    }


def test_a_job_whose_answer_was_lost_is_not_submitted_twice(api: JobApi, jobs: RayJobs) -> None:
    api.submitted["job-1"] = {}
    api.instead = [("/api/jobs/", (500, "ValueError: Job job-1 already exists"))]
    jobs.submit("job-1", "exec date", environment={})
    assert api.asked == ["POST /api/jobs/", "GET /api/jobs/job-1"]


def test_a_job_that_could_not_be_submitted_is_said(api: JobApi, jobs: RayJobs) -> None:
    api.instead = [("/api/jobs/", (500, "no agent"))]
    with pytest.raises(NoAnswerError, match="POST /api/jobs/ is answered by HTTP 500: no agent"):
        jobs.submit("job-1", "exec date", environment={})


def test_a_job_is_followed_and_stopped(api: JobApi, jobs: RayJobs) -> None:
    jobs.submit("j", "exec date", environment={})
    api.states = [
        {"status": "PENDING", "message": "it waits", "driver_exit_code": None},
        {"status": "FAILED", "message": None, "driver_exit_code": -9},
    ]
    api.lines = ["one\n"]
    first, second = jobs.state("j"), jobs.state("j")
    assert (first, first.has_ended) == (JobState("PENDING", "it waits"), False)
    assert (second, second.has_ended) == (JobState("FAILED", "", -9), True)
    assert jobs.log("j").endswith("\none\n")
    jobs.stop("j")
    assert api.stops == 1


def test_a_job_that_is_not_there_is_unknown(jobs: RayJobs) -> None:
    for question in (jobs.state, jobs.log, jobs.stop):
        with pytest.raises(UnknownJobError, match="does not know the job j"):
            question("j")


@pytest.mark.parametrize(
    "given",
    ["http://", "http://:8265", "http://head:port", "http://head:99999", "http://head/?a=1",
     "http://head/#a", "http://head:82 65", "http://head:8265\n"],
)  # fmt: skip
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(InputError, match=r"^address is .*: expected the address of its dash"):
        checked_address(given)


def test_a_login_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(InputError, match=r"^address has a login") as refused:
        checked_address("https://me:planted@head")
    assert "planted" not in str(refused.value)


def test_an_address_may_have_a_path() -> None:
    assert checked_address("https://ray.example.org/one/") == "https://ray.example.org/one"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of-home\n")
    (tmp_path / "file").write_text(" of-file\n")
    (tmp_path / "empty").write_text("\n")
    return tmp_path


@pytest.mark.parametrize(
    ("environment", "token"),
    [
        ({}, None),
        ({"RAY_AUTH_TOKEN": "given"}, "given"),
        ({"RAY_AUTH_TOKEN_PATH": "~/file"}, "of-file"),
        ({"RAY_AUTH_TOKEN": "given", "RAY_AUTH_TOKEN_PATH": "~/file"}, "given"),
        ({"RAY_AUTH_MODE": "token"}, "of-home"),
        ({"RAY_AUTH_MODE": "TOKEN", "RAY_AUTH_TOKEN": "given"}, "given"),
        ({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "given"}, None),
        ({"RAY_AUTH_TOKEN": ""}, None),
    ],
)
def test_the_token_is_the_one_that_ray_would_take(
    home: Path, environment: dict[str, str], token: str | None
) -> None:
    assert token_of(environment) == token


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RAY_AUTH_MODE": "k8s"}, "RAY_AUTH_MODE is 'k8s': expected token or disabled"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "~/none"},
         "no token for Ray: ~/none: No such file or directory, expected RAY_AUTH_MODE=token"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "~/empty"},
         "RAY_AUTH_MODE is token, and ~/empty is empty: expected"),
        ({"RAY_AUTH_TOKEN": "ein Schlüssel"}, "the token in RAY_AUTH_TOKEN has characters"),
        ({"RAY_AUTH_TOKEN": "one\ntwo"}, "the token in RAY_AUTH_TOKEN has characters"),
    ],
)  # fmt: skip
def test_a_token_that_cannot_be_had_is_said(
    home: Path, environment: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError) as refused:
        token_of(environment)
    assert str(refused.value).startswith(said)


def test_no_later_message_shows_the_token() -> None:
    token_of({"RAY_AUTH_TOKEN": "planted-token"})
    assert without_secrets("it was planted-token") == "it was ***"
