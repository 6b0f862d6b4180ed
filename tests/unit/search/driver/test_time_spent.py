"""What the slots of a sweep were used for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.driver.read_back import stored_time
from lstm_sweep.search.driver.state import SweepState, with_attempts
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.sweep import SHARES, TimeSpent
from lstm_sweep.search.values.trial import Ended, Outcome, Phase, Slot, Trial

SLOTS = (Slot(0), Slot(1))


def attempt(
    number: int,
    seconds: float,
    outcome: Outcome | None = Outcome.COMPLETE,
    *,
    phase: Phase = Phase.SEARCH,
    scoring: tuple[float | None, ...] = (),
    loss: float = 2.0,
    unfinished: bool = False,
    attempt: int = 1,
) -> Trial:
    """An attempt of a trial; its rounds say how long scoring took, if they say so."""
    rounds = [
        {"val_loss": loss} | ({} if one is None else {"scoring_seconds": one}) for one in scoring
    ]
    ended = Ended(outcome, unfinished=unfinished) if outcome else None
    return Trial(
        sweep="s", number=number, config=TrialConfig(), seed=0, phase=phase, attempt=attempt,
        rounds=rounds, ended=ended, seconds=seconds,
    )  # fmt: skip


def spent_by(*finished: Trial, unfinished: tuple[Trial, ...] = (), **changes: Any) -> TimeSpent:
    """Where the time of a sweep with these attempts went; it had slots for 100 seconds."""
    given: dict[str, Any] = {"slot_seconds": 100.0, "unfinished": unfinished} | changes
    new = SweepState(name="s", spec=SweepSpec(), slots=SLOTS, **given)
    return with_attempts(new, finished).time_spent


def shares(spent: TimeSpent) -> dict[str, float]:
    """Those that are not 0."""
    found = {name: getattr(spent, name) for name in SHARES}
    assert sum(found.values()) == pytest.approx(spent.slot_seconds)
    return {name: seconds for name, seconds in found.items() if seconds}


@pytest.mark.parametrize(
    ("phase", "outcome", "share"),
    [
        (Phase.LADDER, Outcome.COMPLETE, "ladder"),
        (Phase.LADDER, Outcome.STOPPED, "ladder"),
        (Phase.LADDER, Outcome.DIVERGED, "ladder"),
        (Phase.LADDER, Outcome.ERROR, "failures"),
        (Phase.SEARCH, Outcome.COMPLETE, "beaten"),
        (Phase.SEARCH, Outcome.PRUNED, "cut_short"),
        (Phase.SEARCH, Outcome.STOPPED, "cut_short"),
        (Phase.SEARCH, Outcome.DIVERGED, "failures"),
        (Phase.SEARCH, Outcome.OUT_OF_MEMORY, "failures"),
        (Phase.SEARCH, Outcome.HUNG, "failures"),
        (Phase.SEARCH, Outcome.ERROR, "failures"),
        (Phase.SEARCH, Outcome.LOST, "failures"),
        (Phase.CONFIRM, Outcome.COMPLETE, "confirmation"),
        (Phase.CONFIRM, Outcome.STOPPED, "confirmation"),
        (Phase.CONFIRM, Outcome.DIVERGED, "failures"),
    ],
)
def test_each_attempt_belongs_to_one_share(phase: Phase, outcome: Outcome, share: str) -> None:
    best = attempt(0, 30.0, scoring=(1.0,), loss=1.0)
    spent = spent_by(best, attempt(1, 25.0, outcome, phase=phase, scoring=(1.0,)))
    assert shares(spent) == {"best": 30.0, share: 25.0, "idle": 45.0}


def test_an_attempt_that_a_driver_left_unfinished_belongs_to_its_trial() -> None:
    left = attempt(0, 10.0, Outcome.LOST, unfinished=True)
    left_again = attempt(0, 10.0, Outcome.STOPPED, unfinished=True, attempt=2)
    for outcome, share in (
        (Outcome.COMPLETE, "beaten"), (Outcome.PRUNED, "cut_short"), (Outcome.ERROR, "failures"),
    ):  # fmt: skip
        done = attempt(0, 5.0, outcome, attempt=3)
        spent = spent_by(done, unfinished=(left, left_again))
        assert shares(spent) == {share: 25.0, "idle": 75.0}


ENDLESS = json.dumps(dict.fromkeys(TimeSpent().to_dict(), 1e308))


@pytest.mark.parametrize("text", ["{}", "[]", '{"slot_seconds": "1"}', "NaN", ENDLESS])
def test_a_tag_that_says_something_else_says_nothing(text: str) -> None:
    assert stored_time(Tags.of("r", {Tag.TIME: text})) is None


def test_the_best_trial_has_all_its_attempts() -> None:
    lost = attempt(1, 5.0, Outcome.LOST)
    best = attempt(1, 7.0, scoring=(1.0,), loss=1.0, attempt=2, phase=Phase.CONFIRM)
    assert shares(spent_by(lost, attempt(0, 8.0), best)) == {
        "best": 12.0,
        "beaten": 8.0,
        "idle": 80.0,
    }


def test_a_round_that_is_taken_from_a_checkpoint_is_scored_once() -> None:
    lost = attempt(0, 10.0, Outcome.LOST, scoring=(1.0, 0.5, 0.5))
    again = attempt(0, 10.0, scoring=(1.0001, 0.5, 0.625), attempt=2)  # the third one anew
    assert spent_by(lost, again).scoring == 2.625
