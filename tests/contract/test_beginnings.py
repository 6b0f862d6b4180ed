"""What a sweep begins with: a ladder of so many steps, and the best configs of earlier sweeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.config import Config, as_lstm_config
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.driver.corpus_task import CorpusTask
from lstm_sweep.search.driver.lstm_task import earlier_best
from lstm_sweep.search.driver.resume import rebuild
from lstm_sweep.search.policy.ladder import STEPS
from lstm_sweep.search.policy.problem import EarlierBest
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Phase, ranked
from lstm_sweep.spaces.space import from_mapping
from tests.contract.sittings import after, go_on, interrupt
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, sweep_of, tiny_spec

#: a ladder of 1, 0.1 and 0.01, of which 0.1 is best, and a search of two epochs a trial
CLIMBED: dict[int, list[float]] = {0: [2.6], 1: [1.5], 2: [2.4]}
LOSSES = CLIMBED | {number: [1.4, 1.3] for number in range(3, 9)}


def spec_of(data: Path, **fields: Any) -> SweepSpec:
    """An epoch has 600 steps of the optimizer."""
    return _spec(data, {"layer_size": [6, 12], "batch_size": 1}, {"trials": 7} | fields)


def wide_spec(data: Path, **fields: Any) -> SweepSpec:
    varies = {"layers": [1, 2], "layer_size": [6, 12, 24]}
    return _spec(data, varies, {"trials": 10} | fields)


def _spec(data: Path, varies: dict[str, Any], fields: dict[str, Any]) -> SweepSpec:
    dropout = {"low": 0, "high": 0.5}
    fixed = {"sequence_length": 8, "stride": 8, "epochs": 2}
    given = {"learning_rate": [1, 0.1, 0.01], "dropout": dropout, **varies, **fixed}
    small: dict[str, Any] = {"targets": 100, "size_rule": "off", "data": str(data)}
    return SweepSpec(space=from_mapping(given, "test"), **(PLAIN | small | fields))


def broken_off(
    store: Store,
    corpus: Corpus,
    spec: SweepSpec,
    rounds: int,
    losses: dict[int, list[float]],
    **more: Any,
) -> None:
    """Interrupt a sweep after so many rounds."""
    with pytest.raises(KeyboardInterrupt):
        engine = ScriptedEngine(losses, watch=after(rounds, interrupt))
        sweep_of(store, corpus, engine, spec, **more).run()


def test_runs_of_the_ladder_say_after_how_many_steps_they_end(
    store: Store, data: Path, corpus: Corpus
) -> None:
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec_of(data)).run()
    steps = {trial.number: trial.steps for trial in reader.trials(store, "s")}
    assert steps == {0: STEPS, 1: STEPS, 2: STEPS, 3: None, 4: None, 5: None, 6: None}
    for record in reader.trials(store, "s"):
        written = store.tags(record.run_id).get(Tag.STEPS)
        assert written == (str(STEPS) if record.phase is Phase.LADDER else None)


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_a_sweep_goes_on_with_its_steps_and_with_rates_between_the_listed_ones(
    store: Store, data: Path, corpus: Corpus, rounds: int
) -> None:
    broken_off(store, corpus, spec_of(data), rounds, LOSSES)
    # a minute would mean fewer steps, had the ladder not begun with these
    state = go_on(store, corpus, ScriptedEngine(LOSSES), minutes=1)
    trials = reader.trials(store, "s")
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
    broken_off(store, corpus, spec_of(data), 5, LOSSES)
    store.log(reader.trials(store, "s")[number].run_id, tags={tag: value})
    with pytest.raises(BadRunError, match=expected):
        rebuild(store, reader.existing_sweep(store, "s"))


def test_a_sweep_counts_in_rounds_says_its_epochs_and_goes_on_with_its_rounds(
    store: Store, data: Path, corpus: Corpus
) -> None:
    """Two trials of two epochs in three rounds each."""
    losses = {0: [3.0, 2.9, 2.8, 2.7, 2.75, 2.8], 1: [3.0, 2.5, 2.4, 2.3, 2.2, 2.1]}
    spec = tiny_spec(data=str(data), trials=2, rounds_per_epoch=3, **PLAIN)
    broken_off(store, corpus, spec, 5, losses)
    state = go_on(store, corpus, ScriptedEngine(losses))
    assert [(len(one.rounds), one.rounds_per_epoch) for one in state.final] == [(6, 3)] * 2
    first, second = reader.trials(store, "s")
    assert (first.best_epoch, first.epochs) == (4 / 3, 2.0)
    assert (second.best_epoch, second.epochs) == (2.0, 2.0)
    assert first.to_dict()["rounds_per_epoch"] == 3
    assert list(store.history(first.run_id, "val_loss")) == [1, 2, 3, 4, 5, 6]
    assert store.tags(first.run_id)[Tag.ROUNDS_PER_EPOCH] == "3"


# Sweeps that begin with the best configs of earlier ones on the same data


#: after that ladder trial 7 of the search is the best
SEVENTH_BEST = CLIMBED | {number: [1.9, 1.8 - number / 100] for number in range(3, 12)}
SEVENTH_BEST[7] = [1.2, 1.1]


def prior_of(store: MemoryStore, corpus: Corpus, spec: SweepSpec) -> tuple[EarlierBest, ...]:
    return CorpusTask.of(spec, corpus).prior(spec, store)


def searched(store: MemoryStore, sweep: str) -> list[Config]:
    found = reader.trials(store, sweep)
    return [trial.config for trial in found if trial.phase is Phase.SEARCH]


@pytest.fixture
def first(store: MemoryStore, corpus: Corpus, data: Path) -> Config:
    """The best config of a sweep that has ended."""
    sweep_of(store, corpus, ScriptedEngine(SEVENTH_BEST), wide_spec(data), name="first").run()
    return ranked(reader.trials(store, "first"))[0].config


def test_a_sweep_begins_with_what_was_best_in_the_one_before(
    store: MemoryStore, corpus: Corpus, data: Path, first: Config
) -> None:
    spec = wide_spec(data)
    prior = prior_of(store, corpus, spec)
    assert prior == (EarlierBest("first/7", as_lstm_config(first)),)
    sweep_of(store, corpus, ScriptedEngine(SEVENTH_BEST), spec, prior=prior).run()
    assert searched(store, "s")[0] == first


def test_a_resume_knows_what_its_sweep_was_begun_with_and_no_more(
    store: MemoryStore, corpus: Corpus, data: Path, first: Config
) -> None:
    spec = wide_spec(data)
    prior = prior_of(store, corpus, spec)
    sweep_of(store, corpus, ScriptedEngine(SEVENTH_BEST), spec, name="whole", prior=prior).run()
    expected = searched(store, "whole")
    broken_off(store, corpus, spec, 4, SEVENTH_BEST, prior=prior)
    for name in ("first", "whole"):  # the store says something else by now
        store.log(reader.existing_sweep(store, name).info.run_id, tags={Tag.ROLE: "withdrawn"})
    past = rebuild(store, reader.existing_sweep(store, "s"))
    assert past.prior == prior
    sweep_of(store, corpus, ScriptedEngine(SEVENTH_BEST), past.state.spec, past=past).run()
    assert searched(store, "s") == expected


@pytest.mark.parametrize("written", [{"first": 3}, [["a/1", 3]], [["a/1"]], [["a/1", {}]] * 3])
def test_a_resume_refuses_a_tag_that_no_sweep_has_written(
    store: MemoryStore, corpus: Corpus, data: Path, written: object
) -> None:
    broken_off(store, corpus, wide_spec(data), 4, SEVENTH_BEST)
    run = reader.existing_sweep(store, "s")
    store.log(run.info.run_id, tags={Tag.PRIOR: json.dumps(written)})
    with pytest.raises(BadRunError, match=r"tag sweep\.prior"):
        rebuild(store, reader.existing_sweep(store, "s"))


def test_the_best_of_the_newest_two_are_read_and_of_these_data_alone(
    store: MemoryStore, corpus: Corpus, data: Path, first: Config
) -> None:
    for seed in (1, 2):
        spec = wide_spec(data, seed=seed)
        sweep_of(store, corpus, ScriptedEngine(SEVENTH_BEST), spec, name=f"next-{seed}").run()
    templates = {Tag.ROLE: "sweep", Tag.TEMPLATE: "{}", Tag.CORPUS_DIGEST: corpus.digest}
    store.create_run("templates", templates)
    assert [one.trial for one in earlier_best(store, corpus.digest)] == ["next-2/7", "next-1/7"]
    assert earlier_best(store, "another") == ()
