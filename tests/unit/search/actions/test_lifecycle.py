"""Sweeps as functions of values: no command line, no worker, a real store."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import lifecycle, references
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.references import SweepRunsError
from lstm_sweep.search.actions.sweeps import SweepResult, SweepStatusReport
from lstm_sweep.search.driver.observer import Observer
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.driver.sweep import Sweep
from lstm_sweep.search.engines.base import SlotAdded
from lstm_sweep.search.process.signals import SIGNALS, Interrupts
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.stop_reason import SweepStatus
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


def test_a_sweep_returns_what_it_has_come_to(place: Place) -> None:
    watching = Watching()
    result = place.launch(observer=watching)
    assert (result.sweep, result.state, result.why) == (
        "s", SweepStatus.FINISHED, "all 3 trials are done",
    )  # fmt: skip
    assert (dict(result.trials), result.goes_on) == ({"complete": 3}, False)
    assert result.best and (result.best.trial, result.best.val_loss) == ("s/2", LOSSES[2][1])
    assert json.loads(json.dumps(result.to_dict()))["best"]["trial"] == "s/2"
    assert watching.told == ["started", "s/0", "s/1", "s/2", "ended"]
    assert watching.lines[0].startswith("sweep s: 3 trials on 1 slot, about ")
    assert " here (--minutes N limits it); first results after about " in watching.lines[0]
    assert watching.lines[-1] == f"store: {place.settings}"
    with pytest.raises(FrozenInstanceError):
        setattr(result, "why", "changed")  # noqa: B010


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


def test_a_finished_sweep_is_left_alone_and_told_from_the_store(place: Place) -> None:
    spec = place.spec(trials=8, confirm_configs=2, confirm_seeds=2)
    launched = Local(place.settings).launch(spec)
    assert launched.confirmed and launched.baselines
    for changes in ({}, {"trials": 8}, {"keep": 1}):
        told = Local(place.settings).resume("s", changes)
        assert told.unchanged == (
            "finished with --trials 8 (all 8 trials are done); "
            "lstm-sweep resume s --trials N goes on with more of them"
        )
        assert told.to_dict() == launched.to_dict()
    more = Local(place.settings).resume("s", {"trials": 12})
    assert not more.unchanged and sum(more.trials.values()) > 8


@pytest.mark.usefixtures("inline_writer")
def test_a_sweep_that_runs_is_told_as_such_and_refused_to_others(place: Place) -> None:
    seen = list[SweepStatusReport]()

    def look() -> None:
        seen.append(Local(place.settings).status("s"))
        with pytest.raises(SweepRunsError, match=r"^sweep 's' runs: process \d+ on "):
            Local(place.settings).resume("s", {"trials": 9})

    place.launch(observer=Watching(look))
    assert [one.state for one in seen] == ["running"] * 3
    assert [dict(one.trials) for one in seen] == [{"complete": n} for n in (1, 2, 3)]
    assert [one.best and one.best.trial for one in seen] == ["s/0", "s/1", "s/2"]
    left = [one.eta_seconds for one in seen]
    assert left[2] == 0.0 and all(one is not None and one >= 0 for one in left)


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


def test_sweeps_trials_and_epochs_are_listed(place: Place) -> None:
    result = place.launch()
    [row] = Local(place.settings).sweeps()
    assert row.to_dict() == {
        "sweep": "s", "run_id": result.run_id, "state": "finished", "trials_done": 3,
        "best_val_loss": pytest.approx(2.7), "data": str(place.data),
    }  # fmt: skip
    trials = Local(place.settings).trials("s")
    assert [record.id for record in trials] == ["s/2", "s/1", "s/0"]
    assert dict(trials.baselines) == dict(result.baselines)
    [best] = Local(place.settings).trials("s", top=1).to_list()
    shown = Local(place.settings).show(best["run_id"][:8])
    assert [(epoch["epoch"], epoch["val_loss"]) for epoch in shown.by_epoch] == [
        (1, LOSSES[2][0]),
        (2, LOSSES[2][1]),
    ]
    assert shown.to_dict() | best == shown.to_dict()
    status = Local(place.settings).status("s").to_dict()
    assert (status["state"], status["why"], status["trials"]) == (
        "finished", "all 3 trials are done", {"complete": 3},
    )  # fmt: skip
    assert status["best"] == result.to_dict()["best"] | {"running": False}
    assert status["slots"] == 1
    assert status["submitted"] == status["started"]


def test_what_there_is_not_is_an_error_and_makes_no_store(tmp_path: Path) -> None:
    settings = load(tmp_path, {})
    asked: list[Callable[[], object]] = [
        lambda: Local(settings).resume("s", {}),
        lambda: Local(settings).stop("s"),
        lambda: Local(settings).status("s"),
        lambda: Local(settings).trials("s"),
        lambda: Local(settings).show("s/1"),
        lambda: Local(settings).rerun("s/1"),
        lambda: Local(settings).export("s", str(tmp_path / "best")),
    ]
    for ask in asked:
        with pytest.raises(InputError, match="no store at"):
            ask()
    assert list(tmp_path.iterdir()) == []
