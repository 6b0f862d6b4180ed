from __future__ import annotations

from dataclasses import replace

import pytest

from lstm_sweep.search.policy.stop_reason import (
    Stop,
    StopReason,
    SweepStatus,
    all_trials,
    out_of_patience,
    out_of_time,
    space_is_tried,
)
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.sweep.resume import how_to_go_on, spent

#: what the command line says after each limit
ADVICE = {
    StopReason.TRIALS: "lstm-sweep resume s --trials N goes on with more of them",
    StopReason.MINUTES: "lstm-sweep resume s --minutes M goes on with more of them",
    StopReason.PATIENCE: "a new sweep with more --patience searches longer",
    StopReason.SPACE: "a new sweep with a wider space has more to try",
}
SPEC = SweepSpec(trials=10, minutes=6.0, patience=5)


def tags(reason: str | None, sentence: str = "words that nobody reads") -> dict[str, str]:
    """Tags of a finished sweep."""
    found = {"sweep.state": "finished", "sweep.reason": sentence}
    return found if reason is None else found | {Tag.STOP_REASON: reason}


@pytest.mark.parametrize("reason", ADVICE)
def test_what_to_type_follows_from_the_value_whatever_the_sentence_says(reason: StopReason) -> None:
    texts = ("", "the 5 minutes are over", "no room")
    said = {how_to_go_on("s", tags(reason, text)) for text in texts}
    assert said == {ADVICE[reason]}


@pytest.mark.parametrize(
    "reason, more, expected",
    [
        ("trials", {}, "--trials 10 (words)"),
        ("trials", {"minutes": 60.0}, "--trials 10 (words)"),
        ("trials", {"trials": 11}, ""),
        ("minutes", {}, "--minutes 6 (words)"),
        ("minutes", {"trials": 99}, "--minutes 6 (words)"),
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
        (all_trials(40), "all 40 trials are done"),
        (all_trials(1), "the only trial is done"),
        (out_of_time(90.0), "the 1.5 minutes are over"),
        (out_of_time(90.0, left=0.9), "the 1.5 minutes are over"),
        (out_of_time(60.0), "the minute is over"),
        (out_of_time(1800.0, left=30.0), "the 30 minutes are over"),
        (
            out_of_time(1800.0, left=100.0),
            "what is left of the 30 minutes is too short for another trial",
        ),
        (out_of_patience(9), "the last 9 trials were no better than those before"),
        (out_of_patience(1), "the last trial was no better than those before"),
        (space_is_tried(12), "all 12 configs of the space are tried"),
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
