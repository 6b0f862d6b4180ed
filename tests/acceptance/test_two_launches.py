"""Two launches on one machine share its slots, as processes that know nothing of each other."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.engines import hardware
from lstm_sweep.search.engines.local import SlotSharing
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.values.trial import Slot
from tests.chaos.processes import MARK, kill, marked
from tests.conftest import TINY, write_text
from tests.launcher import PROGRAM
from tests.postgres import do_without

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

#: on a quiet machine nothing takes so long
WITHIN_S = 1200.0
#: what depends on the machine's speed, of what a round reports
TIMED = ("round_seconds", "symbols_per_second", "scoring_seconds")


@pytest.fixture(autouse=True)
def two_cores() -> None:
    """A trial has a core to itself, so on a single one no two launches run one at a time."""
    if len(os.sched_getaffinity(0)) < 2 or not hardware.pins():
        do_without("cores", "this process may not use two CPU cores of its own, expected so")


@contextmanager
def all_gone(marks: Sequence[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Yield a list for programs; at the end they and all processes with these marks are gone."""
    running = list[subprocess.Popen[bytes]]()
    try:
        yield running
    finally:
        for mark in marks:
            for one in marked(mark):
                kill(one.pid)
        for process in running:
            process.wait(20)


def launched(folder: Path, slots: Path, mark: str) -> subprocess.Popen[bytes]:
    """A sweep of trials that take a while; what it says goes to `log` in its folder."""
    options = ["--trials", "3", "--epochs", "20", "--algo", "random", "--ladder", "off"]
    options += ["--name", "s", "--prior", "off", "--json", "--progress", "lines"]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [str(PROGRAM), "launch", "--data", str(folder / "words.txt"), *TINY, *options],
            cwd=folder,
            env=os.environ | {MARK: mark, "LSTM_SWEEP_SLOTS": str(slots)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def waits(folder: Path) -> bool:
    """Whether a sweep has said that it waits for a slot."""
    log = (folder / "log").read_text(encoding="utf-8")
    return "waiting for a slot: other sweeps use all 2 slots" in log


def cores_of_workers(mark: str) -> dict[int, int]:
    """The core of each worker of a sweep that has taken its slot, by its process."""
    servers = [one for one in marked(mark) if "forkserver" in one.line]
    own = {one.pid for one in servers}
    found = dict[int, int]()
    for one in servers:
        if one.parent in own:
            try:
                cores = os.sched_getaffinity(one.pid)
            except ProcessLookupError:
                continue
            if len(cores) == 1:
                [found[one.pid]] = cores
    return found


def rounds_of(folder: Path) -> list[list[dict[str, Any]]]:
    """What does not depend on the time of each round of the first trials of a sweep."""
    settings = load(folder, {})
    found = []
    for record in Local(settings).trials("s"):
        assert record.outcome == "complete"
        rows = Local(settings).show(record.id).by_epoch
        kept = [{k: v for k, v in row.items() if k not in TIMED} for row in rows]
        found.append((record.number, kept))
    return [kept for _, kept in sorted(found, key=lambda one: one[0])]


def test_two_launches_share_the_cores_and_change_no_bit_of_each_other(
    workplace: Callable[[str], Path], tmp_path: Path
) -> None:
    folders = [workplace("first"), workplace("second")]
    marks = [uuid.uuid4().hex for _ in folders]
    for folder in folders:
        write_text(folder / "words.txt")
    seen = list[tuple[list[int], list[int]]]()
    until = time.monotonic() + WITHIN_S
    (tmp_path / "slots").mkdir()
    with all_gone(marks) as running:
        mine = os.sched_getaffinity(0)
        cores = set(sorted(mine)[:2])
        every = SlotSharing([Slot(0, core=core) for core in cores], tmp_path / "slots")
        assert all(every.take()[0] for _ in cores)
        os.sched_setaffinity(0, cores)
        try:
            for folder, mark in zip(folders, marks, strict=True):
                running.append(launched(folder, tmp_path / "slots", mark))
        finally:
            os.sched_setaffinity(0, mine)
        while not all(waits(folder) for folder in folders):
            assert time.monotonic() < until
            time.sleep(0.3)
        every.close()  # now both begin
        while any(one.poll() is None for one in running):
            assert time.monotonic() < until
            before, others = map(cores_of_workers, marks)
            both = before.items() & cores_of_workers(marks[0]).items()  # those of one moment
            seen.append(([core for _, core in both], list(others.values())))
            time.sleep(0.3)
    assert [one.returncode for one in running] == [0, 0]
    for own, theirs in seen:
        assert len({*own, *theirs}) == len(own) + len(theirs), "no core has two workers"
        assert cores.issuperset([*own, *theirs])
    first, second = map(rounds_of, folders)
    assert len(first) == 3
    assert first == second, "whichever has waited, both searches are the same"
