"""Sweeps as functions of values: no command line, no worker, a real store."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.search.actions import lifecycle, references
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.sweeps import SweepResult
from lstm_sweep.search.driver.state import Observer, SweepState
from lstm_sweep.search.driver.sweep import Sweep
from lstm_sweep.search.engines.base import SlotAdded
from lstm_sweep.search.process.signals import SIGNALS, Interrupts
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.sweep import SweepStatus
from lstm_sweep.search.values.trial import Slot, Trial
from tests.fakes import ScriptedCluster, ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, InlineWriter, tiny_spec


def of_process() -> dict[str, Any]:
    """What the functions must leave as it is."""
    return {
        "environment": {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"},
        "handlers": [signal.getsignal(number) for number in SIGNALS],
        "folder": Path.cwd(),
    }


@pytest.fixture(autouse=True)
def nothing_else(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing is printed, and the process is afterwards as it was."""
    import mlflow  # noqa: F401  (both leave variables in the environment when imported)
    import sklearn  # noqa: F401

    before = of_process()
    yield
    assert of_process() == before
    assert capfd.readouterr() == ("", "")


@dataclass(frozen=True)
class Place:
    """A store, and small sweeps in it that no worker trains."""

    settings: Settings
    data: Path

    def spec(self, **fields: Any) -> SweepSpec:
        """The spec of a sweep called `s` of three trials."""
        given = {"data": str(self.data), "name": "s", "trials": 3, **PLAIN, **fields}
        return tiny_spec(**given)

    def launch(self, **more: Any) -> SweepResult:
        """Run that sweep."""
        return Local(self.settings).launch(self.spec(), **more)

    @property
    def store(self) -> Store:
        """The store itself."""
        return MlflowStore(self.settings)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Puts scripted engines in the place of real ones; the arguments of the next ones."""
    arguments = list[dict[str, Any]]()

    def open_engine(name: str, **more: Any) -> ScriptedEngine:
        return ScriptedEngine(LOSSES, **(arguments[0] if arguments else {}))

    monkeypatch.setattr(references, "open_engine", open_engine)
    return arguments


@pytest.fixture
def place(workplace: Callable[[str], Path], data: Path, engines: list[dict[str, Any]]) -> Place:
    return Place(load(workplace("api"), {}), data)


class Watching(Observer):
    """Notes what it is told; `do` is called with each trial that has ended."""

    def __init__(self, do: Callable[[], object] = lambda: None) -> None:
        self.told = list[str]()
        self.lines = list[str]()
        self._do = do

    def started(self, state: SweepState) -> None:
        self.told.append("started")

    def trial_ended(self, progress: Trial, state: SweepState) -> None:
        self.told.append(progress.id)
        self._do()

    def said(self, text: str) -> None:
        self.lines.append(text)

    def ended(self, state: SweepState) -> None:
        self.told.append("ended")


# --- launch ---------------------------------------------------------------------------------------


def test_a_sweep_begins_on_a_cluster_that_has_no_free_slot_yet_and_waits(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot, watching = Slot(0, core=0, node="a"), Watching()
    full = ScriptedCluster(LOSSES, (), {3: [(slot, SlotAdded())]})
    monkeypatch.setattr(references, "open_engine", lambda name, **more: full)
    result = place.launch(observer=watching)
    assert dict(result.trials) == {"complete": 3}
    assert watching.lines[0] == "sweep s: 3 trials on no slot yet"
    assert "no slot is left: waiting for one" in watching.lines


# --- the end that is wanted -----------------------------------------------------------------------


@pytest.fixture
def inline_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that has what a driver has decided, whenever it is looked at."""
    monkeypatch.setattr(lifecycle, "Sweep", partial(Sweep, writer=InlineWriter))


@pytest.mark.usefixtures("inline_writer")
def test_an_end_that_is_asked_for_closes_the_sweep_which_goes_on_later(place: Place) -> None:
    request = Interrupts()
    watching = Watching(request.request)
    result = place.launch(observer=watching, interrupts=request)
    assert (result.state, result.goes_on) == (SweepStatus.INTERRUPTED, True)
    assert watching.told == ["started", "s/0", "ended"]
    status = Local(place.settings).status("s")
    assert status.slots == 1
    assert (status.state, status.why, status.eta_seconds) == ("interrupted", "interrupted", None)
    again = Watching()
    done = Local(place.settings).resume("s", {}, observer=again)
    assert (done.state, dict(done.trials)) == (SweepStatus.FINISHED, {"complete": 3})
    assert "resumed: 1 trials have ended, 0 are tried again" in again.lines


# --- resume and stop ------------------------------------------------------------------------------


def test_a_sweep_whose_driver_has_died_is_told_as_such_and_put_in_order(place: Place) -> None:
    run_id = place.launch().run_id
    ended = Local(place.settings).stop("s")
    assert (ended.state, ended.had_ended) == ("finished", True)
    place.store.reopen(run_id)
    place.store.log(run_id, tags={Tag.STATE: "running", Tag.LEASE: ""})
    left = Local(place.settings).status("s")
    assert (left.state, left.why) == ("broken off", "the program that drove the sweep died")
    assert [row.state for row in Local(place.settings).sweeps()] == ["broken off"]
    stopped = Local(place.settings).stop("s")
    assert not stopped.had_ended and "lstm-sweep resume s" in stopped.advice
    assert stopped.to_dict() == {"sweep": "s", "run_id": run_id, "state": "stopped"}


# --- what the store has ---------------------------------------------------------------------------
