from __future__ import annotations

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.policy import BrokenOff
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.trial import Ended, Outcome, Paused, Phase, Trial
from tests.unit.search.policy.player import course_of


def course(number: int, phase: Phase = Phase.SEARCH) -> TrialProgress:
    return course_of(Trial(sweep="s", number=number, config=TrialConfig(), seed=0, phase=phase))


def ended(number: int, phase: Phase = Phase.SEARCH) -> TrialProgress:
    return course(number, phase).with_end(Ended(Outcome.COMPLETE), 9.0)


def test_further_runs_since_the_search_has_ended_are_told_from_earlier_ones() -> None:
    """A sweep that was given more trials has searched on after it had confirmed its best."""
    earlier, searched, further = ended(1, Phase.CONFIRM), ended(2), ended(3, Phase.CONFIRM)
    waiting = course(4, Phase.CONFIRM).trial
    preempted = course(5, Phase.CONFIRM).with_pause(Paused("room"), 1.0)
    past = BrokenOff([ended(0), earlier, searched, further], [waiting], [preempted])
    assert [one.trial.number for one in past.begun] == [0, 1, 2]
    assert past.further == [further, preempted]
    assert past.first_again == 3
    assert past.under_way == {4, 5}
    assert BrokenOff([ended(0), earlier, searched], [], []).first_again is None
