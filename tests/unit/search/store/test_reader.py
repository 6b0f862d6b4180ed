"""Runs of the attempts of trials, of which a server may have made some twice."""

from __future__ import annotations

from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.store.reader import TrialRecord, apart, last_attempts
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.values.trial import Ended, Outcome, Trial


def a_run(
    run_id: str, number: int, attempt: int, *, written: bool = True, **more: Any
) -> TrialRecord:
    """The record of an attempt; a driver has `written` to its run."""
    trial = Trial(sweep="s", number=number, config=TrialConfig(), seed=0, attempt=attempt)
    ended = Ended(Outcome.STOPPED, unfinished=more.get(Tag.UNFINISHED) == "yes")
    return TrialRecord(
        trial=trial, run_id=run_id, ended=ended, tags=Tags.of(run_id, more), is_written=written
    )


def ids(runs: Any) -> list[str]:
    return [record.run_id for record in runs]


def test_of_two_runs_of_an_attempt_the_one_counts_that_its_driver_has_written_to() -> None:
    runs = [a_run("a", 1, 1), a_run("b", 1, 1, written=False), a_run("c", 0, 1)]
    for given in (runs, runs[::-1]):
        own, doubles = apart(given)
        assert (sorted(ids(own)), ids(doubles)) == (["a", "c"], ["b"])
        assert {number: one.run_id for number, one in last_attempts(given, "running").items()} == {
            0: "c",
            1: "a",
        }


@pytest.mark.parametrize(
    "state, expected",
    [
        ("running", "paused"),
        ("queued", "paused"),
        ("paused", "paused"),
        ("stopped", "stopped"),
        ("interrupted", "stopped"),
        ("finished", "stopped"),
    ],
)
def test_a_trial_that_ended_with_its_sweep_waits_while_the_sweep_goes_on(
    state: str, expected: str
) -> None:
    tags: dict[str, Any] = {Tag.UNFINISHED: "yes"}
    runs = [a_run("a", 0, 1, **tags), a_run("b", 1, 1)]
    assert [one.state for one in last_attempts(runs, state).values()] == [expected, "stopped"]
    first = last_attempts(runs, state)[0].to_dict()
    assert first["outcome"] == (None if expected == "paused" else "stopped")
