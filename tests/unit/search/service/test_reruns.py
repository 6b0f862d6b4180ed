from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.service.answers import ProblemError
from lstm_sweep.search.service.auth import User
from lstm_sweep.search.service.bundles import Bundles
from lstm_sweep.search.service.guard import Audit
from lstm_sweep.search.service.jobs import Reruns, Wanted
from lstm_sweep.search.service.logs import Seldom, cut_open_log, old_of, rotate
from lstm_sweep.search.service.settings import Limits, Role, checked_roots, service_folder
from lstm_sweep.search.service.supervisor import Supervisor
from lstm_sweep.search.store.faults import NoSuchRunError
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.tracking import MlflowStore
from tests.service_app import child_of
from tests.unit.search.service.test_supervisor import SWEEP, Time, supervisor_of

WANTED = Wanted("s/1", "0" * 32, ("--set=dropout=0.1",))


def runs(rerun_id: str) -> bool:
    """No process of any rerun runs."""
    return False


@pytest.mark.parametrize("broken", ["", '{"trial": "s/'])
def test_a_submission_that_was_cut_off_stops_no_other_rerun(tmp_path: Path, broken: str) -> None:
    cut_off, whole = (Reruns(tmp_path, runs).submit(WANTED, "ann") for _ in "ab")
    (tmp_path / cut_off / "asked.json").write_text(broken)
    reruns = Reruns(tmp_path, runs)
    assert [one.run_id for one in reruns.queue()] == [whole]
    assert reruns.get(whole).state == "queued"
    later = reruns.submit(WANTED, "ann")
    (tmp_path / later / "asked.json").write_text(broken)
    assert [one.run_id for one in reruns.queue()] == [whole]
    with pytest.raises(NoSuchRunError, match="there is none"):
        reruns.get(cut_off)


def test_what_is_asked_for_is_on_the_disk_before_it_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[int]()
    monkeypatch.setattr(os, "fsync", synced.append)
    Reruns(tmp_path, runs).submit(WANTED, "ann")
    assert len(synced) == 1


def supervised(
    folder: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[Supervisor, Time]:
    """A supervisor whose processes are a script of the shell, and its clock."""
    program = folder / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    clock = Time()
    return supervisor_of(folder, clock), clock


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ('echo "{\\"verdict\\": \\"identical\\"}"', ("done", {"verdict": "identical"}, None, 0)),
        ('echo "lstm-sweep: no such data" >&2; exit 2', ("failed", None, "no such data", 2)),
        ("kill -9 $$", ("failed", None, "its process was ended", -9)),
    ],
)
def test_a_rerun_runs_once_on_a_slot_that_it_keeps_and_its_end_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str,
    expected: tuple[str, object, str | None, int],
) -> None:  # fmt: skip
    wait = f'echo "$@" > {tmp_path}/told; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done'
    made, clock = supervised(tmp_path, f"{wait}; {script}", monkeypatch)
    reruns = made.reruns
    one = reruns.submit(WANTED, "ann")
    assert reruns.get(one).state == "queued"
    made.look([])
    assert reruns.get(one).state == "running"
    others = [replace(SWEEP, run_id=number * 32, owner="bob", workers=1) for number in "12"]
    for _ in range(3):
        clock.now += 1_000.0
        made.look(others)
        assert made.turns.held(one) == 1
        assert sum(made.turns.held(sweep.run_id) for sweep in others) == 1
    waiting = next(sweep for sweep in others if not made.turns.held(sweep.run_id))
    assert "3 sweeps and reruns of 2 users share 2 slots" in str(made.why(waiting.run_id, "queued"))
    for sweep in others:
        made.end([sweep.run_id])
    (tmp_path / "go").touch()
    child_of(made, one).wait(10)
    assert reruns.get(one).state == "running", "nobody has noted its end"
    made.look([])
    found = reruns.get(one)
    assert (found.state, found.result, found.why, found.exit_code) == expected
    assert reruns.queue() == []
    assert Reruns(tmp_path / "reruns", runs).queue() == []


def test_a_rerun_that_has_ended_while_no_service_was_there_is_found_so(tmp_path: Path) -> None:
    with_process = set[str]()
    reruns = Reruns(tmp_path, with_process.__contains__)
    one = reruns.submit(WANTED, "ann")
    with_process.add(one)
    out, errors = reruns.open(one)
    with out, errors:
        assert reruns.get(one).state == "running"
        with_process.clear()
        assert reruns.get(one).state == "failed"
        out.write(b"{}")
    assert reruns.get(one).state == "done"


def test_one_export_is_made_at_a_time_and_a_user_waits_for_one(tmp_path: Path) -> None:
    (tmp_path / "bundles").mkdir()
    bundles = Bundles(tmp_path / "bundles", load(tmp_path, {}), Limits())
    had, may = list[str](), threading.Event()

    async def export(user: str) -> None:
        def made() -> None:
            had.append(user)
            assert may.wait(20)

        await bundles.in_turn(user, made)

    async def all_of_them() -> None:
        first = asyncio.create_task(export("ann"))
        while not had:
            await asyncio.sleep(0.01)
        second = asyncio.create_task(export("bob"))
        await asyncio.sleep(0.05)
        assert had == ["ann"]
        for user in ("ann", "bob"):
            with pytest.raises(ProblemError) as refused:
                await export(user)
            assert refused.value.status == 429
        may.set()
        await asyncio.gather(first, second)
        await export("ann")

    asyncio.run(all_of_them())
    assert had == ["ann", "bob", "ann"]


@pytest.mark.parametrize("broken", ["", '{"sha256": "0', '{"trial": "s/1"}', '{"sha256": "x"}'])
def test_a_bundle_of_which_nothing_is_known_is_not_there(tmp_path: Path, broken: str) -> None:
    bundles = Bundles(tmp_path / "bundles", load(tmp_path, {}), Limits())
    file, record = tmp_path / "bundles" / "x.zip", Mock(sweep="s", number=1)
    file.touch()
    for about, is_there in (('{"sha256": "00"}', True), (broken, False)):
        file.with_suffix(".json").write_text(about)
        assert bool(bundles._read(record, file)) == is_there


def test_a_bundle_that_would_not_fit_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = Bundles(tmp_path / "bundles", load(tmp_path, {}), Limits(bundles_bytes=1_000))
    monkeypatch.setattr(bundles, "_records", lambda _: [Mock(id="s/1", run_id="r", sweep="s")])
    monkeypatch.setattr(MlflowStore, "bytes_of", lambda *_: 200)
    with pytest.raises(ProblemError, match="takes 6 times as many: expected at most 1,000"):
        bundles.make("s/1", "keras", unchecked=False)


def test_the_folder_is_the_users_alone(tmp_path: Path) -> None:
    store = Settings(f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}", None, "test", "test")
    own = service_folder(store, tmp_path)
    assert own == tmp_path / "store" / "lstm-sweep-service"
    assert own.stat().st_mode & 0o077 == 0
    own.chmod(0o777)
    with pytest.raises(InputError, match="no other user may write to"):
        service_folder(store, tmp_path)
    server = Settings("http://127.0.0.1:5000", None, "test", "test")
    assert service_folder(server, tmp_path) == tmp_path / "lstm-sweep-service"


def test_roots_are_folders(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert checked_roots((str(tmp_path / "link"),)) == (tmp_path,)
    (tmp_path / "file").touch()
    for wrong in ("", str(tmp_path / "none"), str(tmp_path / "file"), "\0"):
        with pytest.raises(InputError, match="--data-root"):
            checked_roots((wrong,))


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
