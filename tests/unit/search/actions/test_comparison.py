from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.trial import Ended, Outcome
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, local, sweep_of, tiny_spec

CURVES = {0: [2.5, 2.0], 1: [2.4, 2.25], 2: [2.4]}


@pytest.fixture(scope="module")
def store(corpus: Corpus, data: Path) -> Store:
    """A store with a sweep of three trials, the last of which has failed."""
    store = MemoryStore()
    spec = tiny_spec(data=str(data), trials=3, epochs=2, **PLAIN)
    endings = {2: Ended(Outcome.ERROR, "no luck")}
    sweep_of(store, corpus, ScriptedEngine(CURVES, endings=endings), spec).run()
    return store


def test_a_trial_of_other_data_is_not_compared(store: Store) -> None:
    run_id = local(store).show("s/1").record.run_id
    was = store.tags(run_id)[Tag.CORPUS_DIGEST]
    store.log(run_id, tags={Tag.CORPUS_DIGEST: "0" * 32})
    found = local(store).compare("s/0", "s/1")
    store.log(run_id, tags={Tag.CORPUS_DIGEST: was})
    assert found.difference is None and "other data" in found.verdict


def test_trials_of_sweeps_with_other_seeds_are_compared_if_they_have_the_same_targets(
    store: Store, corpus: Corpus, data: Path
) -> None:
    for name, seeds in (
        ("t", {"seed": 7}),
        ("u", {"targets_seed": 7}),
        ("v", {"adjacent_targets": 1}),
    ):
        spec = tiny_spec(data=str(data), trials=1, epochs=1, **PLAIN, **seeds)
        sweep_of(store, corpus, ScriptedEngine({0: [2.5]}), spec, name=name).run()
    assert local(store).compare("s/0", "t/0").difference == pytest.approx(0.5)
    for trial in ("u/0", "v/0"):
        other = local(store).compare("s/0", trial)
        assert other.difference is None and "other targets" in other.verdict
