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
from lstm_sweep.search.driver.sweep import NameTakenError, Sweep
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.writer import Writer
from lstm_sweep.search.values.trial import Ended, Outcome, Phase
from tests.contract.sittings import Sittings, after, interrupt
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, store_in


@pytest.fixture
def kept(store: MemoryStore, corpus: Corpus, data: Path) -> Sittings:
    return Sittings(store, corpus, data)


def test_a_second_driver_takes_over_and_the_first_one_writes_no_more(
    kept: Sittings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 1e-6)

    def take_over() -> None:
        Lease(kept.store, kept.parent.info.run_id).take()

    with pytest.raises(LeaseLostError, match="has taken the sweep over"):
        kept.run(ScriptedEngine(LOSSES, watch=after(3, take_over)), trials=4)
    assert kept.ended == ("RUNNING", "running")
    assert (kept.trials[-1].status, kept.trials[-1].outcome) == ("RUNNING", "")


def test_a_sweep_that_was_taken_over_just_before_it_is_interrupted_is_left_to_the_other(
    kept: Sittings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.4)
    interrupts = Interrupts()

    def take_over() -> None:
        Lease(kept.store, kept.parent.info.run_id).take()
        until = time.monotonic() + 60
        while not sweep._writer.fault and time.monotonic() < until:
            time.sleep(0.01)
        interrupts.request()

    engine = ScriptedEngine(LOSSES, watch=after(3, take_over))
    sweep = kept.sweep(engine, {"writer": Writer, "interrupts": interrupts}, trials=4)
    with pytest.raises(KeyboardInterrupt):
        sweep.run()
    assert kept.ended == ("RUNNING", "running")
    assert lease.holder(kept.parent.data.tags)


def test_a_sweep_that_is_done_is_not_stopped_while_its_runs_are_closed(
    kept: Sittings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(sweep: Sweep, *more: Any) -> None:
        kept.store.log(sweep.state.run_id, tags={Tag.STOP: lease.PAUSE})
        sweep._beat()

    monkeypatch.setattr(Sweep, "_close_trials", wrapped(Sweep._close_trials, asked))
    kept.run(ScriptedEngine(LOSSES), trials=1)
    assert kept.ended == ("FINISHED", "finished")


def test_a_sweep_shows_that_it_is_driven_while_it_begins_starts_a_worker_and_ends(
    kept: Sittings, monkeypatch: pytest.MonkeyPatch
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
        found = lease.holder(kept.parent.data.tags)
        assert found
        return found.beat

    steps = ((Sweep, "_open_folder"), (ScriptedEngine, "start"), (ScriptedEngine, "collect"))
    for owner, name in (*steps, (Sweep, "_close_trials")):
        monkeypatch.setattr(owner, name, wrapped(getattr(owner, name), slowly))
    kept.run(ScriptedEngine(LOSSES), driver={"writer": Writer}, trials=1)
    assert len(seen) == 8 and sorted({*seen}) == seen and seen[0] > 0


def wrapped(method: Callable[..., Any], before: Callable[..., None]) -> Callable[..., Any]:
    """A method that does something else before."""

    def both(*arguments: Any) -> Any:
        before(*arguments)
        return method(*arguments)

    return both


@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_a_server_has_made_twice_hides_nothing_and_is_closed(
    kept: Sittings, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    create = MemoryStore.create_run

    def twice(self: MemoryStore, name: str, tags: Any, *more: Any) -> str:
        made = [create(self, name, tags, *more) for _ in range(1 + (Tag.TRIAL in tags))]
        return made[0 if first else -1]

    with monkeypatch.context() as late:
        late.setattr(MemoryStore, "create_run", twice)
        kept.break_off(ScriptedEngine(LOSSES, watch=after(4, interrupt)), trials=4)
    assert [one.outcome for one in kept.trials] == ["complete", "stopped"]
    assert len(read_findings(kept.store, kept.parent).attempts) == 2
    assert kept.go_on(ScriptedEngine(LOSSES)).counts == {"complete": 4}
    assert [one.attempt for one in kept.trials] == [1, 2, 1, 1]
    assert not [one for one in kept.store.runs() if one.info.status == "RUNNING"]
    assert len(kept.store.runs({Tag.OUTCOME: "lost", Tag.UNFINISHED: "yes"})) == 2


def test_a_sweep_goes_on_with_a_shorter_spec_and_then_with_a_longer_one(
    kept: Sittings, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.break_off(ScriptedEngine(LOSSES, watch=after(3, interrupt)), trials=1_000_000)
    shorter = json.dumps(replace(reader.read_spec(kept.parent), trials=2).to_dict() | {"name": "s"})
    monkeypatch.setattr("lstm_sweep.search.store.journal.CHUNK", len(shorter))
    with pytest.raises(KeyboardInterrupt):
        kept.go_on(ScriptedEngine(LOSSES, watch=after(1, interrupt)))
    assert kept.parent.data.tags["sweep.spec.1"]
    assert kept.go_on(ScriptedEngine(LOSSES), trials=2).counts == {"complete": 2}
    assert not kept.parent.data.tags["sweep.spec.1"]
    assert kept.go_on(ScriptedEngine(LOSSES), trials=10).counts == {"complete": 10}
    assert reader.read_spec(kept.parent).trials == 10


def test_a_trial_that_found_no_space_is_tried_again_when_the_sweep_goes_on(kept: Sittings) -> None:
    full = Ended(Outcome.LOST, "no space left: OSError: [Errno 28]", unfinished=True)
    state = kept.run(ScriptedEngine(LOSSES, endings={1: full}), trials=3)
    assert state.status == "failed" and "no space left" in state.ending
    assert kept.go_on(ScriptedEngine(LOSSES)).counts == {"complete": 3}


def test_the_best_is_confirmed_in_time_though_a_long_trial_has_the_slot(kept: Sittings) -> None:
    seconds = map(float, itertools.count())  # one passes with each look at the clock
    losses = {0: [2.0, 1.9], 1: [3.0] * 5000} | {n: [2.0, 1.9] for n in range(2, 20)}
    fields = {"epochs": 5000, "trials": 40, "minutes": 3, "confirm_configs": 1}
    clock = {"clock": lambda: next(seconds)}
    state = kept.run(ScriptedEngine(losses), driver=clock, **fields)
    phases = [progress.phase for progress in state.finished]
    assert phases[:3] == [Phase.SEARCH] * 2 + [Phase.CONFIRM]
    assert set(phases[3:]) <= {Phase.CONFIRM}
    long = state.finished[1].ended
    assert long and long.outcome is Outcome.OUT_OF_TIME and not long.unfinished
    assert "the time of the search is over" in long.reason
    assert len(state.confirmed[0].losses) == len(phases) - 2
    assert kept.parent.data.tags[Tag.STOP_REASON] == "minutes"


def test_as_many_trials_keep_their_weights_as_are_averaged(
    kept: Sittings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CorpusTask, "averaged", 4)
    losses = {number: [2.0 + number / 10] for number in range(6)} | {6: [2.9], 7: [2.8]}
    kept.run(ScriptedEngine(losses), epochs=1, trials=8, confirm_configs=1, keep=2)
    assert [one.number for one in kept.trials if one.phase is Phase.CONFIRM] == [6, 7]
    assert {one.number for one in kept.trials if one.has_weights} == {0, 1, 2, 3}


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
    first, other = (Sittings(store_in(folder), corpus, data) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr("lstm_sweep.search.driver.sweep.reserve_name", lambda *given: interrupt())
        first.break_off(ScriptedEngine(LOSSES), trials=2)
    past = rebuild(first.store, first.parent)
    assert past.is_unclaimed
    refused: list[NameTakenError] = []

    def claim() -> None:
        with pytest.raises(NameTakenError) as caught:
            other.run(ScriptedEngine(LOSSES), driver={"past": past}, trials=2)
        refused.append(caught.value)

    state = first.run(ScriptedEngine(LOSSES, watch=after(1, claim)), trials=2)
    assert len(refused) == 1
    assert state.counts == {"complete": 2}
    assert first.parent.info.run_id == state.run_id
