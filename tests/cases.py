"""What holds for a sweep wherever its runs are kept; a module has these tests run on its store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Done, run_here, run_program, start_program, wait_until
from tests.launcher import Started

LIBRARY_NOISE = re.compile(r"oneDNN|cuda|absl|alembic|INFO mlflow|Warning|\x1b", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """A folder with a `words.txt`, and where the programs in it keep their runs."""

    folder: Path
    #: what leads them there
    environment: dict[str, Any] = field(default_factory=dict)
    #: whether commands have a process of their own, as a user's have
    apart: bool = False

    def run(self, *arguments: str | Path) -> Done:
        """Run a command there."""
        if self.apart:
            return run_program(*arguments, cwd=self.folder, real=True, **self.environment)
        return run_here(*arguments, cwd=self.folder, **self.environment)

    def read(self, *arguments: str | Path) -> Done:
        """Run a command there in this process."""
        return run_here(*arguments, cwd=self.folder, **self.environment)

    def start(self, *arguments: str | Path) -> Started:
        """Start a command there."""
        return start_program(*arguments, cwd=self.folder, **self.environment)

    def trials(self, sweep: str) -> list[dict[str, Any]]:
        """What `trials` says of a sweep; nothing as long as there is none."""
        done = self.read("trials", sweep, "--json")
        return done.json if done.code == 0 else []

    def change(self) -> str:
        """Change the last sign of the text; return what it was."""
        data = self.folder / "words.txt"
        text = data.read_text(encoding="utf-8")
        data.write_text(text[:-1] + ("a" if text[-1] != "a" else "b"), encoding="utf-8")
        return text


#: what a bundle consists of
BUNDLE = {"model.keras", "alphabet.json", "config.json", "metrics.json", "README.md"}


@dataclass(frozen=True)
class Swept:
    """A finished sweep, called `first` where nobody says otherwise, and the place where it ran."""

    place: Place
    done: Done

    def trial(self, direction: str) -> str:
        """A trial of a direction."""
        rows = self.place.trials("first")
        return next(str(row["trial"]) for row in rows if row["config"]["direction"] == direction)


def sweep_first(place: Place) -> Swept:
    """Run that sweep."""
    arguments = ("launch", "--data", "words.txt", "--name", "first", "--seed", "6", "--json")
    return Swept(place, place.run(*arguments, *TINY, "--trials", "4"))


class SweptCase:
    """What a finished sweep is like; `swept` is a fixture of whoever takes this over."""

    def test_a_sweep_prints_one_json_document(self, swept: Swept) -> None:
        assert swept.done.code == 0, swept.done.err
        result = swept.done.json
        names = ["sweep", "run_id", "state", "trials", "best", "confirmed", "baselines"]
        assert list(result) == [*names, "unknown_share", "seconds", "time"]
        assert (result["sweep"], result["state"]) == ("first", "finished")
        assert result["trials"] == {"complete": 4}
        assert set(result["baselines"]) == {"unigram", "markov", "naive_bayes", "ngram"}
        assert result["best"]["val_loss"] > 0

    def test_what_the_slots_were_used_for_adds_up(self, swept: Swept) -> None:
        result = swept.done.json
        spent = dict(result["time"])
        whole, scoring = spent.pop("slot_seconds"), spent.pop("scoring")
        assert sum(spent.values()) == pytest.approx(whole, abs=0.01)
        slots = whole / result["seconds"]  # none came or went
        assert slots >= 1 and slots == pytest.approx(round(slots), abs=0.01)
        trials = {"best", "beaten"}  # all four are complete, and the search has no other step
        assert all((spent[name] > 0) == (name in trials | {"idle"}) for name in spent)
        assert 0 < scoring < sum(spent[name] for name in trials)

    def test_nothing_that_libraries_print_reaches_the_terminal(self, swept: Swept) -> None:
        assert not LIBRARY_NOISE.search(swept.done.err)
        assert "first/0 complete" in swept.done.err

    def test_trials_are_listed_best_first(self, swept: Swept) -> None:
        done = swept.place.read("trials", "first", "--json")
        rows = done.json
        losses = [row["val_loss"] for row in rows]
        assert (len(rows), done.err) == (4, "")
        assert losses == sorted(losses)
        assert rows[0]["trial"] == swept.done.json["best"]["trial"]
        assert rows[0]["config"] == swept.done.json["best"]["config"]
        assert len({json.dumps(row["config"]) for row in rows}) == 4
        assert len({row["seed"] for row in rows}) == 4
        assert swept.place.read("trials", "first", "--top", "1", "--json").json == rows[:1]

    def test_a_trial_is_found_by_number_by_id_and_by_prefix(self, swept: Swept) -> None:
        by_number = swept.place.read("show", "first/1", "--json").json
        run_id = by_number["run_id"]
        assert swept.place.read("show", run_id, "--json").json == by_number
        assert swept.place.read("show", run_id[:12], "--json").json == by_number
        assert [epoch["epoch"] for epoch in by_number["by_epoch"]] == [1, 2]

    def test_an_untouched_trial_reruns_identically(self, swept: Swept) -> None:
        done = swept.place.read("rerun", swept.trial("uni"), "--json").json
        assert (done["verdict"], done["epochs_compared"]) == ("identical", 2)
        assert done["max_difference"] == 0
        assert (done["changed_versions"], done["changed_device"]) == ({}, None)
        again = swept.place.read("show", done["rerun_run_id"], "--json").json
        assert again["phase"] == "rerun"
        assert len(swept.place.trials("first")) == 4

    def test_changed_data_are_refused_with_both_digests(self, swept: Swept) -> None:
        text = swept.place.change()
        try:
            refused = swept.place.read("rerun", "first/0").refusal
            assert len(re.findall(r"[0-9a-f]{32}", refused)) == 2
            assert swept.place.read("export", "first", "--to", "nowhere").refusal
            assert not (swept.place.folder / "nowhere").exists()
        finally:
            (swept.place.folder / "words.txt").write_text(text, encoding="utf-8")


class RunningCase:
    """A sweep called `s` that would run for hours, at `place`, a fixture of whoever takes this."""

    @pytest.fixture
    def running(self, place: Place) -> Iterator[Started]:
        command = ["launch", "--data", "words.txt", "--name", "s", "--json", *TINY]
        process = place.start(*command, "--trials", "2", "--epochs", "100000")
        wait_until(lambda: any(row["val_loss"] for row in place.trials("s")), process)
        yield process
        process.kill()

    def test_a_running_sweep_is_refused_stopped_and_resumed(
        self, place: Place, running: Started
    ) -> None:
        refused = place.read("resume", "s").refusal
        assert f"process {running.pid} on" in refused and "lstm-sweep stop s" in refused
        taken = place.read("launch", "--data", "words.txt", "--name", "s", *TINY).refusal
        assert "sweep 's' exists" in taken and "lstm-sweep stop s" in taken

        stopped = place.run("stop", "s", "--json")
        assert (stopped.code, stopped.json["state"]) == (0, "stopped")
        out, _ = running.communicate(timeout=60)
        assert (running.returncode, json.loads(out)["state"]) == (0, "stopped")
        before = place.trials("s")
        assert {row["status"] for row in before} <= {"FINISHED", "KILLED", "FAILED"}

        again = place.start("resume", "s", "--json")
        wait_until(
            lambda: all(row["attempt"] == 2 and row["val_loss"] for row in place.trials("s")), again
        )
        again.kill()
        again.wait()
        after = place.trials("s")
        assert [row["config"] for row in sorted(after, key=_number)] == [
            row["config"] for row in sorted(before, key=_number)
        ]
        listed = {row["sweep"]: row["state"] for row in place.read("sweeps", "--json").json}
        assert listed["s"] == "broken off"
        # nobody drives it now, and `stop` puts its runs in order
        closed = place.run("stop", "s", "--json")
        assert (closed.code, closed.json["state"]) == (0, "stopped")
        assert {row["status"] for row in place.trials("s")} <= {"FINISHED", "KILLED", "FAILED"}


def _number(row: dict[str, Any]) -> str:
    return str(row["trial"])
