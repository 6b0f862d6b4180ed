from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from lstm_sweep.search.service.auth import User
from lstm_sweep.search.service.guard import Audit
from lstm_sweep.search.service.logs import Seldom, cut_open_log, old_of, rotate
from lstm_sweep.search.service.settings import Role

ANN = User("ann", Role.RUN)


def test_what_happens_often_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    logs = Seldom(lambda: now[0])
    with caplog.at_level(logging.ERROR):
        for now[0] in (0.0, 1.0, 59.0, 60.0):
            logs.error("a", f"a at {now[0]:g}")
        logs.error("b", "b")
    assert [record.getMessage() for record in caplog.records] == ["a at 0", "a at 60", "b"]


def test_a_large_log_is_begun_anew_and_the_one_before_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rotate(file, 10)
    file.write_text("0123456789")
    rotate(file, 11)
    assert file.exists()
    rotate(file, 10)
    assert not file.exists() and old_of(file).read_text() == "0123456789"


def test_a_log_that_a_process_writes_is_cut_while_it_does(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    with file.open("ab", buffering=0) as opened:
        opened.write(b"x" * 90 + b"the end\n")
        cut_open_log(file, 1000)
        assert file.stat().st_size == 98
        cut_open_log(file, 98)
        opened.write(b"more\n")
    assert file.read_bytes() == b"more\n"  # and no hole before it
    assert old_of(file).read_bytes() == (b"x" * 90 + b"the end\n")[-49:]
    assert old_of(file).stat().st_mode & 0o077 == 0


def test_the_lists_of_changes_and_refusals_are_bounded_and_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lstm_sweep.search.service.guard.rotate", lambda file: rotate(file, 1000))
    audit = Audit(tmp_path)
    change = {"method": "POST", "path": "/x", "client": ("192.0.2.7", 1), "state": {"user": ANN}}
    audit.note(change, None, id="a")
    for _ in range(200):
        audit.note(change | {"state": {"user": None}}, 401, refused=True)
    audit.note(change, 201, id="a", made="/z", details={"trials": 1})
    first, second = map(json.loads, audit.file.read_text().splitlines())
    assert first["status"] is None and first["id"] == second["id"] == "a"
    assert (second["who"], second["status"], second["made"]) == ("ann", 201, "/z")
    assert sum(file.stat().st_size for file in tmp_path.glob("refusals*")) < 3000
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o077 == 0
        assert all(json.loads(line) for line in file.read_text().splitlines())
