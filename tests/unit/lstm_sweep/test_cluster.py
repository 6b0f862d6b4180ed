"""Sweeps that the Python API sends to a head, which the tests play; `acceptance` has a real one."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import lstm_sweep as ls
from lstm_sweep._cluster import run_there
from lstm_sweep._launch import spec_of
from lstm_sweep.search.api import cluster, job_files
from lstm_sweep.search.api.job_files import JobFiles
from lstm_sweep.search.process.interrupts import NEVER
from lstm_sweep.search.store.settings import Settings
from tests.conftest import write_text
from tests.job_api import JobApi, answering

SERVER = Settings("http://127.0.0.1:5000", None, "mine", "test")
RESULT = json.dumps({"sweep": "a", "state": "finished"})


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobApi]:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", SERVER.tracking_uri)
    monkeypatch.setattr(cluster, "LOOK_EVERY_S", 0.01)
    with answering(JobApi()) as api:
        yield api


def test_launch_sends_what_it_was_given(
    api: JobApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "words.txt")
    api.lines = ["lstm-sweep: a line\n", RESULT]
    space: dict[str, Any] = {"layer_size": [8, 16], "dropout": "0..0.5"}
    sweep = ls.launch(
        data="words.txt", space=space, set={"dropout": 0.2}, split=(8, 1, 1), ladder=False,
        trials=7, on="ray", address=api.address,
    )  # fmt: skip
    assert sweep.name == "a"
    [job] = api.submitted.values()
    assert "lstm-sweep launch sweep.yaml --data=data/words.txt --json" in job["entrypoint"]
    [content] = api.packages.values()
    files = zipfile.ZipFile(io.BytesIO(content))
    assert files.read("data/words.txt") == (tmp_path / "words.txt").read_bytes()
    written = yaml.safe_load(files.read("sweep.yaml"))
    assert {name: written[name] for name in written if name != "space"} == {
        "split": [0.8, 0.1, 0.1], "ladder": False, "trials": 7, "on": "ray"
    }  # fmt: skip
    given = {"data": "words.txt", "split": (8, 1, 1), "ladder": False, "trials": 7, "on": "ray"}
    expected = spec_of({**given, "space": space, "set": {"dropout": 0.2}})
    assert spec_of({**written, "data": "words.txt"}) == expected
    assert capfd.readouterr() == ("", "")


def test_resume_goes_on_there_and_shows_its_lines(
    api: JobApi, capfd: pytest.CaptureFixture[str]
) -> None:
    api.lines = ["lstm-sweep: a \x1b line\n", f"{RESULT}\n"]
    ls.Sweep("a", SERVER).resume(trials=9, on="ray", address=api.address, progress=True)
    [job] = api.submitted.values()
    assert "lstm-sweep resume a --trials=9 --on=ray --json" in job["entrypoint"]
    exports = base64.b64decode(job["runtime_env"]["env_vars"]["LSTM_SWEEP_EXPORTS"]).decode()
    assert f"export MLFLOW_TRACKING_URI={SERVER.tracking_uri}\n" in exports
    out, err = capfd.readouterr()
    assert (out, err) == ("", "lstm-sweep: a \\x1b line\n")


def test_a_template_goes_along(api: JobApi) -> None:
    template = Path(__file__).parents[3] / "tests/templates/dense.py"
    fields = {"template": template, "trials": 2, "on": "ray"}
    files = job_files.of_spec(spec_of(fields), fields)
    assert files.words == ["launch", "sweep.yaml", "--template=template/dense.py"]
    content = files.files["sweep.yaml"]
    assert isinstance(content, bytes)
    assert yaml.safe_load(content) == {"trials": 2, "on": "ray"}
    assert files.files["template/dense.py"] == template


@pytest.mark.parametrize(
    ("code", "lines", "expected", "said"),
    [
        (2, ["lstm-sweep: name 'a' is taken\n"], ls.InputError, "{head}: name 'a' is taken"),
        (1, ["lstm-sweep: the store is gone\n"], ls.StoreError, "no result: the store is gone"),
        (127, [], ls.StoreError, "no result: not found"),
        (None, [], ls.StoreError, "no result: not found"),
    ],
)
def test_a_job_without_a_result_is_an_error_that_says_why(
    api: JobApi, code: int | None, lines: list[str], expected: type[Exception], said: str
) -> None:
    api.lines = lines
    api.states = [{"status": "FAILED", "driver_exit_code": code, "message": "not found"}]
    with pytest.raises(expected) as caught:
        run_there(JobFiles(["launch"]), api.address, SERVER, NEVER, progress=False)
    assert str(caught.value).endswith(said.format(head=api.address))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"address": "http://head:8265"}, "address is 'http://head:8265', with on='local': "),
        ({"on": "ray", "address": "ftp://x"}, "address is 'ftp://x': expected http://HEAD:8265"),
        ({"on": "ray", "address": 3}, "address is 3: expected a text, such as 'http://HEAD:8265'"),
        ({"on": "ray", "address": "http://"}, "address is 'http://': expected the address of"),
    ],
)
def test_an_address_that_cannot_be_is_refused_in_a_line(fields: dict[str, str], said: str) -> None:
    with pytest.raises(ls.InputError) as caught:
        ls.launch(data="python-docs", **fields)  # type: ignore[arg-type]
    assert str(caught.value).startswith(said)
