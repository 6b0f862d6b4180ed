"""Sweeps that begin with the best configs of earlier ones on the same data."""

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
from lstm_sweep.search.policy.problem import EarlierBest
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Phase, ranked
from lstm_sweep.spaces.space import from_mapping
from tests.contract.sittings import after, interrupt
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, sweep_of

#: a ladder of 1, 0.1 and 0.01, of which 0.1 is best; of the search trial 7 is the best
LOSSES: dict[int, list[float]] = {0: [2.6], 1: [1.5], 2: [2.4]}
LOSSES |= {number: [1.9, 1.8 - number / 100] for number in range(3, 12)} | {7: [1.2, 1.1]}


def spec_of(data: Path, **fields: Any) -> SweepSpec:
    space = from_mapping(
        {
            "learning_rate": [1, 0.1, 0.01],
            "dropout": {"low": 0, "high": 0.5},
            "layers": [1, 2],
            "layer_size": [6, 12, 24],
            "sequence_length": 8,
            "stride": 8,
            "epochs": 2,
        },
        "test",
    )
    given: dict[str, Any] = {"targets": 100, "size_rule": "off", "trials": 10, "data": str(data)}
    return SweepSpec(space=space, **(PLAIN | given | fields))


def prior_of(store: MemoryStore, corpus: Corpus, spec: SweepSpec) -> tuple[EarlierBest, ...]:
    return CorpusTask.of(spec, corpus).prior(spec, store)


def searched(store: MemoryStore, sweep: str) -> list[Config]:
    found = reader.trials(store, sweep)
    return [trial.config for trial in found if trial.phase is Phase.SEARCH]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def first(store: MemoryStore, corpus: Corpus, data: Path) -> Config:
    """The best config of a sweep that has ended."""
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec_of(data), name="first").run()
    return ranked(reader.trials(store, "first"))[0].config


def test_a_sweep_begins_with_what_was_best_in_the_one_before(
    store: MemoryStore, corpus: Corpus, data: Path, first: Config
) -> None:
    spec = spec_of(data)
    prior = prior_of(store, corpus, spec)
    assert prior == (EarlierBest("first/7", as_lstm_config(first)),)
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec, prior=prior).run()
    assert searched(store, "s")[0] == first


def test_a_resume_knows_what_its_sweep_was_begun_with_and_no_more(
    store: MemoryStore, corpus: Corpus, data: Path, first: Config
) -> None:
    spec = spec_of(data)
    prior = prior_of(store, corpus, spec)
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec, name="whole", prior=prior).run()
    expected = searched(store, "whole")
    with pytest.raises(KeyboardInterrupt):
        engine = ScriptedEngine(LOSSES, watch=after(4, interrupt))
        sweep_of(store, corpus, engine, spec, prior=prior).run()
    for name in ("first", "whole"):  # the store says something else by now
        store.log(reader.existing_sweep(store, name).info.run_id, tags={Tag.ROLE: "withdrawn"})
    past = rebuild(store, reader.existing_sweep(store, "s"))
    assert past.prior == prior
    sweep_of(store, corpus, ScriptedEngine(LOSSES), past.state.spec, past=past).run()
    assert searched(store, "s") == expected


@pytest.mark.parametrize("written", [{"first": 3}, [["a/1", 3]], [["a/1"]], [["a/1", {}]] * 3])
def test_a_resume_refuses_a_tag_that_no_sweep_has_written(
    store: MemoryStore, corpus: Corpus, data: Path, written: object
) -> None:
    with pytest.raises(KeyboardInterrupt):
        engine = ScriptedEngine(LOSSES, watch=after(4, interrupt))
        sweep_of(store, corpus, engine, spec_of(data)).run()
    run = reader.existing_sweep(store, "s")
    store.log(run.info.run_id, tags={Tag.PRIOR: json.dumps(written)})
    with pytest.raises(BadRunError, match=r"tag sweep\.prior"):
        rebuild(store, reader.existing_sweep(store, "s"))


def test_the_best_of_the_newest_two_are_read_and_of_these_data_alone(
    store: MemoryStore, corpus: Corpus, data: Path, first: Config
) -> None:
    for seed in (1, 2):
        spec = spec_of(data, seed=seed)
        sweep_of(store, corpus, ScriptedEngine(LOSSES), spec, name=f"next-{seed}").run()
    templates = {Tag.ROLE: "sweep", Tag.TEMPLATE: "{}", Tag.CORPUS_DIGEST: corpus.digest}
    store.create_run("templates", templates)
    assert [one.trial for one in earlier_best(store, corpus.digest)] == ["next-2/7", "next-1/7"]
    assert earlier_best(store, "another") == ()
