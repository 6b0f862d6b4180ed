"""What a program may do with a job on a cluster, in any of its threads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.api import cluster
from lstm_sweep.search.api.cluster import ClusterJob, Destination, EndedJob, destination_of
from lstm_sweep.search.api.errors import JobLostError, JobNotSubmittedError
from lstm_sweep.search.api.job_files import JobFiles
from lstm_sweep.search.engines.ray_jobs import JobState
from lstm_sweep.search.process.interrupts import EndRequest
from lstm_sweep.search.store.settings import Settings
from tests.job_api import JobApi, answering

SERVER = Settings("http://127.0.0.1:5000", None, "mine", "test")
RESULT = json.dumps({"sweep": "a", "state": "finished"})

T = TypeVar("T")


class Seen:
    """Keeps what it is told of a job."""

    def __init__(self) -> None:
        self.lines = list[str]()
        self.texts = list[str]()
        self.stops = 0

    def printed(self, line: str) -> None:
        self.lines.append(line)

    def said(self, text: str) -> None:
        self.texts.append(text)

    def stopping(self) -> None:
        self.stops += 1


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobApi]:
    monkeypatch.setattr(cluster, "LOOK_EVERY_S", 0.01)
    with answering(JobApi()) as api:
        yield api


def in_a_thread(call: Callable[[], T]) -> T:
    """What a call returns in a thread that gets no signals."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def submitted(
    api: JobApi, seen: Seen, *, as_json: bool = False, end: EndRequest | None = None
) -> ClusterJob:
    return cluster.submit(
        JobFiles(["resume", "s"]),
        api.address,
        settings=SERVER,
        observer=seen,
        as_json=as_json,
        columns=70,
        environment={},
        interrupts=end or EndRequest(),
    )


def test_a_job_is_a_value_and_its_end_is_one(
    api: JobApi, seen: Seen, capfd: pytest.CaptureFixture[str]
) -> None:
    api.lines = ["lstm-sweep: a\x1b line\n", f"{RESULT}\n", "no end"]
    job = in_a_thread(lambda: submitted(api, seen, as_json=True))
    [name] = api.submitted
    assert job == ClusterJob(api.address, name, has_document=True)
    assert api.submitted[job.name]["runtime_env"]["env_vars"]["COLUMNS"] == "70"
    ended = in_a_thread(lambda: cluster.follow(job, observer=seen, environment={}))
    assert ended == EndedJob(JobState("SUCCEEDED"), RESULT)
    assert (seen.lines, seen.texts) == (["lstm-sweep: a\x1b line", "no end"], [])
    assert capfd.readouterr() == ("", "")


def test_the_words_and_files_of_a_command_stay_as_they_are(api: JobApi, seen: Seen) -> None:
    files = JobFiles(["launch"], {"data/x": b"content"})
    for _ in range(2):
        cluster.submit(
            files, api.address, settings=SERVER, observer=seen, as_json=True, environment={}
        )
    assert files == JobFiles(["launch"], {"data/x": b"content"})


def test_a_job_that_fails_is_no_error_of_the_program(api: JobApi, seen: Seen) -> None:
    api.states = [{"status": "FAILED", "driver_exit_code": 127, "message": "m"}]
    ended = cluster.follow(submitted(api, seen), observer=seen, environment={})
    assert ended == EndedJob(JobState("FAILED", "m", 127), None)


def test_another_thread_asks_for_the_end_of_a_job(api: JobApi, seen: Seen) -> None:
    end, job = EndRequest(), submitted(api, seen)
    api.states = [{"status": "RUNNING"}] * 4 + [{"status": "STOPPED"}]
    api.before[len(api.asked) + 3] = end.request
    ended = in_a_thread(lambda: cluster.follow(job, observer=seen, environment={}, interrupts=end))
    assert ended.state.status == "STOPPED"
    assert (seen.stops, api.stops > 0) == (1, True)


def test_nothing_is_submitted_once_an_end_is_wanted(api: JobApi, seen: Seen) -> None:
    end = EndRequest()
    api.before[2] = end.request
    with pytest.raises(JobNotSubmittedError):
        submitted(api, seen, end=end)
    assert api.submitted == {}


def test_a_job_is_stopped_by_its_head_and_name(api: JobApi, seen: Seen) -> None:
    cluster.stop(submitted(api, seen), environment={})
    assert api.stops == 1
    with pytest.raises(JobLostError, match="does not know the job other"):
        cluster.stop(ClusterJob(api.address, "other"), environment={})


def test_a_job_that_is_lost_is_an_error_of_its_own(
    api: JobApi, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submitted(api, seen)
    api.token = "changed"
    with pytest.raises(JobLostError, match=f"wants a token: .*; the job {job.name} may go on"):
        cluster.follow(job, observer=seen, environment={})
    api.token = None
    with pytest.raises(JobLostError, match="does not know the job other any more"):
        cluster.follow(ClusterJob(api.address, "other"), observer=seen, environment={})
    monkeypatch.setattr(cluster, "GIVE_UP_S", -1.0)
    api.instead = [("/logs", (500, "no agent"))]
    with pytest.raises(JobLostError, match=r"^no answer for .*no agent.*; the job"):
        cluster.follow(job, observer=seen, environment={})


@pytest.mark.parametrize(
    ("address", "given", "found"),
    [
        (None, "", Destination()),
        (None, "10.0.0.5:6379", Destination(ray_address="10.0.0.5:6379")),
        ("auto", "10.0.0.5:6379", Destination(ray_address="auto")),
        ("http://head:8265/", "auto", Destination(head="http://head:8265")),
    ],
)
def test_a_destination_is_found_without_a_change_of_the_environment(
    address: str | None, given: str, found: Destination
) -> None:
    environment = {"RAY_ADDRESS": given}
    before = dict(os.environ)
    assert destination_of(address, "ray", environment) == found
    assert environment == {"RAY_ADDRESS": given}
    assert dict(os.environ) == before


@pytest.mark.parametrize("address", ["ftp://x", "ray://head:10001", "HTTP://head:8265", " "])
def test_an_address_of_neither_kind_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=r"expected http://HEAD:8265 of a cluster's head, or, on"):
        destination_of(None, "ray", {"RAY_ADDRESS": address})
