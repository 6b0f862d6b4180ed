from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from lstm_sweep.search.client.connection import SERVER, TOKEN
from lstm_sweep.search.service import reruns as module
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.reruns import Reruns, Wanted
from lstm_sweep.search.service.settings import Limits

WANTED = Wanted("s/1", "0" * 32, {})


@pytest.mark.parametrize("broken", ["", '{"trial": "s/'])
def test_a_submission_that_was_cut_off_stops_no_other_rerun(tmp_path: Path, broken: str) -> None:
    folder = tmp_path / "reruns"
    cut_off, whole = (Reruns(folder, tmp_path, Limits()).submit(WANTED).id for _ in "ab")
    (folder / cut_off / "asked.json").write_text(broken)
    reruns = Reruns(folder, tmp_path, Limits(waiting_reruns=2))
    assert reruns.get(whole).state == reruns.submit(WANTED).state == "queued"
    with pytest.raises(ProblemError, match="there is none"):
        reruns.get(cut_off)


def test_what_is_asked_for_is_on_the_disk_before_it_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[int]()
    monkeypatch.setattr(os, "fsync", synced.append)
    Reruns(tmp_path / "reruns", tmp_path, Limits()).submit(WANTED)
    assert len(synced) == 1


def test_what_has_ended_is_read_on_request_alone_and_dropped_while_the_service_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROGRAM", (sys.executable, "-c", "print({})"))
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    reruns = Reruns(tmp_path / "reruns", tmp_path, Limits())
    reruns.start()
    first = ended(reruns, reruns.submit(WANTED).id)
    (tmp_path / "reruns" / first / "asked.json").write_text("none")
    second = ended(reruns, reruns.submit(WANTED).id)
    os.utime(tmp_path / "reruns" / second, (0, 0))
    monkeypatch.setattr(module, "DROP_EVERY_S", 0.0)
    until = time.monotonic() + 60
    while list((tmp_path / "reruns").iterdir()):
        assert time.monotonic() < until
        time.sleep(0.01)
    reruns.end()


def ended(reruns: Reruns, rerun_id: str) -> str:
    """A rerun, once it has ended, and nobody reads it any more."""
    until = time.monotonic() + 60
    while reruns.get(rerun_id).state in ("queued", "running") or rerun_id in reruns._open:
        assert time.monotonic() < until
        time.sleep(0.01)
    return rerun_id


def test_the_command_asks_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (SERVER, TOKEN, "OTHER"):
        monkeypatch.setenv(name, "given")
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    monkeypatch.setattr(module, "PROGRAM", (sys.executable, "-c", program))
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    reruns = Reruns(tmp_path / "reruns", tmp_path, Limits())
    reruns.start()
    rerun_id, until = reruns.submit(WANTED).id, time.monotonic() + 60
    while (found := reruns.get(rerun_id)).state in ("queued", "running"):
        assert time.monotonic() < until
        time.sleep(0.01)
    reruns.end()
    assert found.result
    assert {name: found.result.get(name) for name in (SERVER, TOKEN)} == {SERVER: None, TOKEN: None}
    assert found.result["OTHER"] == "given"
