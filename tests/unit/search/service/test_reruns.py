from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lstm_sweep.search.service.jobs import Reruns, Wanted
from lstm_sweep.search.service.supervisor import Supervisor
from lstm_sweep.search.store.faults import NoSuchRunError
from tests.drivers import child_of
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


def test_what_has_ended_is_dropped_in_the_end_while_the_service_runs(tmp_path: Path) -> None:
    reruns = Reruns(tmp_path, runs)
    ended = reruns.submit(WANTED, "ann")
    for file in reruns.open(ended):
        file.close()
    reruns.note_end(ended, 0)
    assert reruns.queue() == []
    os.utime(tmp_path / ended, (0, 0))
    later = reruns.submit(WANTED, "ann")
    assert [one.name for one in tmp_path.iterdir()] == [later]


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
