"""Sweeps that begin with what earlier ones of an SQLite store have found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.config import Config, as_lstm_config
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.policy.cost import DataSize, prior_seconds
from lstm_sweep.search.policy.experience import NO_EXPERIENCE, Experience, PastSweep, network
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.sweep import corpus_task, past_sweeps
from lstm_sweep.search.sweep.corpus_task import CorpusTask
from lstm_sweep.search.sweep.past_sweeps import read_past
from lstm_sweep.search.sweep.resume import rebuild
from lstm_sweep.search.trial import Phase
from lstm_sweep.spaces.space import from_mapping
from tests.contract.sittings import after, interrupt
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, store_in, sweep_of

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


def experience_of(store: Store, corpus: Corpus, spec: SweepSpec) -> Experience:
    engine = ScriptedEngine(LOSSES)
    return CorpusTask.of(spec, corpus).experience(spec, store, map(engine.describe, engine.slots))


def searched(store: Store, sweep: str) -> list[Config]:
    found = (record.trial for record in archive.trials(store, sweep))
    return [trial.config for trial in found if trial.phase is Phase.SEARCH]


@pytest.fixture
def store(
    workplace: Callable[[str], Path], request: pytest.FixtureRequest, monkeypatch: Any
) -> Store:
    monkeypatch.setattr(corpus_task, "shipped", tuple[PastSweep, ...])
    return store_in(workplace(str(request.node.name)[:40]))


@pytest.fixture
def first(store: Store, corpus: Corpus, data: Path) -> Config:
    """The best config of a sweep that has ended."""
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec_of(data), name="first").run()
    return archive.ranked(archive.trials(store, "first"))[0].trial.config


def test_a_sweep_begins_with_what_the_one_before_has_found(
    store: Store, corpus: Corpus, data: Path, first: Config
) -> None:
    spec = spec_of(data)
    experience = experience_of(store, corpus, spec)
    [opening] = experience.first
    assert network(opening.config) == network(as_lstm_config(first)) and experience.later == ()
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec, experience=experience).run()
    assert searched(store, "s")[0] == first


def test_of_a_long_sweep_the_ladder_and_the_baselines_are_read_too(
    store: Store, corpus: Corpus, data: Path, first: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_past(store, corpus.digest, [])
    monkeypatch.setattr(past_sweeps, "MOST_OF_SWEEP", 5)
    [part] = read_past(store, corpus.digest, []).sweeps
    assert 4 <= len(part.trials) < len(whole.sweeps[0].trials)
    known = {one.config: one.multiple for one in whole.sweeps[0].trials}
    assert all(one.multiple == known[one.config] is not None for one in part.trials)


def test_without_the_prior_it_does_not(
    store: Store, corpus: Corpus, data: Path, first: Config
) -> None:
    spec = spec_of(data, prior=False)
    assert experience_of(store, corpus, spec) == NO_EXPERIENCE
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec).run()
    assert searched(store, "s") == searched(store, "first")
    assert Tag.EXPERIENCE not in archive.existing_sweep(store, "s").data.tags


def test_a_resume_knows_what_its_sweep_was_begun_with_and_no_more(
    store: Store, corpus: Corpus, data: Path, first: Config
) -> None:
    spec = spec_of(data)
    experience = experience_of(store, corpus, spec)
    whole = sweep_of(
        store, corpus, ScriptedEngine(LOSSES), spec, name="whole", experience=experience
    )
    whole.run()
    expected = searched(store, "whole")
    with pytest.raises(KeyboardInterrupt):
        engine = ScriptedEngine(LOSSES, watch=after(4, interrupt))
        sweep_of(store, corpus, engine, spec, experience=experience).run()
    # the store says something else by now
    run_id = archive.existing_sweep(store, "first").info.run_id
    store.log(run_id, tags={Tag.ROLE: "withdrawn"})
    store.log(archive.existing_sweep(store, "whole").info.run_id, tags={Tag.ROLE: "withdrawn"})
    assert experience_of(store, corpus, spec) == NO_EXPERIENCE
    past = rebuild(store, archive.existing_sweep(store, "s"))
    assert past.experience == experience
    sweep_of(store, corpus, ScriptedEngine(LOSSES), past.spec, past=past).run()
    assert searched(store, "s") == expected


def test_a_sweep_of_an_earlier_version_goes_on_without(
    store: Store, corpus: Corpus, data: Path, first: Config
) -> None:
    with pytest.raises(KeyboardInterrupt):
        engine = ScriptedEngine(LOSSES, watch=after(4, interrupt))
        sweep_of(store, corpus, engine, spec_of(data)).run()
    past = rebuild(store, archive.existing_sweep(store, "s"))
    assert past.experience == NO_EXPERIENCE
    sweep_of(store, corpus, ScriptedEngine(LOSSES), past.spec, past=past).run()
    assert searched(store, "s") == searched(store, "first")


def test_an_opening_that_no_search_of_the_space_can_propose_is_not_tried(
    store: Store, corpus: Corpus, data: Path, first: Config
) -> None:
    found = experience_of(store, corpus, spec_of(data)).first[0]
    large = as_lstm_config(first).evolve(layers=16, layer_size=16384)
    planted = Experience((replace(found, config=large), found))
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec_of(data), experience=planted).run()
    assert searched(store, "s")[0] == first
    assert large not in {
        one.evolve(learning_rate=large.learning_rate) for one in searched(store, "s")
    }


def test_a_resume_refuses_a_tag_that_no_sweep_has_written(
    store: Store, corpus: Corpus, data: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        engine = ScriptedEngine(LOSSES, watch=after(4, interrupt))
        sweep_of(store, corpus, engine, spec_of(data)).run()
    run = archive.existing_sweep(store, "s")
    store.log(run.info.run_id, tags={Tag.EXPERIENCE: json.dumps({"pace": 1, "first": 3})})
    with pytest.raises(BadRunError, match=r"tag sweep\.experience is .*: expected openings"):
        rebuild(store, archive.existing_sweep(store, "s"))


# what is read of a store -----------------------------------------------------------------------


def test_the_newest_sweeps_are_read_and_those_on_the_same_corpus_count_more(
    store: Store, corpus: Corpus, data: Path, first: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = ScriptedEngine(LOSSES).describe(ScriptedEngine(LOSSES).slots[0]).kind
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec_of(data, seed=1), name="second").run()
    trial = archive.find_trial(store, "first/7")
    store.log(trial.run_id, tags={Tag.CURVE: "[[1.2, 90.0], [1.1, 4.0], [1.0, 2.0]]"})
    own = read_past(store, corpus.digest, {device})
    assert [sweep.same_corpus for sweep in own.sweeps] == [True] * 2
    size = DataSize(len(corpus.train), len(corpus.alphabet), 100)
    predicted = prior_seconds(as_lstm_config(trial.trial.config), size)
    [pace] = own.paces  # the others say no seconds
    assert pace == pytest.approx(3.0 / predicted, rel=0.01)
    other = read_past(store, "another", ())
    assert [sweep.same_corpus for sweep in other.sweeps] == [False] * 2 and other.paces == ()
    monkeypatch.setattr(past_sweeps, "MOST_SWEEPS", 1)
    newest = read_past(store, "another", ())
    configs = {trial.config for sweep in newest.sweeps for trial in sweep.trials}
    assert configs == set(searched(store, "second"))


def test_sweeps_over_templates_do_not_count_among_the_newest(
    store: Store, corpus: Corpus, data: Path, first: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = {Tag.ROLE: "sweep", Tag.TEMPLATE: "{}"}
    store.client.create_run(store.experiment.id, tags=newer)
    monkeypatch.setattr(past_sweeps, "MOST_SWEEPS", 1)
    assert len(read_past(store, corpus.digest, ()).sweeps) == 1


def test_too_few_trials_say_nothing(store: Store, corpus: Corpus, data: Path) -> None:
    sweep_of(store, corpus, ScriptedEngine(LOSSES), spec_of(data, trials=6)).run()
    assert read_past(store, corpus.digest, ()).sweeps == ()
