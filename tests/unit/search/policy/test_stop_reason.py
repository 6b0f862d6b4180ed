from __future__ import annotations

from dataclasses import replace

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.driver.resume import how_to_go_on, spent
from lstm_sweep.search.policy.stopping import (
    all_trials,
    out_of_patience,
    out_of_time,
    space_is_tried,
    trials_without_gain,
)
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.spec import ALGORITHMS, Plan, SweepSpec
from lstm_sweep.search.values.stop_reason import Stop, StopReason, SweepStatus
from lstm_sweep.search.values.trial import Ended, Outcome, Phase, Trial
from tests.unit.search.policy.player import (
    PLAIN,
    SMALL,
    always,
    course_of,
    each_slots,
    in_order,
    play,
    reason_of,
    with_rounds,
)

#: what the command line says after each limit
ADVICE = {
    StopReason.TRIALS: "lstm-sweep resume s --trials N goes on with more of them",
    StopReason.MINUTES: "lstm-sweep resume s --minutes M goes on with more of them",
    StopReason.PATIENCE: "a new sweep with more --patience searches longer",
    StopReason.SPACE: "a new sweep with a wider space has more to try",
}
SPEC = SweepSpec(trials=10, minutes=6.0, patience=5)


def tags(reason: str, sentence: str) -> dict[str, str]:
    """Tags of a finished sweep."""
    return {"sweep.state": "finished", "sweep.reason": sentence, Tag.STOP_REASON: reason}


@pytest.mark.parametrize("reason", StopReason)
def test_what_to_type_follows_from_the_value_whatever_the_sentence_says(reason: StopReason) -> None:
    broken_off = "lstm-sweep resume s goes on with it"
    for text in ("", "the 5 minutes are over", "no room"):
        if reason in ADVICE:
            assert how_to_go_on("s", tags(reason, text)) == ADVICE[reason]
        for state in ("interrupted", "stopped", "failed"):
            found = tags(reason, text) | {"sweep.state": state}
            assert how_to_go_on("s", found) == broken_off and spent(found, SPEC, SPEC) == ""


@pytest.mark.parametrize(
    "reason, more, expected",
    [
        ("trials", {"minutes": 60.0}, "--trials 10 (words)"),
        ("trials", {"trials": 11}, ""),
        ("minutes", {}, "--minutes 6 (words)"),
        ("minutes", {"minutes": 7.0}, ""),
        ("minutes", {"minutes": None}, ""),
        ("patience", {"minutes": 7.0}, "--patience 5 (words)"),
        ("space", {"trials": 99, "minutes": 60.0}, "the whole space (words)"),
    ],
)
def test_what_is_spent_follows_from_the_value(
    reason: str, more: dict[str, float | None], expected: str
) -> None:
    found = spent(tags(reason, "words"), SPEC, replace(SPEC, **more))  # type: ignore[arg-type]
    assert found == expected


@pytest.mark.parametrize(
    "stop, text",
    [
        (all_trials(1), "the only trial is done"),
        (out_of_time(90.0, left=0.9), "the 1.5 minutes are over"),
        (out_of_time(60.0), "the minute is over"),
        (out_of_time(1800.0, left=30.0), "the 30 minutes are over"),
        (
            out_of_time(1800.0, left=100.0),
            "what is left of the 30 minutes is too short for another trial",
        ),
        (out_of_patience(1), "the last trial was no better than those before"),
    ],
)
def test_the_sentence_says_what_is_spent(stop: Stop, text: str) -> None:
    assert stop.text == text


@pytest.mark.parametrize(
    "state, without_result, with_result",
    [
        (SweepStatus.FINISHED, "FINISHED", "FINISHED"),
        (SweepStatus.STOPPED, "KILLED", "FINISHED"),
        (SweepStatus.INTERRUPTED, "KILLED", "FINISHED"),
        (SweepStatus.FAILED, "FAILED", "FAILED"),
    ],
)
def test_a_sweep_with_a_result_does_not_look_like_a_failure(
    state: SweepStatus, without_result: str, with_result: str
) -> None:
    statuses = [state.run_status(has_result=one) for one in (False, True)]
    assert statuses == [without_result, with_result]


@pytest.mark.parametrize(
    "losses, wobble, patience, expected",
    [
        ([2.0], 0.0, 3, 4),  # the first is the best, and three more follow
        ([2.0, 1.9, 1.8, 1.7, 1.7], 0.0, 3, 7),
        ([2.0, 2.0, 2.0, 1.5, 1.5], 0.0, 2, 3),  # too early to find it
        ([2.0 - 0.01 * n for n in range(30)], 0.0, 3, 30),  # always better
        ([2.0 - 0.01 * n for n in range(30)], 0.2, 3, 4),  # 0.01 is no more than noise
        ([2.0 - 0.01 * n for n in range(30)], 0.2, 25, 30),  # but it adds up
    ],
)
def test_the_search_ends_when_nothing_gets_better(
    losses: list[float], wobble: float, patience: int, expected: int
) -> None:
    plan = Plan(**{**PLAIN, "trials": 30, "patience": patience})
    played = play(plan, curves=in_order(losses, wobble), slots=1)
    assert len(played.all_progress) == expected
    ended_early = f"the last {patience} trials were no better than those before"
    assert reason_of(played.policy) == (ended_early if expected < 30 else "all 30 trials are done")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_space_that_is_used_up_ends_the_search_with_a_reason(algorithm: str) -> None:
    plan = Plan(**{**PLAIN, "trials": 50, "algorithm": algorithm})
    played = play(plan, SMALL, curves=always(*[2.0] * 9), slots=3)
    assert {progress.config for progress in played.all_progress} == set(SMALL.points())
    assert reason_of(played.policy) == "all 12 configs of the space are tried"


def test_a_space_of_which_nothing_is_admitted_ends_at_once() -> None:
    played = play(Plan(trials=50), SMALL, admits=lambda config: False)
    assert played.all_progress == []
    assert reason_of(played.policy) == "no config may be tried"


@each_slots
def test_a_space_that_is_used_up_may_be_confirmed_still(slots: int) -> None:
    plan = Plan(trials=50, halving=False, early_stopping=0)
    played = play(plan, SMALL, curves=in_order([2.0 - 0.1 * n for n in range(12)]), slots=slots)
    assert len(played.of(Phase.SEARCH)) == 12
    assert len(played.of(Phase.CONFIRM)) == 9
    assert reason_of(played.policy) == space_is_tried(12).text


def test_trials_that_are_cut_off_when_the_search_is_over_are_no_trials_without_gain() -> None:
    def ended(number: int, loss: float, outcome: Outcome) -> Trial:
        trial = Trial(sweep="s", number=number, config=TrialConfig(), seed=0)
        one = with_rounds(course_of(trial), {"val_loss": loss}).with_end(Ended(outcome), 1.0)
        return replace(one, began=float(number))

    searched = [ended(0, 2.0, Outcome.COMPLETE), ended(1, 2.5, Outcome.PRUNED)]
    assert trials_without_gain(searched) == 1
    assert trials_without_gain([*searched, ended(2, 2.4, Outcome.STOPPED)]) == 1
    assert trials_without_gain([*searched, ended(2, 2.4, Outcome.PRUNED)]) == 2
