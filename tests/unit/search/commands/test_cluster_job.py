from __future__ import annotations

import base64
import io
import json
import os
import shlex
import signal
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lstm_sweep.models.errors import InputError
from lstm_sweep.models.wording import for_command_line
from lstm_sweep.search.api import cluster
from lstm_sweep.search.api.job_files import JobFiles
from lstm_sweep.search.commands import cluster_job
from lstm_sweep.search.process.signals import Interrupted
from lstm_sweep.search.store.settings import Settings
from tests.conftest import run_here
from tests.job_api import JobApi, answering

SERVER = Settings("http://127.0.0.1:5000", None, "mine", "test", request_timeout_s=7)
RESULT = json.dumps({"sweep": "a", "state": "finished"})
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("LOOK_EVERY_S", 0.01), ("SAY_AFTER_S", 0.05), ("WAITING_S", 0.0)):
        monkeypatch.setattr(cluster, name, value)


@pytest.fixture
def api() -> Iterator[JobApi]:
    with answering(JobApi()) as api:
        yield api


def run(api: JobApi, *, as_json: bool = False, settings: Settings = SERVER) -> int:
    job = JobFiles(["launch", "--on=ray"], {"data/x": b"content"})
    return cluster_job.run(job, settings, api.address, as_json=as_json)


def job_of(api: JobApi) -> str:
    [name] = api.submitted
    return name


def test_a_job_is_submitted_with_its_files_and_followed(api: JobApi, capsys: Capture) -> None:
    api.states = [{"status": "PENDING"}, {"status": "RUNNING"}, {"status": "SUCCEEDED"}]
    api.lines = ["one\n", "two\n"]
    assert run(api) == 0
    out, err = capsys.readouterr()
    assert out == "one\ntwo\n"
    name = job_of(api)
    assert f"lstm-sweep: job {name} on {api.address}; Ctrl-C stops it\n" in err
    [(package, content)] = api.packages.items()
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.read("data/x") == b"content"
    assert yaml.safe_load(archive.read("mlflow.yaml")) == {
        "experiment": "mine", "request_timeout_s": 7
    }  # fmt: skip
    assert api.submitted[name]["runtime_env"]["working_dir"] == f"gcs://{package}"


def test_a_package_that_is_there_is_not_uploaded_again(api: JobApi) -> None:
    assert (run(api), run(api)) == (0, 0)
    assert sum(asked.startswith("PUT") for asked in api.asked) == 1
    assert len(api.submitted) == 2


def test_a_head_that_takes_no_job_yet_is_asked_again(
    api: JobApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.instead = [("/api/jobs/", (500, "No available agent"))] * 2
    assert run(api) == 0
    assert len(api.submitted) == 1
    monkeypatch.setattr(cluster, "SUBMIT_WITHIN_S", 0.0)
    api.instead = [("/api/jobs/", (500, "No available agent"))] * 2
    with pytest.raises(InputError, match="HTTP 500: No available agent: expected the dashboard"):
        run(api)


def test_the_job_gets_the_store_its_login_and_time_to_end(
    api: JobApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pass$word")
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN", raising=False)
    monkeypatch.setenv("COLUMNS", "133")
    run(api)
    job = api.submitted[job_of(api)]
    given = job["runtime_env"]["env_vars"]
    assert base64.b64decode(given.pop("LSTM_SWEEP_EXPORTS")).decode().splitlines() == [
        "export MLFLOW_TRACKING_USERNAME=ada",
        "export MLFLOW_TRACKING_PASSWORD='pass$word'",
        "export LSTM_SWEEP_STOP_WITHIN_S=60",
        "export LSTM_SWEEP_SETTINGS=mlflow.yaml",
        "export MLFLOW_TRACKING_URI=http://127.0.0.1:5000",
    ]
    assert given == {
        "COLUMNS": "133",
        "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",
        "RAY_JOB_STOP_WAIT_TIME_S": "60",
    }
    assert "pass" not in str(job)


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ({"status": "FAILED", "driver_exit_code": 2}, 2, ""),
        (
            {"status": "FAILED", "driver_exit_code": -9},
            137,
            "process was killed by SIGKILL; `resume`",
        ),
        ({"status": "FAILED", "driver_exit_code": 127}, 1, "to be installed on the head"),
        ({"status": "FAILED", "message": "Traceback\nno package"}, 1, "has failed: no package"),
        ({"status": "FAILED"}, 1, "has failed: no reason is known"),
        ({"status": "STOPPED"}, 143, ""),
    ],
)
def test_the_exit_code_is_that_of_the_driver(
    api: JobApi, capsys: Capture, state: dict[str, object], code: int, said: str
) -> None:
    api.states = [state]
    assert run(api) == code
    assert said in capsys.readouterr().err


def test_a_document_alone_is_on_standard_output(api: JobApi, capsys: Capture) -> None:
    api.lines = ["a line\n", f"{RESULT}\n"]
    assert run(api, as_json=True) == 0
    out, err = capsys.readouterr()
    assert out == f"{RESULT}\n"
    assert "a line\n" in err
    assert api.submitted[job_of(api)]["entrypoint"].endswith(" launch --on=ray --json")


def test_a_job_that_waits_says_why_once(api: JobApi, capsys: Capture) -> None:
    pending = {"status": "PENDING", "message": "no room\n"}
    api.states = [pending, pending, {"status": "SUCCEEDED"}]
    assert run(api) == 0
    assert capsys.readouterr().err.count("lstm-sweep: the job has not begun: no room") == 1


def test_answers_that_fail_are_asked_for_again(api: JobApi, capsys: Capture) -> None:
    api.states = [{"status": "RUNNING"}, {"status": "SUCCEEDED"}]
    api.lines = ["one\n"]
    api.instead = [("/logs", (500, "no agent"))] * 20
    assert run(api) == 0
    out, err = capsys.readouterr()
    assert out == "one\n"
    assert err.count("no answer") == err.count("answers again") == 1


def test_a_connection_that_breaks_is_made_again(api: JobApi, capsys: Capture) -> None:
    api.states = [{"status": "RUNNING"}] * 4 + [{"status": "SUCCEEDED"}]
    api.lines = ["one\n"]

    def reset() -> None:
        raise ConnectionResetError

    for request in (6, 8, 9):
        api.before[request] = reset
    assert run(api) == 0
    assert capsys.readouterr().out == "one\n"


def test_a_head_that_stays_away_is_given_up(
    api: JobApi, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "GIVE_UP_S", 0.2)
    api.states = [{"status": "RUNNING"}]
    api.instead = [("/logs", (500, "no agent"))] * 10_000
    assert run(api) == 1
    assert "may go on, which `lstm-sweep sweeps` shows" in capsys.readouterr().err


def test_a_head_that_was_started_again_knows_no_job(api: JobApi, capsys: Capture) -> None:
    api.states = [{"status": "RUNNING"}]
    api.before[7] = api.submitted.clear
    assert run(api) == 1
    assert "any more: the head was started again" in capsys.readouterr().err


def test_a_token_that_is_refused_later_ends_it_in_a_line(api: JobApi, capsys: Capture) -> None:
    api.states = [{"status": "RUNNING"}]
    api.before[8] = lambda: setattr(api, "token", "changed")
    assert run(api) == 1
    assert f"{api.address} wants a token" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_job_and_waits_for_its_end(
    api: JobApi, capsys: Capture, number: int
) -> None:
    running = {"status": "RUNNING"}
    api.states = [running, running, running, {"status": "STOPPED"}]
    api.lines = [f"{RESULT}\n"]
    api.before[6] = lambda: os.kill(os.getpid(), number)
    assert run(api, as_json=True) == 128 + number
    assert api.stops > 0
    out, err = capsys.readouterr()
    assert out == f"{RESULT}\n"
    assert err.count("stopping the job") == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_sweep_that_ends_before_it_is_stopped_keeps_its_exit_code(api: JobApi) -> None:
    api.states = [{"status": "RUNNING"}, {"status": "FAILED", "driver_exit_code": 1}]
    api.before[5] = lambda: os.kill(os.getpid(), signal.SIGINT)
    assert run(api) == 1


def test_a_second_signal_leaves_at_once(api: JobApi, capsys: Capture) -> None:
    api.states = [{"status": "RUNNING"}]
    for request in (6, 12):
        api.before[request] = lambda: os.kill(os.getpid(), signal.SIGINT)
    assert run(api) == 130
    assert api.stops > 0
    assert "lstm-sweep: left; the job" in capsys.readouterr().err


def test_a_signal_before_the_job_is_submitted_leaves_none(api: JobApi) -> None:
    api.before[2] = lambda: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Interrupted) as caught:
        run(api)
    assert caught.value.code == 128 + signal.SIGTERM
    assert api.submitted == {}


def test_a_head_that_does_not_answer_at_first_is_bad_input(api: JobApi) -> None:
    api.version = (503, "starting")
    with pytest.raises(InputError, match=r"HTTP 503: starting: expected the dashboard of a Ray"):
        run(api)


@pytest.mark.parametrize(
    ("uri", "head", "said"),
    [
        ("sqlite:////home/me/mlflow.db", "http://127.0.0.1:1",
         r"the store is /home/me/mlflow.db \(test\), which is not on the cluster: expected a"),
        ("postgresql://me@db/runs", "http://127.0.0.1:1", r"the store is postgresql://me@db/runs"),
        ("http://localhost:5000", "http://head:8265",
         r"the store is http://localhost:5000 \(test\), which on head is another one: expected"),
    ],
)  # fmt: skip
def test_a_store_that_the_cluster_cannot_reach_is_refused(uri: str, head: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        cluster_job.run(JobFiles([]), Settings(uri, None, "e", "test"), head, as_json=False)


def test_too_much_data_are_refused_with_what_to_do(
    api: JobApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "UPLOAD_LIMIT", 100)
    with pytest.raises(InputError, match="once they are at a path that the") as caught:
        run(api)
    assert ", or --data head:PATH, once" in for_command_line(caught.value)
    assert api.packages == {}


@pytest.mark.parametrize("command", [["launch", "--data", "x.txt"], ["resume", "s"]])
def test_the_commands_send_a_sweep_to_the_head_that_is_named(
    api: JobApi, tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # which is not needed here
    (tmp_path / "x.txt").write_text("abc")
    api.states = [{"status": "FAILED", "driver_exit_code": 3}]
    options = ["--trials", "40", "--on", "ray", "--address", api.address, "--json"]
    environment = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000", "RAY_AUTH_TOKEN": "planted"}
    api.token = "planted"
    assert run_here(*command, *options, cwd=tmp_path, **environment).code == 3
    words = shlex.split(api.submitted[job_of(api)]["entrypoint"])
    there = words[words.index("lstm-sweep") + 1 :]
    assert there[0] == command[0] and there[-1] == "--json"
    assert {"--trials=40", "--on=ray"} < set(there)
    assert any("address" in word for word in there) is False


def test_nothing_is_sent_anywhere_without_on_ray(api: JobApi, tmp_path: Path) -> None:
    for command in (["launch", "--data", "python-docs"], ["resume", "s"]):
        done = run_here(*command, "--address", api.address, cwd=tmp_path)
        assert done.code == 2
        assert done.err.startswith(f"lstm-sweep: --address is '{api.address}', with")
        assert done.err.count("\n") == 1
    assert api.asked == []
