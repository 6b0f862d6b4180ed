"""Sweeps of which there are two drivers, and the lease by which one of them has it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.driver import lease
from lstm_sweep.search.driver.lease import Lease, LeaseLostError
from lstm_sweep.search.driver.resume import rebuild
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.driver.sweep import Sweep
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.writer import Writer
from tests.contract.sittings import after, runner
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def run(store: MemoryStore, corpus: Corpus, data: Path) -> Callable[..., SweepState]:
    return runner(store, corpus, data)


def test_a_second_driver_takes_over_and_the_first_one_writes_no_more(
    store: MemoryStore,
    corpus: Corpus,
    run: Callable[..., SweepState],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lstm_sweep.search.driver.lease.BEAT_S", 1e-6)

    def take_over() -> None:
        Lease(store, reader.sweeps(store)[0].info.run_id).take()

    with pytest.raises(LeaseLostError, match="has taken the sweep over"):
        run(ScriptedEngine(LOSSES, watch=after(3, take_over)), trials=4)
    [parent] = reader.sweeps(store)
    assert (parent.info.status, parent.data.tags["sweep.state"]) == ("RUNNING", "running")
    last = reader.trials(store, "s")[-1]
    assert (last.status, last.outcome) == ("RUNNING", "")


def test_a_sweep_that_was_taken_over_just_before_it_is_interrupted_is_left_to_the_other(
    store: MemoryStore, corpus: Corpus, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.4)
    interrupts = Interrupts()

    def take_over() -> None:
        Lease(store, reader.sweeps(store)[0].info.run_id).take()
        until = time.monotonic() + 60
        while not sweep._writer.fault and time.monotonic() < until:
            time.sleep(0.01)
        interrupts.request()

    engine = ScriptedEngine(LOSSES, watch=after(3, take_over))
    spec = tiny_spec(data=str(data), trials=4, **PLAIN)
    sweep = sweep_of(store, corpus, engine, spec, writer=Writer, interrupts=interrupts)
    with pytest.raises(KeyboardInterrupt):
        sweep.run()
    [parent] = reader.sweeps(store)
    assert (parent.info.status, parent.data.tags["sweep.state"]) == ("RUNNING", "running")
    assert lease.holder(parent.data.tags)


def test_a_sweep_that_is_done_is_not_stopped_while_its_runs_are_closed(
    store: MemoryStore, corpus: Corpus, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(sweep: Sweep, *more: Any) -> None:
        store.log(sweep.state.run_id, tags={Tag.STOP: lease.PAUSE})
        sweep._beat()

    monkeypatch.setattr(Sweep, "_close_trials", wrapped(Sweep._close_trials, asked))
    spec = tiny_spec(data=str(data), trials=1, **PLAIN)
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec).run()
    [parent] = reader.sweeps(store)
    assert (parent.info.status, parent.data.tags["sweep.state"]) == ("FINISHED", "finished")


def test_of_two_that_go_on_with_a_sweep_the_second_is_refused(
    store: MemoryStore, run: Callable[..., SweepState]
) -> None:
    run(ScriptedEngine(LOSSES), trials=2)
    seen = reader.existing_sweep(store, "s")
    rebuild(store, seen)
    with pytest.raises(InputError, match=rf"'s': process {os.getpid()} on .* resumed it"):
        rebuild(store, seen)


def test_a_sweep_shows_that_it_is_driven_while_it_begins_starts_a_worker_and_ends(
    store: MemoryStore, corpus: Corpus, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    seen: list[int] = []

    def slowly(*arguments: Any) -> None:
        for _ in range(2):
            last, until = max(seen, default=0), time.monotonic() + 60
            while (beat := beat_now()) <= last and time.monotonic() < until:
                time.sleep(0.05)
            seen.append(beat)

    def beat_now() -> int:
        found = lease.holder(reader.sweeps(store)[0].data.tags)
        assert found
        return found.beat

    monkeypatch.setattr(Sweep, "_open_folder", wrapped(Sweep._open_folder, slowly))
    monkeypatch.setattr(ScriptedEngine, "start", wrapped(ScriptedEngine.start, slowly))
    monkeypatch.setattr(ScriptedEngine, "collect", wrapped(ScriptedEngine.collect, slowly))
    monkeypatch.setattr(Sweep, "_close_trials", wrapped(Sweep._close_trials, slowly))
    spec = tiny_spec(data=str(data), trials=1, **PLAIN)
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec, writer=Writer).run()
    assert len(seen) == 8 and sorted({*seen}) == seen and seen[0] > 0


def wrapped(method: Callable[..., Any], before: Callable[..., None]) -> Callable[..., Any]:
    """A method that does something else before."""

    def both(*arguments: Any) -> Any:
        before(*arguments)
        return method(*arguments)

    return both
