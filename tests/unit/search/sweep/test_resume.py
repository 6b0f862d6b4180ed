"""What a sweep that goes on takes from runs that others may have written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.store import journal
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.sweep import resume
from lstm_sweep.search.sweep.lease import Lease
from lstm_sweep.search.trial import Ended, Outcome, Trial


def run_with(tags: dict[str, str]) -> Any:
    """A run that has these tags."""
    return SimpleNamespace(info=SimpleNamespace(run_id="r"), data=SimpleNamespace(tags=tags))


@pytest.mark.parametrize(
    ("tags", "slot_seconds"),
    [
        ({}, 0.0),
        ({Tag.SECONDS: "50", Tag.SLOTS: "4"}, 200.0),  # of an earlier version
        ({Tag.SECONDS: "50"}, 0.0),  # of one that did not say its slots either
        ({Tag.SECONDS: "50", Tag.SLOTS: "4", Tag.SLOT_SECONDS: "120.5"}, 120.5),
        # another driver with 8 slots has died 10 seconds later
        ({Tag.SECONDS: "50", Tag.SLOTS: "8", Tag.SLOT_SECONDS: "120.5", Tag.LEASE: "60"}, 200.5),
        ({Tag.SLOTS: "8", Tag.LEASE: "60"}, 480.0),
        # others may write to the store: what is no number counts as none
        ({Tag.SECONDS: "50", Tag.SLOTS: "x"}, 0.0),
        ({Tag.SECONDS: "soon", Tag.SLOTS: "4", Tag.SLOT_SECONDS: "120.5"}, 120.5),
        ({Tag.SECONDS: "50", Tag.SLOTS: "4", Tag.SLOT_SECONDS: "nan"}, 0.0),
    ],
)
def test_the_time_for_which_there_were_slots_is_kept(
    tags: dict[str, str], slot_seconds: float
) -> None:
    if Tag.LEASE in tags:
        tags = tags | Lease(cast("Store", None), "r", float(tags[Tag.LEASE])).tag
    assert resume.slot_s(run_with(tags)) == slot_seconds


def test_an_attempt_whose_driver_died_took_as_long_as_the_rounds_that_it_trained() -> None:
    lost = journal.lost_with_driver(Ended(Outcome.LOST, "its driver died", unfinished=True))
    curves = ["[[3.0, 2.0], [2.5, 2.5]]", "[[3.0, 2.0], [2.6, 4.0], [2.4, 8.0]]"]
    # both runs were closed long after that, when the sweep went on
    runs = [closed(curve, lost) for curve in curves]
    children = [record_of(run, number) for number, run in enumerate(runs, 1)]
    store: Any = None
    found = resume._all_progress(store, closed("[]", {}), children)
    # the second attempt has its first round from the checkpoint of the first one
    assert [one.seconds for one in found] == [4.5, 12.0]
    assert all(one.ended and one.ended.unfinished for one in found)


@pytest.mark.parametrize("driver_died", ["", None])
def test_an_attempt_that_ended_by_itself_took_until_its_end(driver_died: str | None) -> None:
    tags = {Tag.UNFINISHED: "yes", Tag.REASON: "no space left"}
    if driver_died is not None:  # it was paused when its driver died, and went on: tags decide
        tags |= {Tag.DRIVER_DIED: driver_died, Tag.REASON: journal.DRIVER_DIED}
    run, store = closed("[[3.0, 2.0]]", tags), cast("Store", None)
    [found] = resume._all_progress(store, closed("[]", {}), [record_of(run, 1)])
    assert found.seconds == 86_400


def test_trials_of_a_sweep_that_waited_in_a_queue_began_as_long_after_it_as_they_did() -> None:
    waited = closed("[]", {Tag.STARTED: "3600", Tag.SECONDS: "90000"})
    runs = [closed("[[3.0, 2.0]]", {}) for _ in range(2)]
    for run, began in zip(runs, (3_610, 3_650), strict=True):
        run.info.start_time, run.info.end_time = 1_000 * began, 1_000 * began + 30_000
    children = [record_of(run, 1) for run in runs]
    found = resume._all_progress(cast("Store", None), waited, children)
    assert [(one.began, one.seconds) for one in found] == [(10.0, 30.0), (50.0, 30.0)]


def closed(curve: str, tags: dict[str, str]) -> Any:
    """A run of a trial with these tags, which was closed a day after its beginning."""
    tags = tags | {Tag.CURVE: curve}
    info = SimpleNamespace(run_id="r", status="KILLED", start_time=0, end_time=86_400_000)
    return SimpleNamespace(info=info, data=SimpleNamespace(tags=tags))


def record_of(run: Any, attempt: int) -> Any:
    """The record of that attempt of a trial."""
    trial = Trial(sweep="s", number=0, config=TrialConfig(), seed=0, attempt=attempt)
    why = {"outcome": "lost", "reason": run.data.tags.get(Tag.REASON, "")}
    return SimpleNamespace(
        trial=trial, run_id="r", tags=Tags(run), run=run, best_val_loss=None, **why
    )
