"""A sweep that is stopped from another terminal, refused to a second driver, and resumed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.corpus import Corpus
from search.settings import load
from search.tracking import Store
from search.trial import Ended, Outcome
from tests.conftest import TINY, run_here, run_program, start_program, wait_until, write_text
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec


@pytest.fixture(scope="module")
def folder(workplace: Callable[[str], Path]) -> Path:
    made = workplace("lifecycle")
    write_text(made / "words.txt")
    return made


@pytest.fixture(scope="module")
def sweep(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A sweep that would run for hours."""
    command = ["launch", "--data", "words.txt", "--name", "s", "--json", *TINY]
    process = start_program(*command, "--trials", "2", "--epochs", "100000", cwd=folder)
    wait_until(lambda: any(row["val_loss"] for row in _trials(folder)), process)
    yield process
    process.kill()


def _trials(folder: Path) -> list[dict[str, object]]:
    done = run_here("trials", "s", "--json", cwd=folder)
    rows: list[dict[str, object]] = done.json if done.code == 0 else []
    return rows


def test_a_running_sweep_is_refused_stopped_and_resumed(
    folder: Path, sweep: subprocess.Popen[str]
) -> None:
    refused = run_here("resume", "s", cwd=folder)
    assert refused.code == 2
    assert f"process {sweep.pid} on" in refused.err
    assert "lstm-sweep stop s" in refused.err
    taken = run_here("launch", "--data", "words.txt", "--name", "s", *TINY, cwd=folder)
    assert taken.code == 2
    assert "sweep 's' exists" in taken.err
    assert "lstm-sweep stop s" in taken.err

    stopped = run_program("stop", "s", "--json", cwd=folder)
    assert (stopped.code, stopped.json["state"]) == (0, "stopped")
    out, _ = sweep.communicate(timeout=60)
    assert (sweep.returncode, json.loads(out)["state"]) == (0, "stopped")
    before = _trials(folder)
    assert {row["status"] for row in before} == {"KILLED"}

    again = start_program("resume", "s", "--json", cwd=folder)
    wait_until(
        lambda: all(row["attempt"] == 2 and row["val_loss"] for row in _trials(folder)), again
    )
    again.kill()
    again.wait()
    after = _trials(folder)
    assert [row["config"] for row in sorted(after, key=_number)] == [
        row["config"] for row in sorted(before, key=_number)
    ]
    [listed] = run_here("sweeps", "--json", cwd=folder).json
    assert listed["state"] == "broken off"
    # nobody drives it now, and `stop` puts its runs in order
    closed = run_program("stop", "s", "--json", cwd=folder)
    assert (closed.code, closed.json["state"]) == (0, "stopped")
    assert {row["status"] for row in _trials(folder)} == {"KILLED"}


def _number(row: dict[str, object]) -> str:
    return str(row["trial"])


def test_another_search_is_not_resumed_and_the_difference_is_shown(folder: Path) -> None:
    [run] = run_here("sweeps", "--json", cwd=folder).json
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    written = yaml.safe_load(
        Path(client.download_artifacts(run["run_id"], "sweep.yaml")).read_text(encoding="utf-8")
    )
    (folder / "same.yaml").write_text(yaml.safe_dump(written | {"trials": 9}), encoding="utf-8")
    written["space"]["layer_size"] = [8, 16]
    (folder / "other.yaml").write_text(yaml.safe_dump(written | {"seed": 4}), encoding="utf-8")
    refused = run_here("resume", "s", "other.yaml", cwd=folder)
    assert refused.code == 2
    assert "seed was 0, is 4" in refused.err
    assert "space layer_size was [8, 12], is [8, 16]" in refused.err
    assert len(refused.err.splitlines()) == 1


def test_data_that_have_changed_are_refused(folder: Path) -> None:
    data = folder / "words.txt"
    text = data.read_text(encoding="utf-8")
    data.write_text(text[:-1] + ("a" if text[-1] != "a" else "b"), encoding="utf-8")
    try:
        refused = run_here("resume", "s", cwd=folder)
    finally:
        data.write_text(text, encoding="utf-8")
    assert refused.code == 2
    assert "have changed since sweep 's' began" in refused.err


@pytest.fixture
def ended(workplace: Callable[[str], Path], data: Path, corpus: Corpus) -> Callable[..., Path]:
    """Makes folders with a sweep that has ended, though no worker has trained for it."""

    def make(endings: dict[int, Ended] | None = None, **fields: Any) -> Path:
        folder = workplace("ended")
        spec = tiny_spec(data=str(data), trials=2, **PLAIN)
        engine = ScriptedEngine(LOSSES, endings=endings)
        sweep_of(Store(load(folder, {})), corpus, engine, replace(spec, **fields)).run()
        return folder

    return make


@pytest.mark.parametrize("more", [(), ("--trials", "2"), ("--trials", "1"), ("--keep", "1")])
def test_a_finished_sweep_says_what_it_takes_to_go_on(
    ended: Callable[..., Path], more: tuple[str, ...]
) -> None:
    done = run_here("resume", "s", *more, cwd=ended())
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "sweep s: finished with --trials 2 (the budget is spent); "
        "lstm-sweep resume s --trials N goes on with more of them\n"
    )


def test_a_sweep_that_ran_out_of_time_takes_more_minutes(ended: Callable[..., Path]) -> None:
    done = run_here("resume", "s", "--trials", "9", cwd=ended(minutes=1e-9))
    assert (done.code, done.err) == (0, "")
    assert "sweep s: finished with --minutes 1e-09 (" in done.out
    assert "; lstm-sweep resume s --minutes M goes on with more of them\n" in done.out


def test_a_sweep_that_has_ended_is_not_stopped_again(ended: Callable[..., Path]) -> None:
    finished = run_here("stop", "s", cwd=ended())
    assert (finished.code, finished.out) == (
        0,
        "sweep s: finished, nothing to stop; "
        "lstm-sweep resume s --trials N goes on with more of them\n",
    )
    failing = {n: Ended(Outcome.ERROR, "ValueError: no such layer") for n in range(2)}
    failed = run_here("stop", "s", cwd=ended(failing, max_failures=1))
    assert (failed.code, failed.out) == (
        0,
        "sweep s: failed, nothing to stop; lstm-sweep resume s goes on with it\n",
    )


def test_a_sweep_that_is_not_there_is_named(folder: Path) -> None:
    for command in ("resume", "stop"):
        refused = run_here(command, "nothing", cwd=folder)
        assert refused.code == 2
        assert "sweep 'nothing': no such sweep" in refused.err
        assert "sweeps: s" in refused.err
