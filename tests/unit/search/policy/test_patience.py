from __future__ import annotations

from dataclasses import replace

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.stop_reason import trials_without_gain
from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.trial import Ended, Outcome, Trial
from tests.unit.search.policy.player import course_of, with_rounds


def test_trials_that_are_cut_off_when_the_search_is_over_are_no_trials_without_gain() -> None:
    def ended(number: int, loss: float, outcome: Outcome) -> TrialSnapshot:
        trial = Trial(sweep="s", number=number, config=TrialConfig(), seed=0)
        one = with_rounds(course_of(trial), {"val_loss": loss}).with_end(Ended(outcome), 1.0)
        return replace(one, began=float(number)).snapshot()

    searched = [ended(0, 2.0, Outcome.COMPLETE), ended(1, 2.5, Outcome.PRUNED)]
    assert trials_without_gain(searched) == 1
    assert trials_without_gain([*searched, ended(2, 2.4, Outcome.STOPPED)]) == 1
    assert trials_without_gain([*searched, ended(2, 2.4, Outcome.PRUNED)]) == 2
