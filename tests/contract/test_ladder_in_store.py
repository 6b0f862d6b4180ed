"""Lengths of trials in a store: steps of a ladder, and several rounds an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.config import as_lstm_config
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.driver.resume import rebuild
from lstm_sweep.search.policy.ladder import STEPS
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Phase, Trial
from lstm_sweep.spaces.space import from_mapping
from tests.contract.sittings import after, go_on, interrupt
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, sweep_of, tiny_spec

#: a ladder of 1, 0.1 and 0.01, of which 0.1 is best, and a search of two epochs a trial
CLIMBED: dict[int, list[float]] = {0: [2.6], 1: [1.5], 2: [2.4]}
LOSSES = CLIMBED | {number: [1.4, 1.3] for number in range(3, 9)}


def spec_of(data: Path, **fields: Any) -> SweepSpec:
    """An epoch has 600 steps of the optimizer."""
    space = from_mapping(
        {
            "learning_rate": [1, 0.1, 0.01],
            "dropout": {"low": 0, "high": 0.5},
            "layer_size": [6, 12],
            "sequence_length": 8,
            "stride": 8,
            "batch_size": 1,
            "epochs": 2,
        },
        "test",
    )
    given: dict[str, Any] = {"targets": 100, "size_rule": "off", "trials": 7, "data": str(data)}
    return SweepSpec(space=space, **(PLAIN | given | fields))


def trials_of(store: Store) -> Sequence[Trial]:
    return reader.trials(store, "s")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_runs_of_the_ladder_say_after_how_many_steps_they_end(
    store: Store, data: Path, corpus: Corpus
) -> None:
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec_of(data)).run()
    steps = {trial.number: trial.steps for trial in trials_of(store)}
    assert steps == {0: STEPS, 1: STEPS, 2: STEPS, 3: None, 4: None, 5: None, 6: None}
    for record in reader.trials(store, "s"):
        written = store.tags(record.run_id).get(Tag.STEPS)
        assert written == (str(STEPS) if record.phase is Phase.LADDER else None)


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_a_sweep_goes_on_with_its_steps_and_with_rates_between_the_listed_ones(
    store: Store, data: Path, corpus: Corpus, rounds: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        engine = ScriptedEngine(LOSSES, watch=after(rounds, interrupt))
        sweep_of(store, corpus, engine, spec_of(data)).run()
    # a minute would mean fewer steps, had the ladder not begun with these
    state = go_on(store, corpus, ScriptedEngine(LOSSES), minutes=1)
    trials = trials_of(store)
    assert {trial.steps for trial in trials if trial.phase is Phase.LADDER} == {STEPS}
    searched = [one for one in state.finished if one.phase is Phase.SEARCH]
    rates = {as_lstm_config(trial.config).learning_rate for trial in searched}
    assert len(rates) > 2 and min(rates) >= 0.01 and max(rates) < 1


@pytest.mark.parametrize(
    "number, tag, value, expected",
    [
        (0, Tag.STEPS, "0", "a whole number from 1"),
        (0, Tag.STEPS, "many", "a whole number from 1"),
        (3, Tag.STEPS, "300", "none: the trial is not one of the ladder"),
        (3, Tag.MOST_ROUNDS, "0", "a whole number from 1"),
        (3, Tag.MOST_ROUNDS, "2", "none: the trial is not one that confirms another"),
        (3, Tag.ROUNDS_PER_EPOCH, "2", "expected 1, as in the sweep's spec"),
    ],
)
def test_lengths_that_no_sweep_has_written_are_refused(
    store: Store, data: Path, corpus: Corpus, number: int, tag: str, value: str, expected: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        engine = ScriptedEngine(LOSSES, watch=after(5, interrupt))
        sweep_of(store, corpus, engine, spec_of(data)).run()
    store.log(reader.trials(store, "s")[number].run_id, tags={tag: value})
    with pytest.raises(BadRunError, match=expected):
        rebuild(store, reader.existing_sweep(store, "s"))


def test_a_sweep_counts_in_rounds_says_its_epochs_and_goes_on_with_its_rounds(
    store: Store, data: Path, corpus: Corpus
) -> None:
    """Two trials of two epochs in three rounds each."""
    losses = {0: [3.0, 2.9, 2.8, 2.7, 2.75, 2.8], 1: [3.0, 2.5, 2.4, 2.3, 2.2, 2.1]}
    spec = tiny_spec(data=str(data), trials=2, rounds_per_epoch=3, **PLAIN)
    with pytest.raises(KeyboardInterrupt):
        sweep_of(store, corpus, ScriptedEngine(losses, interrupt=True), spec).run()
    state = go_on(store, corpus, ScriptedEngine(losses))
    assert [(len(one.rounds), one.rounds_per_epoch) for one in state.final] == [(6, 3)] * 2
    first, second = reader.trials(store, "s")
    assert (first.best_epoch, first.epochs) == (4 / 3, 2.0)
    assert (second.best_epoch, second.epochs) == (2.0, 2.0)
    assert first.to_dict()["rounds_per_epoch"] == 3
    assert list(store.history(first.run_id, "val_loss")) == [1, 2, 3, 4, 5, 6]
    assert store.tags(first.run_id)[Tag.ROUNDS_PER_EPOCH] == "3"
