from __future__ import annotations

from dataclasses import replace

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.stop_reason import noise, trials_without_gain
from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.trial import Ended, Outcome, Trial
from tests.unit.search.policy.player import course_of, with_rounds


@pytest.mark.parametrize(
    "losses, expected",
    [
        ([], 0.0),
        ([2.0], 0.0),
        ([2.0, 1.0], 0.0),  # only the second half counts
        ([9.0, 5.0, 1.0, 1.5], 0.5),
        ([9.0, 5.0, 3.0, 2.0, 2.1, 1.9, 2.2, 2.1], pytest.approx(0.2)),
    ],
)
def test_noise_is_the_typical_step_of_the_second_half(losses: list[float], expected: float) -> None:
    trial = Trial(sweep="s", number=0, config=TrialConfig(), seed=0)
    progress = with_rounds(course_of(trial), *({"val_loss": loss} for loss in losses))
    assert noise(progress.snapshot()) == expected


def test_trials_that_are_cut_off_when_the_search_is_over_are_no_trials_without_gain() -> None:
    def ended(number: int, loss: float, outcome: Outcome) -> TrialSnapshot:
        trial = Trial(sweep="s", number=number, config=TrialConfig(), seed=0)
        one = with_rounds(course_of(trial), {"val_loss": loss}).with_end(Ended(outcome), 1.0)
        return replace(one, began=float(number)).snapshot()

    searched = [ended(0, 2.0, Outcome.COMPLETE), ended(1, 2.5, Outcome.PRUNED)]
    assert trials_without_gain(searched) == 1
    assert trials_without_gain([*searched, ended(2, 2.4, Outcome.STOPPED)]) == 1
    assert trials_without_gain([*searched, ended(2, 2.4, Outcome.PRUNED)]) == 2
