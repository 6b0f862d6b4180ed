"""Sweeps of which there are two drivers, and the lease by which one of them has it."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.driver import lease
from lstm_sweep.search.driver.corpus_task import CorpusTask
from lstm_sweep.search.driver.lease import Lease, LeaseLostError
from lstm_sweep.search.driver.read_back import read_findings
from lstm_sweep.search.driver.resume import rebuild
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.driver.sweep import NameTakenError, Sweep
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.writer import Writer
from lstm_sweep.search.values.trial import Ended, Outcome, Phase
from tests.contract.sittings import after, go_on, interrupt, runner
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, store_in, sweep_of, tiny_spec


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


@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_a_server_has_made_twice_hides_nothing_and_is_closed(
    store: MemoryStore,
    corpus: Corpus,
    run: Callable[..., SweepState],
    monkeypatch: pytest.MonkeyPatch,
    first: bool,
) -> None:
    create = MemoryStore.create_run

    def twice(self: MemoryStore, name: str, tags: Any, *more: Any) -> str:
        made = [create(self, name, tags, *more) for _ in range(1 + (Tag.TRIAL in tags))]
        return made[0 if first else -1]

    with monkeypatch.context() as late, pytest.raises(KeyboardInterrupt):
        late.setattr(MemoryStore, "create_run", twice)
        run(ScriptedEngine(LOSSES, watch=after(4, interrupt)), trials=4)
    assert [one.outcome for one in reader.trials(store, "s")] == ["complete", "stopped"]
    [parent] = reader.sweeps(store)
    assert len(read_findings(store, parent).attempts) == 2
    assert go_on(store, corpus, ScriptedEngine(LOSSES)).counts == {"complete": 4}
    assert [one.attempt for one in reader.trials(store, "s")] == [1, 2, 1, 1]
    assert not [one for one in store.runs() if one.info.status == "RUNNING"]
    assert len(store.runs({Tag.OUTCOME: "lost", Tag.UNFINISHED: "yes"})) == 2


def test_a_sweep_goes_on_with_a_shorter_spec_and_then_with_a_longer_one(
    store: MemoryStore,
    corpus: Corpus,
    run: Callable[..., SweepState],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(ScriptedEngine(LOSSES, watch=after(3, interrupt)), trials=1_000_000)
    spec = reader.read_spec(reader.existing_sweep(store, "s"))
    shorter = json.dumps(replace(spec, trials=2).to_dict() | {"name": "s"})
    monkeypatch.setattr("lstm_sweep.search.store.journal.CHUNK", len(shorter))
    with pytest.raises(KeyboardInterrupt):
        go_on(store, corpus, ScriptedEngine(LOSSES, watch=after(1, interrupt)))
    assert reader.existing_sweep(store, "s").data.tags["sweep.spec.1"]
    assert go_on(store, corpus, ScriptedEngine(LOSSES), trials=2).counts == {"complete": 2}
    assert not reader.existing_sweep(store, "s").data.tags["sweep.spec.1"]
    assert go_on(store, corpus, ScriptedEngine(LOSSES), trials=10).counts == {"complete": 10}
    assert reader.read_spec(reader.existing_sweep(store, "s")).trials == 10


def test_a_trial_that_found_no_space_is_tried_again_when_the_sweep_goes_on(
    store: MemoryStore, corpus: Corpus, run: Callable[..., SweepState]
) -> None:
    full = Ended(Outcome.LOST, "no space left: OSError: [Errno 28]", unfinished=True)
    state = run(ScriptedEngine(LOSSES, endings={1: full}), trials=3)
    assert state.status == "failed"
    assert "no space left" in state.ending
    assert go_on(store, corpus, ScriptedEngine(LOSSES)).counts == {"complete": 3}


def test_the_best_is_confirmed_in_time_though_a_long_trial_has_the_slot(
    store: MemoryStore, corpus: Corpus
) -> None:
    seconds = itertools.count()  # one passes with each look at the clock
    losses = {0: [2.0, 1.9], 1: [3.0] * 5000} | {n: [2.0, 1.9] for n in range(2, 20)}
    fields: dict[str, Any] = PLAIN | {"trials": 40, "minutes": 3, "confirm_configs": 1}
    spec = tiny_spec(5000, **fields)
    engine = ScriptedEngine(losses)
    state = sweep_of(store, corpus, engine, spec, clock=lambda: float(next(seconds))).run()
    phases = [progress.phase for progress in state.finished]
    assert phases[:3] == [Phase.SEARCH] * 2 + [Phase.CONFIRM]
    assert set(phases[3:]) <= {Phase.CONFIRM}
    long = state.finished[1].ended
    assert long and long.outcome is Outcome.OUT_OF_TIME and not long.unfinished
    assert len(state.confirmed[0].losses) == len(phases) - 2
    assert store.tags(state.run_id)[Tag.STOP_REASON] == "minutes"


def test_as_many_trials_keep_their_weights_as_are_averaged(
    store: MemoryStore, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CorpusTask, "averaged", 4)
    losses = {number: [2.0 + number / 10] for number in range(6)} | {6: [2.9], 7: [2.8]}
    fields: dict[str, Any] = PLAIN | {"trials": 8, "confirm_configs": 1, "keep": 2}
    sweep_of(store, corpus, ScriptedEngine(losses), tiny_spec(1, **fields)).run()
    records = reader.trials(store, "s")
    assert [one.number for one in records if one.phase is Phase.CONFIRM] == [6, 7]
    assert {one.number for one in records if one.has_weights} == {0, 1, 2, 3}


def test_of_many_that_write_a_value_once_at_the_same_time_one_succeeds(
    workplace: Callable[[str], Path],
) -> None:
    folder = workplace("one_value")
    stores = [store_in(folder) for _ in range(4)]
    stores[0].prepare()
    together = threading.Barrier(len(stores))

    def write(number: int, run_id: str) -> bool:
        together.wait(60)
        return stores[number].log_once(run_id, "k", str(number))

    for _ in range(5):
        run_id = stores[0].create_run("r", {})
        with ThreadPoolExecutor() as pool:
            wrote = [*pool.map(write, range(len(stores)), [run_id] * len(stores))]
        kept = stores[0].run(run_id).data.params["k"]
        assert wrote == [str(number) == kept for number in range(len(stores))]
        assert stores[0].log_once(run_id, "k", kept)


def test_a_sweep_that_was_broken_off_before_it_had_its_name_claims_it_when_it_goes_on(
    workplace: Callable[[str], Path], corpus: Corpus, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workplace("one_name")
    with monkeypatch.context() as patch:
        patch.setattr("lstm_sweep.search.driver.sweep.reserve_name", lambda *given: interrupt())
        with pytest.raises(KeyboardInterrupt):
            runner(store_in(folder), corpus, data)(ScriptedEngine(LOSSES), trials=2)
    store = store_in(folder)
    past = rebuild(store, reader.existing_sweep(store, "s"))
    assert past.is_unclaimed
    refused: list[NameTakenError] = []

    def claim() -> None:
        with pytest.raises(NameTakenError) as caught:
            spec, engine = past.state.spec, ScriptedEngine(LOSSES)
            sweep_of(store_in(folder), corpus, engine, spec, past=past).run()
        refused.append(caught.value)

    engine = ScriptedEngine(LOSSES, watch=after(1, claim))
    state = runner(store, corpus, data)(engine, trials=2)
    assert len(refused) == 1
    assert state.counts == {"complete": 2}
    assert [run.info.run_id for run in reader.sweeps(store)] == [state.run_id]
