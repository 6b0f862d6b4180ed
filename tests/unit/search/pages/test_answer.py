from __future__ import annotations

import math
from typing import Any

import pytest

from lstm_sweep.search.pages import report_page
from lstm_sweep.search.trial import Outcome
from tests.unit.search.pages.found import confirmation, findings, trial


def test_the_answer_is_the_best_trial_in_nats_and_bits() -> None:
    found = findings(trial(0, 1.5), trial(1, math.log(2)), trial(2, None, outcome="error"))
    assert report_page.headline(found) == "s/1 is best: 0.6931 nats = 1.0000 bits per symbol"
    assert report_page.comparisons(found) == [
        "That is 1.3069 nats below naive bayes (2.0000), the best of the baselines, on the same "
        "validation targets.",
        "Its perplexity is 2.00: it is as unsure of the next symbol as if 2.00 symbols were "
        "equally likely.",
    ]


def test_the_entropy_is_named_where_it_is_known() -> None:
    said = report_page.comparisons(
        findings(trial(0, 2.5), entropy=1.0, about={"validation targets": "9"})
    )
    assert "0.5000 nats above naive bayes (2.0000)" in said[0] and "same 9 valid" in said[0]
    assert "entropy of these data, 1.0000 nats; the best trial is 1.5000 nats above" in said[1]
    [_, below, *_] = report_page.comparisons(findings(trial(0, 0.75), entropy=1.0))
    assert "the best trial is 0.2500 nats below it, by the chance of its targets" in below


def test_a_template_has_a_loss_without_units() -> None:
    found = findings(trial(0, -0.6), in_nats=False, loss_name="loss", baselines={}, state="running")
    assert report_page.headline(found) == "s/0 is best so far: a loss of -0.6000"
    assert report_page.comparisons(found) == []


def test_a_trial_that_has_not_ended_is_the_best_once_it_has_the_lowest_loss() -> None:
    runs = trial(1, 1.25, outcome="running")
    found = findings(trial(0, 1.5), runs, state="running")
    assert found.leader == runs and found.best == found.trials[0]
    headline = report_page.headline(found)
    assert headline.startswith("s/1, which has not ended, is best so far: 1.2500 nats")
    assert report_page.comparisons(found)[0].startswith("That is 0.7500 nats below naive bayes")
    behind = findings(trial(0, 1.125), runs, state="running")
    assert report_page.headline(behind).startswith("s/0 is best so far: 1.1250 nats")


def test_without_a_result_the_answer_says_so() -> None:
    failed = trial(0, None, outcome="error")
    assert report_page.headline(findings(failed)) == "No trial has a result."
    assert report_page.headline(findings(state="running")) == "No trial has a result yet."
    assert (
        report_page.certainty(findings(failed)) == report_page.comparisons(findings(failed)) == []
    )


@pytest.mark.parametrize(
    "more, said",
    [
        ({"p": 0.01}, "s/1 (1.2000 \u00b1 0.1000) is worse: p = 0.01."),
        ({"p": 0.59}, "s/1 (1.2000 \u00b1 0.1000) is as good: p = 0.59."),
        (
            {"p": None, "is_best": False, "losses": (1.2,), "failed": {Outcome.DIVERGED: 2}},
            "Whether s/1 (1.2000, 2 diverged) is as good cannot be told from so few seeds.",
        ),
    ],
)
def test_other_configs_are_compared_with_that_of_the_best_trial(
    more: dict[str, Any], said: str
) -> None:
    again = (confirmation(0, 1.1, None), confirmation(1, 1.2, **more))
    found = findings(trial(0, 1.0), trial(1, 1.1), confirmed=again)
    first, *others = report_page.certainty(found)
    assert first == (
        "Its config, that of s/0, trained again with other seeds, has 1.1000 \u00b1 0.1000 over 3 "
        "further seeds (first run: 1.1000)."
    )
    assert others == [said]


def test_the_best_may_be_a_further_seed() -> None:
    lucky = trial(2, 0.9, phase="confirm", config=trial(1, 1.1).config)
    again = (confirmation(1, 1.1, None), confirmation(0, 1.2, 0.5))
    found = findings(trial(0, 1.0), trial(1, 1.1), lucky, confirmed=again)
    assert report_page.comparisons(found)[0] == (
        "It trains the config of s/1 again with another seed."
    )
    assert report_page.certainty(found)[0].startswith("Its config, that of s/1, trained again")


@pytest.mark.parametrize(
    "state, end",
    [
        ("finished", ", so it is not known how much of its lead is chance."),
        ("running", " yet."),
    ],
)
def test_it_says_where_the_best_trial_is_not_one_that_was_trained_again(
    state: str, end: str
) -> None:
    again = (confirmation(1, 1.2, None, is_best=False),)
    found = findings(trial(0, 1.0), trial(1, 1.1), confirmed=again, state=state)
    said = f"No further run of the config of the best trial, s/0, has ended{end}"
    own, other = report_page.certainty(found)
    assert own == said and other.startswith("s/1, trained again, has 1.2000")


def test_without_further_seeds_nobody_knows_how_sure_it_is() -> None:
    [said] = report_page.certainty(findings(trial(0, 1.0)))
    assert "No config was trained again" in said
    found = findings(trial(0, 1.0), unconfirmed="s/0 was not trained again: that needs 8 trials")
    assert report_page.certainty(found) == [said, "s/0 was not trained again: that needs 8 trials."]
