"""Which trials of a search were judged."""

from __future__ import annotations

from types import SimpleNamespace

from benchmarks.found_run import judged
from lstm_sweep.search.store.tags import Tag, Tags


def attempt(trial: str, phase: str, outcome: str = "pruned", number: int = 0) -> Tags:
    tags = {
        Tag.TRIAL: trial, Tag.PHASE: phase, Tag.OUTCOME: outcome, Tag.ATTEMPT: str(number)
    }  # fmt: skip
    return run_with(tags)


def run_with(tags: dict[str, str]) -> Tags:
    run = SimpleNamespace(info=SimpleNamespace(run_id="r"), data=SimpleNamespace(tags=tags))
    return Tags(run)


def test_trials_count_that_were_scored_or_have_diverged_each_once() -> None:
    tags = [
        run_with({}),  # that of the sweep
        attempt("0", "ladder"),
        attempt("1", "ladder", "diverged"),
        attempt("2", "search", "complete", number=1),
        attempt("2", "search", "lost"),
        attempt("3", "search", "diverged", number=2),
        attempt("3", "search", "lost", number=1),
        attempt("4", "search", "stopped"),
        attempt("5", "confirm", "complete"),
    ]
    found = judged(tags, {"0", "2", "3", "5"})
    assert found == {"ladder": 2, "search": 2, "confirm": 1, "diverged": 1}
