"""Ends of sessions in the record of a sweep, and sweeps of versions that had none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.source import WORKFLOW
from lstm_sweep.search.actions import references
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.driver.corpus_task import load_same_corpus
from lstm_sweep.search.driver.observer import Silent
from lstm_sweep.search.driver.report import _entropy
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.spec import SweepSpec
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, tiny_spec


class EndsAfterOne(Silent):
    """Asks for the end of a sweep when its first trial has ended."""

    def __init__(self) -> None:
        self.request = Interrupts()

    def trial_ended(self, progress: TrialProgress, state: SweepState) -> None:
        self.request.request()


@pytest.fixture
def store(workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(references, "open_engine", lambda name, **more: ScriptedEngine(LOSSES))
    return MlflowStore(load(workplace("ends"), {}))


def spec_of(**fields: Any) -> SweepSpec:
    return tiny_spec(data="workflow-log", name="s", **{"trials": 3, **PLAIN, **fields})


def begin(store: Store, **fields: Any) -> Any:
    """Begin a sweep, end it after one trial, and return its run."""
    observer = EndsAfterOne()
    spec = spec_of(**fields)
    Local(store.settings).launch(spec, observer=observer, interrupts=observer.request)
    return reader.existing_sweep(store, "s")


def targets_of(store: Store) -> list[bool]:
    """Whether the corpus of each trial has ends, as it is loaded for a rerun or an export."""
    found = []
    for record in reader.trials(store, "s"):
        corpus = load_same_corpus(reader.read_source(record)[0], record)
        found.append(corpus.alphabet.ends)
    return found


def test_a_sweep_notes_that_its_corpus_has_ends_and_goes_on_with_them(store: Store) -> None:
    run = begin(store)
    assert reader.read_spec(run).ends is True
    with_ends = corpora.load(spec_of().source())
    assert run.data.tags[Tag.CORPUS_DIGEST] == with_ends.digest
    assert _entropy(run, reader.written_spec(run)) == WORKFLOW.entropy(ends=True)
    done = Local(store.settings).resume("s", {}, spec=spec_of())
    assert dict(done.trials) == {"complete": 3}
    assert targets_of(store) == [True] * 3
