"""Sweeps that are broken off, taken up again, stopped, or that fail."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.driver.observer import Silent
from lstm_sweep.search.driver.report import read_findings
from lstm_sweep.search.driver.resume import rebuild
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.trial import Ended, Outcome
from tests.contract.sittings import after, go_on, interrupt, runner
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def run(store: MemoryStore, corpus: Corpus, data: Path) -> Callable[..., SweepState]:
    return runner(store, corpus, data)


@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_a_server_has_made_twice_hides_nothing_and_is_closed(
    store: MemoryStore,
    corpus: Corpus,
    run: Callable[..., SweepState],
    monkeypatch: pytest.MonkeyPatch,
    first: bool,
) -> None:
    create = MemoryStore.create_run

    def twice(self: MemoryStore, name: str, tags: Any, parent: str | None = None) -> str:
        made = [create(self, name, tags, parent) for _ in range(1 + (Tag.TRIAL in tags))]
        return made[0 if first else -1]

    with monkeypatch.context() as late, pytest.raises(KeyboardInterrupt):
        late.setattr(MemoryStore, "create_run", twice)
        run(ScriptedEngine(LOSSES, watch=after(4, interrupt)), trials=4)
    assert [one.outcome for one in reader.trials(store, "s")] == ["complete", "stopped"]
    [parent] = reader.sweeps(store)
    assert len(read_findings(store, parent).attempts) == 2
    assert go_on(store, corpus, ScriptedEngine(LOSSES)).counts == {"complete": 4}
    assert [one.trial.attempt for one in reader.trials(store, "s")] == [1, 2, 1, 1]
    assert not [one for one in store.runs() if one.info.status == "RUNNING"]
    assert len(store.runs({Tag.OUTCOME: "lost", Tag.UNFINISHED: "yes"})) == 2


def test_a_finished_sweep_goes_on_with_more_trials(
    store: MemoryStore, corpus: Corpus, run: Callable[..., SweepState]
) -> None:
    run(ScriptedEngine(LOSSES), trials=2)
    assert go_on(store, corpus, ScriptedEngine(LOSSES)).counts == {"complete": 2}
    assert go_on(store, corpus, ScriptedEngine(LOSSES), trials=5).counts == {"complete": 5}
    assert rebuild(store, reader.existing_sweep(store, "s")).spec.trials == 5


def test_a_sweep_that_is_asked_to_stop_ends_in_order_and_can_go_on(
    store: MemoryStore,
    corpus: Corpus,
    run: Callable[..., SweepState],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lstm_sweep.search.driver.loop.BEAT_S", 0.0)

    def ask() -> None:
        store.log(reader.sweeps(store)[0].info.run_id, tags={Tag.STOP: "yes"})

    state = run(ScriptedEngine(LOSSES, watch=after(3, ask)), trials=4)
    assert (state.status, state.ending) == ("stopped", "stopped on request")
    [parent] = reader.sweeps(store)
    assert (parent.info.status, parent.data.tags[Tag.LEASE]) == ("FINISHED", "")
    assert {r.status for r in reader.trials(store, "s")} <= {"FINISHED", "KILLED"}
    assert go_on(store, corpus, ScriptedEngine(LOSSES)).counts == {"complete": 4}


def test_a_spec_that_was_changed_in_the_store_is_refused(
    store: MemoryStore, run: Callable[..., SweepState]
) -> None:
    run(ScriptedEngine(LOSSES), trials=2)
    parent = reader.existing_sweep(store, "s")
    text = parent.data.tags["sweep.spec.0"]
    changed = json.loads(text) | {"seed": 5}
    store.log(parent.info.run_id, tags={"sweep.spec.0": json.dumps(changed)})
    with pytest.raises(InputError, match=r"spec has digest [0-9a-f]{16}, expected [0-9a-f]{16}"):
        rebuild(store, reader.existing_sweep(store, "s"))


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


def test_a_sweep_in_which_everything_fails_ends_with_the_reason(
    store: MemoryStore, run: Callable[..., SweepState]
) -> None:
    bad = Ended(Outcome.ERROR, "ValueError: no such layer")
    numbers = range(9)
    engine = ScriptedEngine({n: [] for n in numbers}, endings=dict.fromkeys(numbers, bad))
    state = run(engine, trials=9, max_failures=4)
    assert state.status == "failed"
    assert state.counts == {"error": 4}
    assert "4 trials in a row have failed: 4 error (ValueError: no such layer)" in state.ending
    assert reader.sweeps(store)[0].info.status == "FAILED"


def test_a_trial_that_found_no_space_is_tried_again_when_the_sweep_goes_on(
    store: MemoryStore, corpus: Corpus, run: Callable[..., SweepState]
) -> None:
    full = Ended(Outcome.LOST, "no space left: OSError: [Errno 28]", unfinished=True)
    state = run(ScriptedEngine(LOSSES, endings={1: full}), trials=3)
    assert state.status == "failed"
    assert "no space left" in state.ending
    assert go_on(store, corpus, ScriptedEngine(LOSSES)).counts == {"complete": 3}


class Freezing(Silent):
    """A display that stops the worker of a trial as soon as it is heard of."""

    def __init__(self) -> None:
        self.engine: Any = None
        self.frozen = 0

    def update(self, state: Any) -> None:
        """Freeze the first trial that has said something."""
        for slot, progress in state.running.items():
            if (progress.latest or progress.rounds) and not self.frozen:
                self.frozen = self.engine._running[slot].process.pid
                os.kill(self.frozen, signal.SIGSTOP)


@pytest.mark.full
def test_a_trial_that_hangs_is_killed_and_the_sweep_goes_on(
    store: MemoryStore, corpus: Corpus, data: Path
) -> None:
    spec = tiny_spec(data=str(data), trials=2, workers=1, epochs=30, **PLAIN)
    display = Freezing()
    display.engine = open_engine("local", workers=1)
    state = sweep_of(store, corpus, display.engine, spec, observer=display, silent_s=3.0).run()
    assert state.counts == {"complete": 1, "hung": 1}
    hung = reader.trials(store, "s")[0]
    assert (hung.status, hung.outcome) == ("FAILED", "hung")
    assert "no report, and nothing computed for" in hung.reason
    assert not Path(f"/proc/{display.frozen}").exists()
