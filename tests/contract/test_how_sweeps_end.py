"""Why a sweep has ended stands in its run as a value, and decides how it goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.driver.resume import close, how_to_go_on
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.trial import Outcome, Phase
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def run(store: MemoryStore, corpus: Corpus, data: Path) -> Callable[..., SweepState]:
    def run(engine: Any, clock: Callable[[], float] | None = None, **fields: Any) -> SweepState:
        spec = tiny_spec(data=str(data), **(PLAIN | fields))
        more = {"clock": clock} if clock else {}
        return sweep_of(store, corpus, engine, spec, **more).run()

    return run


def tags(store: MemoryStore) -> dict[str, str]:
    [parent] = reader.sweeps(store)
    return store.tags(parent.info.run_id)


def seconds() -> Callable[[], float]:
    """A clock on which a second passes with each look."""
    passed = iter(float(second) for second in range(100_000))
    return lambda: next(passed)


def test_a_limit_of_time_whatever_its_sentence(
    store: MemoryStore, run: Callable[..., SweepState]
) -> None:
    engine = ScriptedEngine({0: [3.0] * 1000})
    run(engine, seconds(), trials=3, minutes=0.5, epochs=1000)
    assert tags(store)[Tag.STOP_REASON] == "minutes"
    store.log(reader.sweeps(store)[0].info.run_id, tags={"sweep.reason": "words"})
    advice = how_to_go_on("s", tags(store))
    assert advice.startswith("lstm-sweep resume s --minutes M")


def test_a_driver_that_died(store: MemoryStore, run: Callable[..., SweepState]) -> None:
    run(ScriptedEngine(LOSSES), trials=2)
    run_id = reader.sweeps(store)[0].info.run_id
    store.log(run_id, tags={"sweep.state": "running", Tag.LEASE: ""})
    close(store, reader.sweeps(store)[0], lambda error: None)
    assert (tags(store)[Tag.STOP_REASON], tags(store)["sweep.state"]) == ("driver_died", "stopped")


def test_the_best_is_confirmed_in_time_though_a_long_trial_has_the_slot(
    store: MemoryStore, run: Callable[..., SweepState]
) -> None:
    losses = {0: [2.0, 1.9], 1: [3.0] * 5000} | {n: [2.0, 1.9] for n in range(2, 20)}
    fields: dict[str, Any] = {"trials": 40, "minutes": 3, "confirm_configs": 1}
    state = run(ScriptedEngine(losses), seconds(), epochs=5000, **fields)
    phases = [progress.trial.phase for progress in state.finished]
    assert phases[:3] == [Phase.SEARCH] * 2 + [Phase.CONFIRM]
    assert set(phases[3:]) <= {Phase.CONFIRM}
    long = state.finished[1].ended
    assert long and long.outcome is Outcome.OUT_OF_TIME and not long.unfinished
    assert state.report
    assert len(state.report.confirmed[0].losses) == len(phases) - 2
    assert tags(store)[Tag.STOP_REASON] == "minutes"
