"""How long an attempt had a slot, as it is read from its run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lstm_sweep.search.store.curves import slot_seconds, waited_seconds
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.tags import Tag, Tags

#: a run that began after 100 s
BEGAN_MS = 100_000
#: two rounds that took 3 and 4 s
ROUNDS = [{"val_loss": 2.0, "round_seconds": 3.0}, {"val_loss": 1.5, "round_seconds": 4.0}]
DIED = {Tag.OUTCOME: "lost", Tag.DRIVER_DIED: "yes"}


def seconds_of(
    status: str, end_s: float | None = None, tags: dict[str, str] | None = None, **before: Any
) -> float:
    """Seconds of a run with these rounds that ended so many seconds after its beginning."""
    end = None if end_s is None else BEGAN_MS + round(end_s * 1000)
    info = SimpleNamespace(run_id="r", status=status, start_time=BEGAN_MS, end_time=end)
    run: Any = SimpleNamespace(info=info, data=SimpleNamespace(tags=tags or {}))
    record: Any = SimpleNamespace(tags=Tags(run), run=run)
    return slot_seconds(record, ROUNDS, **before)


def test_a_trial_that_has_ended_took_the_time_of_its_run() -> None:
    assert seconds_of("FINISHED", 9.5) == 9.5
    assert seconds_of("FINISHED", -1.0) == 0.0  # the clock was put back


def test_time_for_which_a_trial_waited_does_not_count() -> None:
    assert seconds_of("FINISHED", 600.0, {Tag.SECONDS: "8.25"}) == 8.25


def test_a_trial_that_runs_took_as_long_as_its_rounds() -> None:
    assert seconds_of("RUNNING") == 7.0


@pytest.mark.parametrize(("until_it_waited", "seconds"), [("4.5", 7.0), ("9.5", 9.5)])
def test_one_that_goes_on_after_it_has_waited_took_no_less_than_its_rounds(
    until_it_waited: str, seconds: float
) -> None:
    assert seconds_of("RUNNING", None, {Tag.SECONDS: until_it_waited}) == seconds


def test_one_whose_driver_died_ended_long_before_its_run_was_closed() -> None:
    assert seconds_of("KILLED", 72_000.0, DIED) == 7.0
    assert seconds_of("KILLED", 72_000.0, DIED | {Tag.SECONDS: "7.5"}) == 7.5
    assert seconds_of("KILLED", 9.5, {Tag.OUTCOME: "lost"}) == 9.5  # its worker died


def test_rounds_of_an_earlier_attempt_are_not_its_own() -> None:
    assert seconds_of("RUNNING", before=ROUNDS[:1]) == 4.0


def test_seconds_that_are_none_are_refused() -> None:
    with pytest.raises(BadRunError, match=f"tag {Tag.SECONDS} is "):
        seconds_of("FINISHED", 9.5, {Tag.SECONDS: "soon"})


def test_a_trial_that_has_not_waited_says_no_time_until_then() -> None:
    record: Any = SimpleNamespace(tags={})
    assert waited_seconds(record) is None
