"""Runs of the attempts of trials, of which a server may have made some twice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.store.attempts import apart, last_attempts
from lstm_sweep.search.trial import Trial


def a_run(run_id: str, number: int, attempt: int, *, written: bool = True) -> Any:
    """A run of an attempt, and its record; a driver has `written` to it."""
    params = {"layers": "2"} if written else {}
    trial = Trial(sweep="s", number=number, config=TrialConfig(), seed=0, attempt=attempt)
    run = SimpleNamespace(data=SimpleNamespace(params=params))
    return run, SimpleNamespace(trial=trial, run_id=run_id)


def ids(runs: Any) -> list[str]:
    return [record.run_id for _, record in runs]


def test_of_two_runs_of_an_attempt_the_one_counts_that_its_driver_has_written_to() -> None:
    runs = [a_run("a", 1, 1), a_run("b", 1, 1, written=False), a_run("c", 0, 1)]
    for given in (runs, runs[::-1]):
        own, doubles = apart(given)
        assert (sorted(ids(own)), ids(doubles)) == (["a", "c"], ["b"])
        assert {number: one.run_id for number, one in last_attempts(given).items()} == {
            0: "c",
            1: "a",
        }


def test_if_a_driver_died_before_it_wrote_to_either_one_of_them_counts() -> None:
    own, doubles = apart([a_run("a", 0, 1, written=False), a_run("b", 0, 1, written=False)])
    assert sorted(ids(own + doubles)) == ["a", "b"] and len(own) == 1


def test_the_last_attempt_of_each_trial_counts_in_the_order_of_their_numbers() -> None:
    runs = [a_run("a", 1, 2), a_run("b", 0, 1), a_run("c", 1, 1), a_run("d", 1, 10)]
    assert [(number, one.run_id) for number, one in last_attempts(runs).items()] == [
        (0, "b"),
        (1, "d"),
    ]
