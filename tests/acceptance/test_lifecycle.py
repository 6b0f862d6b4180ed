"""A sweep that is stopped from another terminal, refused to a second driver, and resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.actions import references
from lstm_sweep.search.driver.lease import Lease
from lstm_sweep.search.driver.resume import rebuild
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.values.trial import Ended, Outcome
from lstm_sweep.spaces.space import from_mapping
from tests.cases import Place, RunningCase
from tests.conftest import TINY, Done, run_here, write_text
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec


@pytest.fixture(scope="module")
def place(workplace: Callable[[str], Path]) -> Place:
    folder = workplace("lifecycle")
    write_text(folder / "words.txt")
    return Place(folder)


class TestRunning(RunningCase):
    """On an SQLite file; its sweep is there for the tests below."""


def test_another_search_is_not_resumed_and_the_difference_is_shown(place: Place) -> None:
    [run] = place.read("sweeps", "--json").json
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{place.folder / 'mlflow.db'}")
    written = yaml.safe_load(
        Path(client.download_artifacts(run["run_id"], "sweep.yaml")).read_text(encoding="utf-8")
    )
    written["space"]["layer_size"] = [8, 16]
    # a file that leaves these open differs in nothing
    assert isinstance(written.pop("targets"), int)
    assert written.pop("rounds_per_epoch") == 1
    (place.folder / "other.yaml").write_text(
        yaml.safe_dump(written | {"seed": 4}), encoding="utf-8"
    )
    refused = place.read("resume", "s", "other.yaml").refusal
    assert "seed was 0, is 4" in refused
    assert "space layer_size was [8, 12], is [8, 16]" in refused
    assert "targets" not in refused and "rounds_per_epoch" not in refused


def test_data_that_have_changed_are_refused(place: Place) -> None:
    text = place.change()
    try:
        assert "have changed since sweep 's' began" in place.read("resume", "s").refusal
    finally:
        (place.folder / "words.txt").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def ended(workplace: Callable[[str], Path], data: Path, corpus: Corpus) -> Callable[..., Path]:
    """Makes folders with a sweep that has ended, though no worker has trained for it."""

    def make(
        endings: dict[int, Ended] | None = None,
        losses: dict[int, list[float]] = LOSSES,
        **fields: Any,
    ) -> Path:
        folder = workplace("ended")
        spec = tiny_spec(data=str(data), trials=2, **PLAIN)
        engine = ScriptedEngine(losses, endings=endings)
        sweep_of(MlflowStore(load(folder, {})), corpus, engine, replace(spec, **fields)).run()
        return folder

    return make


def test_a_finished_sweep_says_what_it_takes_to_go_on(ended: Callable[..., Path]) -> None:
    folder = ended()
    for more in ((), ("--trials", "2"), ("--trials", "1"), ("--keep", "1")):
        assert run_here("resume", "s", *more, cwd=folder) == Done(
            0,
            "sweep s: finished with --trials 2 (all 2 trials are done); "
            "lstm-sweep resume s --trials N goes on with more of them\n",
            "",
        )


def test_a_sweep_is_followed_until_it_has_ended(
    ended: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ended()
    store = MlflowStore(load(folder, {}))
    run_id = reader.existing_sweep(store, "s").info.run_id
    store.log(run_id, tags={"sweep.state": "running"} | Lease(store, run_id).tag)
    states = iter(["running", "finished"])
    monkeypatch.setattr(
        "time.sleep", lambda seconds: store.log(run_id, tags={"sweep.state": next(states)})
    )
    done = run_here("status", "s", "--follow", cwd=folder)
    assert done.code == 0
    first, last = done.out.splitlines()
    assert first == "sweep s: running; 2 complete; best s/1 2.8000"
    assert last == "sweep s: finished; 2 complete; best s/1 2.8000 (all 2 trials are done)"


def test_a_sweep_that_ran_out_of_time_takes_more_minutes(ended: Callable[..., Path]) -> None:
    done = run_here("resume", "s", "--trials", "9", cwd=ended(minutes=1e-9))
    assert (done.code, done.err) == (0, "")
    assert "sweep s: finished with --minutes 1e-09 (" in done.out
    assert "; lstm-sweep resume s --minutes M goes on with more of them\n" in done.out


@pytest.mark.parametrize(
    "fields, line",
    [
        (
            {"patience": 1, "trials": 9},
            "sweep s: finished with --patience 1 (the last trial was no better than those "
            "before); a new sweep with more --patience searches longer\n",
        ),
        (
            {"space": from_mapping({"direction": ["uni", "bi"], "epochs": 2}, "test")},
            "sweep s: finished with the whole space (all 2 configs of the space are tried); "
            "a new sweep with a wider space has more to try\n",
        ),
    ],
)
def test_a_sweep_that_more_trials_would_not_help_says_what_would(
    ended: Callable[..., Path], fields: dict[str, Any], line: str
) -> None:
    worse = {number: [2.0 + number, 2.0 + number] for number in range(9)}
    folder = ended(losses=worse, **({"trials": 9} | fields))
    done = run_here("resume", "s", "--trials", "99", cwd=folder)
    assert (done.code, done.out, done.err) == (0, line, "")


def test_who_resumes_a_sweep_that_another_takes_up_meanwhile_is_refused(
    ended: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ended()

    class Slow(ScriptedEngine):
        def warm_up(self, *, user_code: bool = False) -> None:
            other = MlflowStore(load(folder, {}))
            rebuild(other, reader.existing_sweep(other, "s"))

    monkeypatch.setattr(references, "open_engine", lambda *a, **more: Slow(LOSSES))
    refused = run_here("resume", "s", "--trials", "9", cwd=folder).refusal
    assert "resumed it at the same time, only one can" in refused


def test_a_name_that_another_launch_takes_first_is_given_up_for_the_next_one(
    ended: Callable[..., Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ended()
    store = MlflowStore(load(folder, {}))
    store.reopen(reader.existing_sweep(store, "s").info.run_id)  # as if it had just begun
    names = iter(["s", "t"])
    monkeypatch.setattr(references, "free_name", lambda *arguments: next(names))
    monkeypatch.setattr(references, "open_engine", lambda *a, **more: ScriptedEngine(LOSSES))
    done = run_here("launch", "--data", data, *TINY, "--trials", "1", "--json", cwd=folder)
    assert (done.code, done.json["sweep"]) == (0, "t")
    assert [run.data.tags["sweep.name"] for run in reader.sweeps(store)] == ["s", "t"]


def test_a_sweep_that_has_failed_is_not_stopped_again(ended: Callable[..., Path]) -> None:
    failing = {n: Ended(Outcome.ERROR, "ValueError: no such layer") for n in range(2)}
    failed = run_here("stop", "s", cwd=ended(failing, max_failures=1))
    told = "sweep s: failed, nothing to stop; lstm-sweep resume s goes on with it\n"
    assert (failed.code, failed.out) == (0, told)
