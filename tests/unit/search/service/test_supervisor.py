"""Processes of sweeps; what they run is a script in place of the driver's module."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.driver.lease import STALE_S, Holder
from lstm_sweep.search.engines.base import read_quota
from lstm_sweep.search.process.signals import SERVICE_STOP_S
from lstm_sweep.search.service import queue, supervisor
from lstm_sweep.search.service.jobs import Log, write_note
from lstm_sweep.search.service.logs import last_line
from lstm_sweep.search.service.scheduler import TURN_S, Claim, QueuedJob, Turns, raised
from lstm_sweep.search.service.settings import ServiceSettings
from lstm_sweep.search.service.supervisor import (
    AGAIN_S,
    FORGIVEN_S,
    HANGS_S,
    MOST_DEATHS,
    UNSEEN_S,
    WITHOUT_LEASE_S,
    ClusterSlots,
    Process,
    Supervisor,
)
from lstm_sweep.search.values.spec import SERVER, TOKEN
from tests.service_app import child_of, let_drivers_idle

RUN = "0" * 32
SWEEP = QueuedJob(name="s", run_id=RUN, owner="ann", submitted=1.0, workers=2, trials_left=9)


class Time:
    """A clock that tests set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


def supervisor_of(folder: Path, clock: Callable[[], float], **more: Any) -> Supervisor:
    """One with two slots; `more` are settings."""
    store: Any = None
    settings = ServiceSettings(store=store, folder=folder, state=folder, slots=2, **more)
    return Supervisor(settings, Mock(), clock)


@pytest.fixture
def made(tmp_path: Path, clock: Time) -> Supervisor:
    return supervisor_of(tmp_path, clock)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Let a process do nothing more, so that only SIGKILL ends it."""
    os.kill(process.pid, signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)


def test_what_a_service_starts_is_a_module_of_the_program() -> None:
    assert all(map(find_spec, (supervisor.DRIVER, supervisor.PROGRAM, supervisor.COUNT)))


def test_a_process_of_another_service_is_known_and_has_none_beside_it(
    made: Supervisor, tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_drivers_idle(tmp_path, monkeypatch)
    made.start(RUN)
    child, other = child_of(made, RUN), supervisor_of(tmp_path, clock)
    other.start(RUN)
    assert (other.pid(RUN), RUN in other.processes) == (child.pid, False)
    stop(child)
    other.end([RUN], within_s=0.2)
    assert child.wait(10) == -signal.SIGKILL, "it was stopped, so that SIGTERM alone did nothing"
    assert other.pid(RUN) is None


def test_a_process_that_was_not_noted_is_taken_for_no_other_one(
    made: Supervisor, tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_drivers_idle(tmp_path, monkeypatch)
    file, write = tmp_path / f"{RUN}.lock", write_note
    file.write_text("1 0 0")  # of the driver before, whose number another process may have
    monkeypatch.setattr(supervisor, "write_note", lambda file, pid: pid or write(file, pid))
    made.start(RUN)
    child, other = child_of(made, RUN), supervisor_of(tmp_path, clock)
    other.look([SWEEP])
    assert (other.pid(RUN), other.runs(RUN), other.alive()) == (0, True, [])
    assert other.processes[RUN].child is None, "there is none beside it"
    other.look([])
    assert file.exists()
    Log(file)
    assert other.pid(RUN) == os.getpid(), "a driver says itself which process it is"
    child.kill()
    child.wait(10)
    assert other.pid(RUN) is None


def test_no_process_is_started_once_all_are_ended(
    made: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_drivers_idle(tmp_path, monkeypatch)
    made.look([SWEEP])
    child = child_of(made, RUN)
    made.close()
    assert child.wait(10) == -signal.SIGTERM
    made.start(RUN)
    assert made.pid(RUN) is None


def test_a_driver_that_dies_is_started_again_later_each_time_and_then_given_up(
    made: Supervisor, clock: Time, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    given_up = list[tuple[str, str]]()
    monkeypatch.setattr(queue, "give_up", lambda store, *what: given_up.append(what))
    (tmp_path / f"{RUN}.log").write_text("no such thing\n")
    waits = []
    made.look([SWEEP])
    for _ in range(MOST_DEATHS):
        assert not given_up
        child_of(made, RUN).wait(10)
        made.look([SWEEP])
        waits.append(made.may_start_in(RUN))
        assert "its driver has died, and is started again in" in str(made.why(RUN, "queued"))
        clock.now += waits[-1]
        made.look([SWEEP])
    assert waits == [AGAIN_S * 2**death for death in range(MOST_DEATHS)]
    last = f"its driver has died {MOST_DEATHS} times in a row; the last that it said: no such thing"
    assert given_up == [(RUN, last)]
    clock.now += FORGIVEN_S + 1
    child_of(made, RUN).wait(10)
    made.look([SWEEP])
    assert (made.processes[RUN].deaths, made.may_start_in(RUN)) == (1, AGAIN_S)


def test_deaths_count_in_a_row_only_while_the_sweep_gets_no_further(
    made: Supervisor, tmp_path: Path, clock: Time
) -> None:
    counts = []
    known = made.processes.setdefault(RUN, Process(started=clock.now))
    with (tmp_path / f"{RUN}.lock").open("wb") as file:
        for reached in ((0, 4), (0, 9), (1, 2), (1, 2), (0, 9), (1, 3)):
            write_note(file.fileno(), 1, reached)
            made._note_end(SWEEP)
            counts.append(known.deaths)
    assert counts == [1, 1, 1, 2, 3, 1]


def test_a_process_is_told_how_long_it_has_to_end_and_of_no_other_service(
    tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (SERVER, TOKEN):
        monkeypatch.setenv(name, "given")
    script, log = tmp_path / "driver", tmp_path / f"{RUN}.log"
    script.write_text(f'#!/bin/sh\necho "$LSTM_SWEEP_STOP_WITHIN_S ${SERVER}${TOKEN}."\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    for stop_s, told in ((SERVICE_STOP_S, "10 ."), (60.0, "50 .")):
        made = supervisor_of(tmp_path, clock, stop_within_s=stop_s)
        made.start(RUN)
        child_of(made, RUN).wait(10)
        assert log.read_text().splitlines()[-1] == told


@pytest.mark.parametrize("allow_code", [False, True])
def test_a_template_is_driven_where_code_is_allowed_and_else_says_why_it_waits(
    tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch, allow_code: bool
) -> None:
    let_drivers_idle(tmp_path, monkeypatch)
    made, template = (
        supervisor_of(tmp_path, clock, allow_code=allow_code),
        replace(SWEEP, runs_code=True),
    )
    made.look([template])
    assert bool(made.pid(RUN)) is allow_code
    assert ("--allow-code" in made.shown(template).why) is not allow_code
    made.close()


def test_a_template_that_runs_goes_on_under_a_service_that_takes_no_code_and_is_told_so(
    tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_drivers_idle(tmp_path, monkeypatch)
    template = replace(SWEEP, runs_code=True)
    first, then = supervisor_of(tmp_path, clock, allow_code=True), supervisor_of(tmp_path, clock)
    first.look([template])
    then.look([template])
    assert then.pid(RUN) == child_of(first, RUN).pid and then.turns.held(RUN)
    assert then.told(RUN, "running") == ("running", None)
    first.end([RUN], within_s=10)
    then.look([template])
    assert then.pid(RUN) is None and "--allow-code" in str(then.told(RUN, "running")[1])


def test_a_sweep_waits_for_the_network_of_one_that_is_under_way_and_raises_it(
    tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one waits for none that waits itself: two that name each other both begin."""
    let_drivers_idle(tmp_path, monkeypatch)
    made = supervisor_of(tmp_path, clock)
    waits = replace(SWEEP, name="t", run_id="1" * 32, begins_with="s", priority=7)
    for first, begins in ((SWEEP, False), (replace(SWEEP, begins_with="t"), True), (None, True)):
        queue = [waits] if first is None else [first, waits]
        made.look(queue)
        assert {job.priority for job in made.queue()} == {7}
        assert bool(made.pid(waits.run_id)) is begins
        why = made.shown(waits).why
        assert (why == "waits: its trials begin with what s learns") is not begins
        made.end([job.run_id for job in queue], within_s=10)
    made.close()
    of_another = replace(SWEEP, owner="another")
    assert raised([of_another, waits]) == [of_another, waits]


def test_quotas_and_demands_are_files_which_go_with_their_process(
    made: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_drivers_idle(tmp_path, monkeypatch)
    made.look([SWEEP])
    quota = tmp_path / f"{RUN}.slots"
    assert (read_quota(quota) or ())[:2] == (2, "")
    assert made.shown(SWEEP).wanted == 2
    quota.with_suffix(".demand").write_text("1")
    made.look([SWEEP])
    assert (read_quota(quota) or ())[:2] == (1, "")
    made.close()
    made.look([])
    left = [file.name for file in tmp_path.iterdir() if file.name.startswith(RUN)]
    assert left == [f"{RUN}.log"]


DRIVER = Holder("far", "another machine", 7, 0, "token")


def silent_for(known: Process, driver: Holder | None, seconds: float, since: float = 0.0) -> float:
    """Look at a lease each second for so long; for how long it was silent by the last look."""
    steps = range(int(seconds) + 1)
    return [known.silent_s(driver, since + second) for second in steps][-1]


def test_a_driver_on_another_machine_lives_as_long_as_it_renews_its_lease(
    made: Supervisor, clock: Time
) -> None:
    known = made.processes.setdefault(RUN, Process())
    far = replace(SWEEP, driver=DRIVER)
    silent_for(known, DRIVER, STALE_S - 1)
    assert made._pid_of(far, STALE_S - 1) == 0
    assert made._pid_of(far, STALE_S) is None
    assert made._pid_of(replace(far, driver=replace(DRIVER, beat=1)), STALE_S) == 0
    assert made._pid_of(SWEEP, STALE_S) is None


@pytest.mark.parametrize(("driver", "hangs_s"), [(DRIVER, HANGS_S), (None, WITHOUT_LEASE_S)])
def test_a_driver_that_hangs_is_told_to_end_and_then_killed_and_its_end_is_a_death(
    made: Supervisor, clock: Time, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    driver: Holder | None, hangs_s: float,
) -> None:  # fmt: skip
    let_drivers_idle(tmp_path, monkeypatch)
    sweep = replace(SWEEP, driver=driver)
    made.start(RUN)
    child = child_of(made, RUN)
    stop(child)
    began = clock.now
    while clock.now < began + hangs_s:
        made.look([sweep])
        assert last_line(tmp_path / f"{RUN}.log") == ""
        clock.now += UNSEEN_S
    made.look([sweep])
    assert last_line(tmp_path / f"{RUN}.log") == "it hung, and was ended by the service"
    assert made.alive() == [RUN]
    clock.now += SERVICE_STOP_S
    made.look([sweep])
    assert child.wait(10) == -signal.SIGKILL
    made.look([replace(SWEEP, driver=None)])
    assert made.processes[RUN].deaths == 1


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ClusterSlots]:
    """Makes one whose process is a script of the shell."""

    def count(script: str) -> ClusterSlots:
        program = tmp_path / "count"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        monkeypatch.setattr(supervisor, "COUNT_AGAIN_S", 0.0)
        return ClusterSlots()

    return count


def test_the_last_number_stays_and_the_process_is_started_again(
    tmp_path: Path, counting: Callable[[str], ClusterSlots]
) -> None:
    known = tmp_path / "again"
    slots = counting(f"if [ -e {known} ]; then echo 5; exec sleep 60; fi; touch {known}; echo 4")
    slots.start()
    try:
        until = time.monotonic() + 60
        while slots() != 5:
            assert slots() == 4 and time.monotonic() < until
            time.sleep(0.01)
    finally:
        slots.close()
    assert slots() == 5


def test_a_cluster_that_is_not_there_is_refused(counting: Callable[[str], ClusterSlots]) -> None:
    with pytest.raises(InputError, match="found no cluster"):
        counting("echo --on ray: found no cluster; exit 2").start()
    with pytest.raises(InputError, match="does not answer"):
        counting("exit 1").start()


def test_a_process_that_cannot_be_started_is_no_driver_that_has_died(
    made: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    for _ in "ab":
        with pytest.raises(FileNotFoundError):
            made.look([SWEEP])
    assert (made.processes[RUN].deaths, made.may_start_in(RUN)) == (0, 0.0)


def test_while_nobody_could_look_no_driver_begins_to_hang() -> None:
    known = Process()
    known.silent_s(DRIVER, 0.0)
    assert known.silent_s(DRIVER, 10_000.0) == UNSEEN_S, "the store was away meanwhile"


# Slots given to sweeps: single cases, and properties over random loads


STEP_S = 10.0


def sweep(name: str, **fields: Any) -> QueuedJob:
    """A sweep that was submitted in the order of names."""
    usual = {"owner": "ann", "submitted": float(ord(name[0])), "wanted": 4}
    return QueuedJob(run_id=name, **{**usual, **fields})


def turns_of(claims: dict[str, Claim]) -> Turns:
    turns = Turns()
    turns.jobs |= claims
    return turns


def shares(
    turns: Turns, sweeps: list[QueuedJob], slots: int, now: float, **more: Any
) -> dict[str, int]:
    """Slots by the name of the sweep."""
    for one in sweeps:
        turns.jobs.setdefault(one.run_id, Claim(now))
    return {one.run_id: one.slots for one in turns.share_out(sweeps, [], slots, now, **more)}


def test_a_user_gives_way_after_a_turn_whichever_of_its_sweeps_had_it() -> None:
    old, next_one, bob = sweep("a"), sweep("b"), sweep("c", owner="bob")
    turns = Turns()
    assert shares(turns, [old, next_one], 1, 0.0) == {"a": 1, "b": 0}
    assert shares(turns, [next_one, bob], 1, TURN_S - 1) == {"b": 1, "c": 0}
    assert shares(turns, [next_one, bob], 1, TURN_S) == {"c": 1, "b": 0}
    # nothing is gained by sweeps that wait for longer than those of others
    assert shares(turns, [old, next_one, bob], 1, 2 * TURN_S - 1) == {"c": 1, "b": 0, "a": 0}


def test_the_first_one_that_waits_gets_the_slot_of_a_turn_that_is_over() -> None:
    turns = turns_of({"a": Claim(0.0, 1), "b": Claim(5.0), "c": Claim(4.0)})
    three = [sweep("a"), sweep("b"), sweep("c")]
    assert shares(turns, three, 1, TURN_S - 1) == {"a": 1, "b": 0, "c": 0}
    assert shares(turns, three, 1, TURN_S) == {"a": 0, "b": 0, "c": 1}


@pytest.mark.parametrize(
    "sweeps, slots, more, why",
    [
        ([sweep("a"), sweep("b"), sweep("c")], 2, {}, "waits: 3 sweeps share 2 slots"),
        ([sweep("a", priority=2), sweep("c")], 2, {}, "waits: 1 sweep has a higher priority"),
        ([sweep("a"), sweep("c")], 2, {}, "has 1 of 4 slots: 2 sweeps share 2 slots"),
        ([sweep("a"), sweep("c", owner="bob")], 2, {},
         "has 1 of 4 slots: 2 sweeps of 2 users share 2 slots"),
        ([sweep("c")], 2, {"most_per_user": 1},
         "has 1 of 4 slots: user ann has as many slots as one user may"),
        ([sweep("c")], 0, {}, "waits: there is no slot"),
        ([sweep("c")], 4, {}, ""),
    ],
)  # fmt: skip
def test_each_state_says_its_reason(
    sweeps: list[QueuedJob], slots: int, more: dict[str, int], why: str
) -> None:
    turns = Turns()
    shares(turns, sweeps, slots, 1.0, **more)
    assert turns.quotas["c"].why == why


@dataclass
class Load:
    """A sweep of a simulation: when it comes, and how much there is to do, in slot-seconds."""

    one: QueuedJob
    work: float
    longest_wait: float = 0.0


loads = st.lists(
    st.tuples(
        st.integers(0, 2_000),  # when it is submitted
        st.integers(10, 6_000),  # work
        st.integers(1, 6),  # wanted
        st.sampled_from(["ann", "bob", "cy"]),
        st.integers(0, 1),  # priority
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=20)
@given(loads, st.integers(1, 5), st.sampled_from([None, 1, 2]), st.booleans())
def test_random_loads_leave_no_slot_idle_share_evenly_and_starve_nobody(
    drawn: list[tuple[int, int, int, str, int]],
    slots: int,
    most_per_user: int | None,
    with_priorities: bool,
) -> None:
    waiting = [
        Load(
            QueuedJob(
                run_id=f"s{number}", owner=owner, priority=priority if with_priorities else 0,
                submitted=float(at), wanted=wanted,
            ),
            float(work),
        )
        for number, (at, work, wanted, owner, priority) in enumerate(drawn)
    ]  # fmt: skip
    now, done, turns = 0.0, list[Load](), Turns()
    while waiting:
        here = [load for load in waiting if load.one.submitted <= now]
        for load in here:
            turns.jobs.setdefault(load.one.run_id, Claim(now))
        found = turns.share_out(
            [load.one for load in here], [], slots, now, most_per_user=most_per_user
        )
        given_to = {one.run_id: one.slots for one in found}
        _check(here, given_to, slots, most_per_user)
        for load in here:
            if not given_to[load.one.run_id]:
                load.longest_wait = max(load.longest_wait, now - turns.jobs[load.one.run_id].since)
            load.work -= given_to[load.one.run_id] * STEP_S
        for load in [load for load in waiting if load.work <= 0]:
            done.append(load)
            waiting.remove(load)
            turns.forget(load.one.run_id)
        now += STEP_S
    assert now <= 2_000 + sum(work for _, work, *_ in drawn) + STEP_S * (len(drawn) + 1)
    if most_per_user is None and not with_priorities:
        users = len({load.one.owner for load in done})
        bound = (TURN_S + STEP_S) * (1 + math.ceil(users / slots)) * (1 + len(done))
        assert max(load.longest_wait for load in done) <= bound


def _check(
    here: list[Load], given_to: dict[str, int], slots: int, most_per_user: int | None
) -> None:
    """Nothing is idle that somebody may use, and users of one priority are within one slot."""
    ones = [load.one for load in here]
    used = {one.owner: 0 for one in ones}
    for one in ones:
        assert 0 <= given_to[one.run_id] <= one.wanted
        used[one.owner] += given_to[one.run_id]
    limit = slots if most_per_user is None else most_per_user
    assert max(used.values(), default=0) <= limit
    short = [o for o in ones if given_to[o.run_id] < o.wanted and used[o.owner] < limit]
    assert sum(given_to.values()) <= slots
    assert not short or sum(given_to.values()) == slots
    for one in short:
        same = [o for o in ones if o.priority == one.priority]
        own = [o for o in same if o.owner == one.owner]
        assert max(given_to[o.run_id] for o in own) <= given_to[one.run_id] + 1
        of_own = sum(given_to[o.run_id] for o in own)
        by_owner = {
            o.owner: sum(given_to[p.run_id] for p in same if p.owner == o.owner) for o in same
        }
        assert max(by_owner.values()) <= of_own + 1
        assert all(given_to[o.run_id] == 0 for o in ones if o.priority < one.priority)
