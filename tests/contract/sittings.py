"""Sweeps of several sittings: what breaks one off, what goes on, what was found."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.driver.resume import rebuild
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.trial import RoundDone
from tests.sweeps import PLAIN, sweep_of, tiny_spec


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


def runner(store: Store, corpus: Corpus, data: Path) -> Callable[..., SweepState]:
    """What runs a small sweep on an engine, with other fields of its spec."""

    def run(engine: Any, **fields: Any) -> SweepState:
        spec = tiny_spec(data=str(data), **(PLAIN | fields))
        return sweep_of(store, corpus, engine, spec).run()

    return run
