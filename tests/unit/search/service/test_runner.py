"""Drivers as processes; what they run is a script in place of the driver's module."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lstm_sweep.search.engines.slot_sharing import read_allotment
from lstm_sweep.search.process.signals import SERVICE_STOP_S
from lstm_sweep.search.service import driver
from lstm_sweep.search.service.runner import (
    AGAIN_S,
    FORGIVEN_S,
    HANGS_S,
    UNSEEN_S,
    WITHOUT_LEASE_S,
    Beats,
    Runner,
    write_note,
)
from lstm_sweep.search.sweep.lease import STALE_S, Holder
from tests.drivers import let_drivers_idle

RUN = "0" * 32
#: locks its file as a driver does, says so, and sleeps
SCRIPT = (
    "import fcntl, os, sys, time\n"
    "descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
    "fcntl.flock(descriptor, fcntl.LOCK_EX)\n"
    "os.pwrite(descriptor, str(os.getpid()).encode(), 0)\n"
    "print('locked', flush=True)\n"
    "time.sleep(600)\n"
)


class Time:
    """A clock that tests set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def made(tmp_path: Path, clock: Time) -> Runner:
    return Runner(tmp_path, tmp_path, clock)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A driver that another service has started."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / f"{RUN}.lock")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def test_a_driver_of_an_earlier_service_is_found_and_ended(
    made: Runner, other: subprocess.Popen[str]
) -> None:
    assert made.pid(RUN) == other.pid
    assert not made.was_started(RUN)
    made.close()
    assert other.wait(10) == -signal.SIGTERM
    assert made.pid(RUN) is None


def test_one_that_does_not_end_is_killed(
    made: Runner, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.kill(other.pid, signal.SIGSTOP)
    made.end([RUN], within_s=0.2)
    assert other.wait(10) < 0, "it was stopped, so that SIGTERM alone did nothing"


def test_a_second_driver_of_a_sweep_leaves_at_once(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    assert driver.main("s", tmp_path / f"{RUN}.lock") == driver.DONE
    assert other.poll() is None


def test_a_driver_that_dies_is_started_again_later_each_time(
    made: Runner, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    waits = []
    for _ in range(4):
        assert made.may_start_in(RUN) == 0
        made.start(RUN)
        assert made.was_started(RUN)
        gone(lambda: made.pid(RUN) is None)
        made.note_death(RUN)
        assert not made.was_started(RUN)
        waits.append(made.may_start_in(RUN))
        clock.now += waits[-1]
    assert waits == [AGAIN_S, 2 * AGAIN_S, 4 * AGAIN_S, 8 * AGAIN_S]
    assert made.deaths(RUN) == 4
    made.start(RUN)
    clock.now += FORGIVEN_S + 1
    made.note_death(RUN)
    assert (made.deaths(RUN), made.may_start_in(RUN)) == (1, AGAIN_S)


def test_deaths_of_a_driver_count_in_a_row_only_while_its_sweep_gets_no_further(
    made: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    counts = []
    with (tmp_path / f"{RUN}.lock").open("wb") as file:
        for reached in ((0, 4), (0, 9), (1, 2), (1, 2), (0, 9), (1, 3)):
            write_note(file.fileno(), reached)
            made.start(RUN)
            made.note_death(RUN)
            counts.append(made.deaths(RUN))
    assert counts == [1, 1, 1, 2, 3, 1]


def test_a_driver_is_told_how_long_it_has_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, log = tmp_path / "driver", tmp_path / f"{RUN}.log"
    script.write_text('#!/bin/sh\necho "$LSTM_SWEEP_STOP_WITHIN_S"\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    for stop_s, told in ((SERVICE_STOP_S, "10"), (60.0, "50")):
        runner = Runner(tmp_path, tmp_path, stop_within_s=stop_s)
        runner.start(RUN)
        gone(lambda: runner.pid(RUN) is None)  # noqa: B023
        assert log.read_text().splitlines()[-1] == told


def test_no_driver_is_started_once_all_are_ended(
    made: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_drivers_idle(tmp_path, monkeypatch)
    made.start(RUN)
    child = made._children[RUN]
    made.close()
    assert child.wait(10) == -signal.SIGTERM
    made.start(RUN)
    assert made.pid(RUN) is None


def gone(holds: Callable[[], bool]) -> None:
    """Wait for something that takes a moment."""
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_what_is_asked_for_by_the_service_counts_as_no_death(
    made: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    made.start(RUN)
    made.terminate(RUN)
    assert not made.was_started(RUN)


def test_allotments_demands_and_last_words_are_files(made: Runner, tmp_path: Path) -> None:
    assert made.last_allotted(RUN) is None
    made.allot(RUN, 2, "because", since=900.0)
    assert read_allotment(tmp_path / f"{RUN}.slots") == (2, "because")
    later = Runner(tmp_path, tmp_path, lambda: 50.0)
    slots, since = later.last_allotted(RUN) or (0, 0.0)
    assert slots == 2
    assert since == pytest.approx(-50.0, abs=30.0), "100 s ago"
    assert made.demand(RUN) is None
    (tmp_path / f"{RUN}.demand").write_text("3")
    assert (made.demand(RUN), made.surplus(RUN)) == (3, 0)
    (tmp_path / f"{RUN}.surplus").write_text("2")
    assert made.surplus(RUN) == 2
    (tmp_path / f"{RUN}.log").write_text("first\nlast\n")
    assert made.last_words(RUN) == "last"
    (tmp_path / f"{RUN}.lock").write_text("1 2")
    made.forget(RUN)
    assert [file.name for file in tmp_path.iterdir()] == [f"{RUN}.log"]


DRIVER = Holder("far", "another machine", 7, 0, "token")


def seen_for(beats: Beats, driver: Holder | None, seconds: float, since: float = 0.0) -> float:
    """Look at a lease each second for so long; for how long it was silent by the last look."""
    steps = range(int(seconds) + 1)
    return [beats.silent_s(RUN, driver, since + second) for second in steps][-1]


def test_a_driver_on_another_machine_lives_as_long_as_it_renews_its_lease() -> None:
    beats = Beats()
    assert seen_for(beats, DRIVER, STALE_S - 1) == STALE_S - 1
    assert beats.lives(RUN, DRIVER, STALE_S - 1)
    renewed = replace(DRIVER, beat=1)
    assert seen_for(beats, renewed, STALE_S, 100.0) == STALE_S
    assert not beats.lives(RUN, renewed, 100.0 + STALE_S)
    assert beats.lives("other", renewed, 100.0 + STALE_S)


def test_a_driver_hangs_once_its_lease_is_silent_for_long_and_later_if_it_has_none() -> None:
    beats = Beats()
    assert seen_for(beats, DRIVER, HANGS_S - 1) == HANGS_S - 1
    assert not beats.hangs(RUN, DRIVER, HANGS_S - 1)
    assert beats.hangs(RUN, DRIVER, HANGS_S)
    assert not beats.hangs(RUN, None, HANGS_S)
    seen_for(beats, None, WITHOUT_LEASE_S, HANGS_S)
    assert beats.hangs(RUN, None, HANGS_S + WITHOUT_LEASE_S)


def test_while_nobody_could_look_no_driver_begins_to_hang() -> None:
    beats = Beats()
    beats.silent_s(RUN, DRIVER, 0.0)
    assert beats.silent_s(RUN, DRIVER, 10_000.0) == UNSEEN_S, "the store was away meanwhile"


def test_a_driver_that_hangs_is_told_to_end_and_then_killed_and_its_end_is_a_death(
    made: Runner, clock: Time, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_drivers_idle(tmp_path, monkeypatch)
    made.start(RUN)
    child = made._children[RUN]
    os.kill(child.pid, signal.SIGSTOP)
    made.end_hanging(RUN)
    clock.now += 5
    made.end_hanging(RUN)
    assert made.alive() == [RUN]
    clock.now += SERVICE_STOP_S
    made.end_hanging(RUN)
    assert child.wait(10) == -signal.SIGKILL
    assert made.was_started(RUN)
    assert made.last_words(RUN) == "it hung, and was ended by the service"
