"""Small sweeps that tests run in their own process, and the stores that they are kept in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.driver.corpus_task import CorpusTask
from lstm_sweep.search.driver.state import Observer
from lstm_sweep.search.driver.sweep import Sweep
from lstm_sweep.search.driver.tasks import task_kind
from lstm_sweep.search.store.cache import SharedSettings, SharedStore
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.store.writer import Writer
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.spaces.space import from_mapping

#: every trial is trained to the end, and none again
PLAIN: dict[str, Any] = {"halving": False, "early_stopping": 0, "confirm_configs": 0}
#: what trials of two epochs report, by their number: each is better than the one before
LOSSES = {number: [3.0 - number / 10, 2.9 - number / 10] for number in range(12)}

#: of a file of the user, in whose ladder 0.1 may be the best of four rates
TEMPLATE = """
def data():
    return 1

def create_model(x):
    rate = {{choice([0.001, 0.01, 0.1, 1])}}
    return rate * {{uniform(0, 1)}}
"""


def tiny_spec(epochs: int = 2, **fields: Any) -> SweepSpec:
    """A spec whose trials are as small as they can be."""
    space = from_mapping(
        {
            "direction": ["uni", "bi"],
            "dropout": {"low": 0, "high": 0.5},
            "layer_size": 6,
            "sequence_length": 8,
            "stride": 8,
            "epochs": epochs,
        },
        "test",
    )
    given: dict[str, Any] = {"space": space, "targets": 100, "size_rule": "off"}
    return SweepSpec(**(given | fields))


def store_in(folder: Path) -> MlflowStore:
    """The SQLite store of a folder."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return MlflowStore(Settings(uri, (folder / "artifacts").as_uri(), "test", "test"))


def real_store(request: pytest.FixtureRequest) -> MlflowStore:
    """The store that a parameter of a fixture names: in `sqlite`, or behind a `server`."""
    if request.param == "server":
        address = request.getfixturevalue("tracking_server")
        return MlflowStore(Settings(address, None, f"test {time.monotonic_ns()}", "test"))
    return store_in(request.getfixturevalue("workplace")("sqlite"))


def local(store: Store) -> Local:
    """What can be done in a store, be it in memory."""
    shared = cast("SharedStore", store)
    return Local(SharedSettings(**vars(store.settings), shared=shared))


class InlineWriter(Writer):
    """Writes at once, in the thread of whoever wants it."""

    def _go_on(self) -> None:
        while self._next():
            self._step()
            if self._away:
                break
        self._write_regular()


class LateWriter(Writer):
    """Writes nothing before it is waited for, so that a driver gets ahead as far as it can."""

    def _go_on(self) -> None:
        pass

    def _await(self, is_done: Callable[[], bool]) -> None:
        while self._next():
            self._step()
        self._write_regular()
        super()._await(is_done)


def sweep_of(
    store: Store, corpus: Corpus | None, engine: Any, spec: SweepSpec, **more: Any
) -> Sweep:
    """A sweep, called `s`, without an observer and a thread that writes, unless they are given.

    Without a corpus, the data of the spec are read.
    """
    arguments = {"name": "s", "observer": Observer(), "writer": InlineWriter, **more}
    task = CorpusTask.of(spec, corpus) if corpus else task_kind(spec).open(spec)
    return Sweep(spec, task=task, store=store, engine=engine, **arguments)
