"""Sweeps of several sittings: what breaks one off, what goes on, what was found."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from lstm_sweep.models.baselines import FAMILIES
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.driver.resume import rebuild
from lstm_sweep.search.driver.state import Observer, SweepState
from lstm_sweep.search.driver.sweep import Sweep
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore, Store
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec


def go_on(store: Store, corpus: Corpus, engine: Any, **changes: Any) -> SweepState:
    past = rebuild(store, reader.existing_sweep(store, "s"))
    return sweep_of(store, corpus, engine, replace(past.state.spec, **changes), past=past).run()


def found(store: Store) -> list[tuple[Any, ...]]:
    """What a sweep has found."""
    return [
        (record.number, record.config, record.seed, record.best_loss)
        for record in reader.trials(store, "s")
    ]


def after(epochs: int, do: Callable[[], None]) -> Callable[[RoundDone], None]:
    """Do something at an epoch, counted over all trials."""
    count = itertools.count(1)

    def watch(message: RoundDone) -> None:
        if next(count) == epochs:
            do()

    return watch


def interrupt() -> None:
    raise KeyboardInterrupt


@dataclass(frozen=True)
class Sittings:
    """A store, what a sweep called `s` of small trials is run on in it, and what is there."""

    store: Store
    corpus: Corpus
    data: Path

    def sweep(
        self, engine: Any, driver: Mapping[str, Any] = MappingProxyType({}), **fields: Any
    ) -> Sweep:
        """A sweep that its driver has not begun, with other fields of its spec."""
        spec = tiny_spec(**({"data": str(self.data)} | PLAIN | fields))
        return sweep_of(self.store, self.corpus, engine, spec, **driver)

    def run(self, engine: Any, **fields: Any) -> SweepState:
        return self.sweep(engine, **fields).run()

    def break_off(self, engine: Any, **fields: Any) -> None:
        """Run it until the engine interrupts it."""
        with pytest.raises(KeyboardInterrupt):
            self.run(engine, **fields)

    def go_on(self, engine: Any, **changes: Any) -> SweepState:
        return go_on(self.store, self.corpus, engine, **changes)

    @property
    def parent(self) -> Any:
        """The run of the only sweep."""
        [run] = reader.sweeps(self.store)
        return run

    @property
    def ended(self) -> tuple[str, str]:
        """Status and state of the sweep."""
        return self.parent.info.status, self.parent.data.tags[Tag.STATE]

    @property
    def trials(self) -> list[TrialRecord]:
        return reader.trials(self.store, "s")


# A sweep of four trials, what it says, and whether all of it has arrived


class Listening(Observer):
    """A display that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def said(self, text: str) -> None:
        """Remember it."""
        self.told.append(text)


def four_trials(store: Store, corpus: Corpus, data: Path, **more: Any) -> Sweep:
    spec = tiny_spec(data=str(data), trials=4, **PLAIN)
    engine = more.pop("engine", None) or ScriptedEngine(LOSSES)
    return sweep_of(store, corpus, engine, spec, **more)


def check(store: MlflowStore) -> None:
    """Everything has arrived, in order and once."""
    runs = store.runs({"sweep.name": "s"})
    names = [run.info.run_name for run in runs]
    assert sorted(names) == sorted(set(names))
    assert len(runs) == 1 + len(FAMILIES) + 4
    assert {run.info.status for run in runs} == {"FINISHED"}
    for record in reader.trials(store, "s"):
        first, second = LOSSES[record.number]
        assert store.history(record.run_id, "val_loss") == {1: first, 2: second}
        [*_] = history = store.client.get_metric_history(record.run_id, "val_loss")
        assert [point.timestamp for point in history] == sorted(p.timestamp for p in history)
