"""Real workers that hang before they can say anything are killed, in a sweep and in a rerun."""

from __future__ import annotations

import os
import re
import signal
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.actions.rerun import train_again
from lstm_sweep.search.driver import health
from lstm_sweep.search.engines import worker
from lstm_sweep.search.engines.local import LocalEngine
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.trial import Computing, Ended, Job, Message, Outcome, Slot
from tests.contract.sittings import Sittings, after, interrupt
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec

#: later if the machine is busy
WHY = re.compile("no report, and nothing computed for [2-9] s, expected less than 2 s")


class Frozen(LocalEngine):
    """Its workers are stopped before they can say anything."""

    def start(self, job: Job) -> None:
        """Fork a worker, and stop it."""
        super().start(job)
        pid = self._running[job.slot].process.pid
        assert pid
        os.kill(pid, signal.SIGSTOP)
        self.frozen = pid


def test_a_trial_that_never_says_anything_is_killed(
    store: Store, corpus: Corpus, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "IDLE_S", 2.0)
    spec = tiny_spec(data=str(data), trials=1, workers=1, minutes=2.0, **PLAIN)
    engine = Frozen((Slot(0),))
    state = sweep_of(store, corpus, engine, spec).run()
    assert state.counts == {"hung": 1}
    [hung] = reader.trials(store, "s")
    assert (hung.status, hung.outcome) == ("FAILED", "hung")
    assert WHY.fullmatch(hung.reason)
    assert not Path(f"/proc/{engine.frozen}").exists()


@pytest.mark.full
def test_so_is_a_rerun_that_never_says_anything(
    store: Store, corpus: Corpus, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny_spec(data=str(data), trials=1, **PLAIN)
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec).run()
    [record] = reader.trials(store, "s")
    monkeypatch.setattr(health, "IDLE_S", 2.0)
    engine = Frozen((Slot(0),))
    again = train_again(store, record, engine, {})
    assert again.outcome == Outcome.HUNG
    assert WHY.fullmatch(store.tags(again.rerun_run_id)[Tag.REASON])
    assert again.verdict == "different"
    assert not Path(f"/proc/{engine.frozen}").exists()


def until_told(ours: Connection, within_s: float) -> list[Message]:
    """What comes through a pipe, the first or after so many seconds nothing."""
    return [ours.recv()] if ours.poll(within_s) else []


def compute_until_told(ours: Connection) -> None:
    """Use the CPU until it was told that this process computes."""
    until = time.monotonic() + 60
    while not ours.poll():
        assert time.monotonic() < until
    assert ours.recv() == Computing()


def test_a_worker_tells_that_it_computes_before_a_report_and_after_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "COMPUTING_EVERY_S", 0.05)
    monkeypatch.setattr(worker, "COMPUTING_SHARE", 0.2)
    ours, theirs = get_context("fork").Pipe()
    with worker.telling_that_it_computes(theirs) as report:
        time.sleep(0.5)  # as one that waits for what never comes
        assert until_told(ours, 0.0) == []
        compute_until_told(ours)
        report(RoundDone(1, {}))
        while ours.recv() != RoundDone(1, {}):
            pass
        compute_until_told(ours)
        report(Ended(Outcome.COMPLETE))
    until = time.process_time() + 0.3
    while time.process_time() < until:  # it computes, but has ended
        pass
    told = []
    while ours.poll():
        told.append(ours.recv())
    assert told[-1] == Ended(Outcome.COMPLETE)
    assert set(told[:-1]) <= {Computing()}


def attempts(store: Store) -> dict[int, list[tuple[int, str]]]:
    """Attempts of each trial, and how each has ended."""
    found: dict[int, list[tuple[int, str]]] = {}
    for run in store.runs({"sweep.name": "s", "sweep.phase": "search"}):
        record = reader.read_trial(run)
        found.setdefault(record.number, []).append((record.attempt, record.outcome))
    return found


def test_a_network_that_is_too_large_for_the_memory_is_tried_twice_also_when_a_sweep_goes_on(
    store: Store, corpus: Corpus, data: Path
) -> None:
    kept = Sittings(store, corpus, data)
    full = dict.fromkeys((1, 4), Ended(Outcome.OUT_OF_MEMORY, "memory of the host"))
    kept.break_off(ScriptedEngine(LOSSES, endings=full, watch=after(7, interrupt)), trials=6)
    twice = [(1, "out_of_memory"), (2, "out_of_memory")]
    assert attempts(store)[1] == twice
    state = kept.go_on(ScriptedEngine(LOSSES, endings=full))
    assert [number for number, ends in attempts(store).items() if ends == twice] == [1, 4]
    assert state.counts == {"complete": 4, "out_of_memory": 2}
