"""Runs of the attempts of trials, of which a server may have made some twice."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace
from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.store import memory
from lstm_sweep.search.store.faults import NoSuchRunError
from lstm_sweep.search.store.journal import FORMAT
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.reader import TrialRecord, apart, find_trial, last_attempts
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.values.trial import Ended, Outcome


def a_run(
    run_id: str, number: int, attempt: int, *, written: bool = True, **more: Any
) -> TrialRecord:
    """The record of an attempt; a driver has `written` to its run."""
    ended = Ended(Outcome.STOPPED, unfinished=more.get(Tag.UNFINISHED) == "yes")
    return TrialRecord(
        sweep="s",
        number=number,
        config=TrialConfig(),
        seed=0,
        attempt=attempt,
        run_id=run_id,
        ended=ended,
        tags=Tags.of(run_id, more),
        is_written=written,
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


def test_the_beginning_of_an_id_names_a_trial_however_many_newer_runs_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = (f"abcd{number:028x}" for number in itertools.count())
    monkeypatch.setattr(
        memory, "uuid", SimpleNamespace(uuid4=lambda: SimpleNamespace(hex=next(ids)))
    )
    store = MemoryStore()
    tags = {
        Tag.FORMAT: str(FORMAT), Tag.NAME: "s", Tag.TRIAL: "0", Tag.SEED: "0", Tag.DATA: "{}",
        Tag.PHASE: "search", Tag.CONFIG: json.dumps(TrialConfig().to_dict()),
    }  # fmt: skip
    run_id = store.create_run("s/0", tags)
    for number in range(6):
        store.create_run("b", {Tag.BASELINE: str(number)})
    assert find_trial(store, "abcd").run_id == run_id
    for number in range(6):
        store.create_run(f"s/{number}", tags)
    with pytest.raises(InputError, match="expected more of one of these run IDs: ") as refused:
        find_trial(store, "abcd")
    assert str(refused.value).count("(s/") == 5
    with pytest.raises(NoSuchRunError):
        find_trial(store, "____")
