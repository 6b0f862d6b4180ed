"""Sweeps with several rounds an epoch, and those of versions that had none, in an SQLite store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.driver.resume import rebuild
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from tests.contract.sittings import go_on
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, sweep_of, tiny_spec

#: losses of two trials of two epochs in three rounds each
IN_ROUNDS = {0: [3.0, 2.9, 2.8, 2.7, 2.75, 2.8], 1: [3.0, 2.5, 2.4, 2.3, 2.2, 2.1]}


def spec_of(data: Path, **fields: Any) -> Any:
    return tiny_spec(data=str(data), trials=2, **(PLAIN | fields))


def test_a_run_counts_in_rounds_and_says_its_epochs(data: Path, corpus: Corpus) -> None:
    store = MemoryStore()
    spec = spec_of(data, rounds_per_epoch=3)
    state = sweep_of(store, corpus, ScriptedEngine(IN_ROUNDS), spec).run()
    assert [len(one.rounds) for one in state.finished] == [6, 6]
    first, second = reader.trials(store, "s")
    assert (first.best_epoch, first.epochs) == (4 / 3, 2.0)
    assert (second.best_epoch, second.epochs) == (2.0, 2.0)
    assert first.to_dict()["rounds_per_epoch"] == 3
    assert list(store.history(first.run_id, "val_loss")) == [1, 2, 3, 4, 5, 6]
    assert store.tags(first.run_id)[Tag.ROUNDS_PER_EPOCH] == "3"


def test_a_sweep_goes_on_with_its_rounds(data: Path, corpus: Corpus) -> None:
    store = MemoryStore()
    engine = ScriptedEngine(IN_ROUNDS, interrupt=True)
    with pytest.raises(KeyboardInterrupt):
        sweep_of(store, corpus, engine, spec_of(data, rounds_per_epoch=3)).run()
    state = go_on(store, corpus, ScriptedEngine(IN_ROUNDS))
    assert state.spec.rounds_per_epoch == 3
    assert {one.trial.rounds_per_epoch for one in state.finished} == {3}
    assert [record.epochs for record in reader.trials(store, "s")] == [2.0, 2.0]


def test_a_trial_with_other_rounds_than_its_sweep_is_refused(data: Path, corpus: Corpus) -> None:
    store = MemoryStore()
    engine = ScriptedEngine(IN_ROUNDS, interrupt=True)
    with pytest.raises(KeyboardInterrupt):
        sweep_of(store, corpus, engine, spec_of(data, rounds_per_epoch=3)).run()
    store.log(reader.trials(store, "s")[0].run_id, tags={Tag.ROUNDS_PER_EPOCH: "2"})
    with pytest.raises(BadRunError, match="expected 3, as in the sweep's spec"):
        rebuild(store, reader.existing_sweep(store, "s"))
