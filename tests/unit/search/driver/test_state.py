from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.actions.sweeps import SweepResult
from lstm_sweep.search.driver.state import INTERRUPTED, ON_REQUEST, SweepState
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.sweep import Stop, StopReason, SweepStatus
from lstm_sweep.search.values.trial import Ended, Outcome, Progressed, Slot, Trial
from tests.states import with_trials

SLOTS = (Slot(0, core=0), Slot(1, core=1))


def progress(
    number: int,
    outcome: Outcome | None = None,
    *losses: float,
    attempt: int = 1,
    seconds: float = 0.0,
    latest: Progressed | None = None,
) -> Trial:
    """A trial on the first slot, whose config asks for four epochs."""
    return Trial(
        sweep="s",
        number=number,
        config=TrialConfig(epochs=4),
        seed=0,
        attempt=attempt,
        slot=SLOTS[0],
        rounds=[{"val_loss": loss} for loss in losses],
        latest=latest,
        ended=Ended(outcome) if outcome else None,
        seconds=seconds,
    )


def state(
    *finished: Trial,
    trials: int = 10,
    running: Sequence[Trial] = (),
    waiting: Sequence[Trial] = (),
    **changes: Any,
) -> SweepState:
    """A sweep with these trials."""
    spec = SweepSpec(trials=trials)
    new = SweepState(
        name="s", spec=spec, run_id="parent", slots=SLOTS, baselines={"unigram": 3.0}, **changes
    )
    return with_trials(new, finished, running, waiting)


@pytest.mark.parametrize(
    "expected, deadline, now, left",
    [
        (None, None, 10.0, None),
        (None, 60.0, 10.0, 50.0),
        (None, 60.0, 70.0, 0.0),
        (40.0, None, 10.0, 30.0),
        (40.0, 35.0, 10.0, 25.0),
        (40.0, 60.0, 10.0, 30.0),
        (40.0, None, 50.0, 0.0),
    ],
)
def test_what_is_left_is_to_the_expected_end_or_to_the_deadline(
    expected: float | None, deadline: float | None, now: float, left: float | None
) -> None:
    assert state(expected_end=expected, deadline=deadline, now=now).seconds_left == left


OVER = Stop(StopReason.MINUTES, "5 minutes are over")


@pytest.mark.parametrize(
    "why, status, ending, broken_off",
    [
        (OVER, SweepStatus.FINISHED, "5 minutes are over", False),
        (INTERRUPTED, SweepStatus.INTERRUPTED, "interrupted", True),
        (ON_REQUEST, SweepStatus.STOPPED, "stopped on request", True),
        (
            Stop(StopReason.FAILURES, "nothing works"),
            SweepStatus.FAILED,
            "failed: nothing works",
            True,
        ),
        (Stop(StopReason.NO_ROOM, "it is full"), SweepStatus.FAILED, "failed: it is full", True),
        (Stop(StopReason.FAILED, "a fault"), SweepStatus.FAILED, "failed: a fault", True),
    ],
)
def test_a_sweep_that_was_closed_says_how_and_why(
    why: Stop, status: SweepStatus, ending: str, broken_off: bool
) -> None:
    found = replace(state(), closed=why)
    assert (found.status, found.ending, found.broken_off) == (status, ending, broken_off)
    assert SweepResult.of(found).to_dict()["state"] == str(status)


def test_trials_that_may_be_tried_again_keep_their_folder_unless_the_sweep_is_done() -> None:
    good = progress(1, Outcome.COMPLETE, 1.0)
    found = state(progress(0, Outcome.LOST), good, running=[progress(2)])
    assert found.going_on == set()
    found = replace(found, closed=INTERRUPTED)
    assert found.going_on == {"0", "2"}
