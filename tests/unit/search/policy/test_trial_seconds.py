"""What trials still cost, by their own rounds."""

from __future__ import annotations

import statistics

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.trial_seconds import TrialSeconds
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.trial import Ended, Outcome, Paused, Phase, Trial
from tests.unit.search.policy.player import SMALL, course_of, policy_of, with_rounds


def policy() -> Policy:
    """One that compares trials after their first round."""
    return policy_of(Plan(), SMALL, first_rung=1, judged_from=lambda config: 1)


def trained(number: int, *seconds: float, phase: Phase = Phase.SEARCH) -> TrialProgress:
    """A trial of 9 rounds that has trained some, by the seconds of each."""
    config = TrialConfig(epochs=9, layer_size=16 + number)
    trial = Trial(sweep="s", number=number, config=config, seed=0, phase=phase)
    rounds = [{"val_loss": 2.0, "round_seconds": each} for each in seconds]
    return with_rounds(course_of(trial), *rounds)


def seconds_of(*all_progress: TrialProgress, **shares: float) -> TrialSeconds:
    """What is known once these trials are; `shares` by `t` and the number of a trial."""
    own = policy()
    for progress in all_progress:
        own.begin(progress)
    return TrialSeconds(own, {int(name[1:]): share for name, share in shares.items()})


def test_the_rest_of_a_trial_leaves_out_its_first_round_and_what_is_done_of_the_next() -> None:
    running = trained(0, 9.0, 2.0, 2.0)
    seconds = seconds_of(running, t0=0.5)
    assert seconds.rest(running.snapshot()) == pytest.approx(5.5 * 2.0)
    assert seconds.rest(running.snapshot(), rounds=4) == pytest.approx(0.5 * 2.0)
    assert seconds.rest(running.snapshot(), rounds=2) == 0.0
    ended = running.with_end(Ended(Outcome.PRUNED), 15.0)
    assert seconds.rest(ended.snapshot()) == 0.0


def test_what_starting_takes_is_known_once_a_trial_waits_at_its_first_rung() -> None:
    running = trained(0, 5.0, 2.0)
    before = seconds_of(running)
    assert before.start == policy().costs.fixed_seconds
    costs = before.each(trained(1, 4.0).snapshot())
    waits = trained(1, 4.0).with_pause(Paused("at its first rung"), 7.0)
    # it had its slot for 7 s, of which one round is taken off
    assert seconds_of(running, waits).start == pytest.approx(max(0.0, 7.0 - costs))


def test_a_trial_that_waits_at_a_later_rung_does_not_say_what_one_start_takes() -> None:
    waits = trained(0, 4.0, 2.0, 2.0, 2.0).with_pause(Paused("at a later rung"), 30.0)
    seconds = seconds_of(waits)
    assert seconds.start == policy().costs.fixed_seconds


def test_a_further_run_takes_what_the_rounds_of_the_first_run_took() -> None:
    first = trained(0, 3.0, *[1.0] * 7, 6.0).with_end(Ended(Outcome.COMPLETE), 17.0)
    again = trained(1, 3.0, 1.0, 1.0, phase=Phase.CONFIRM)
    seconds = seconds_of(first, again, t1=0.5)
    # five rounds of 1 s and the longer last one, but for half a round
    assert seconds.rest_again(again.snapshot(), first.snapshot()) == pytest.approx(11.0 - 0.5)


def test_a_further_run_goes_on_longer_than_a_first_run_that_was_pruned() -> None:
    first = trained(0, 3.0, 1.0, 1.0).with_end(Ended(Outcome.PRUNED), 6.0)
    again = trained(1, 3.0, phase=Phase.CONFIRM)
    seconds = seconds_of(first, again)
    assert seconds.rest_again(again.snapshot(), first.snapshot()) == pytest.approx(8.0)


def test_a_new_trial_like_one_that_failed_early_takes_as_long_as_that() -> None:
    failed = trained(0).with_end(Ended(Outcome.DIVERGED), 1.5)
    waits = trained(1, 4.0).with_pause(Paused("at its first rung"), 7.0)
    seconds = seconds_of(failed, waits)
    assert seconds.to_first_rung(failed.snapshot()) == 1.5
    one = waits.snapshot()
    assert seconds.to_first_rung(one) == pytest.approx(seconds.start + seconds.each(one))


def test_a_further_run_starts_as_quickly_as_trials_have_started() -> None:
    leads = trained(0, 3.0, *[1.0] * 3)
    waits = trained(1, 1.0).with_pause(Paused("at its first rung"), 1.2)
    seconds = seconds_of(leads, waits)
    assert seconds.start < policy().costs.fixed_seconds
    assert seconds.again(leads.snapshot()) == pytest.approx(seconds.start + 9 * 1.0)


def test_of_the_trials_at_a_rung_one_of_three_is_still_to_be_promoted() -> None:
    waits = [trained(n, 2.0).with_pause(Paused("at its first rung"), 2.0) for n in range(5)]
    seconds = seconds_of(*waits)
    searched = [one.snapshot() for one in waits]
    each = statistics.fmean(map(seconds.each, searched))
    # rungs are 1 and 3 of 9: with 4 new ones, 3 of 9 train 2 rounds more, and 1 of these 6 more
    assert seconds.promoted(searched, 4) == pytest.approx((3 * 2 + 1 * 6) * each)
    # one that has come further is one of these
    further = [trained(5, 2.0, 2.0).snapshot(), *searched]
    each = statistics.fmean(map(seconds.each, further))
    assert seconds.promoted(further, 0) == pytest.approx(2 * each)
    assert seconds.promoted(searched[:2], 0) == 0.0


def test_a_trial_runs_to_its_next_rung_or_to_its_end() -> None:
    seconds = seconds_of(trained(0, 2.0, 2.0))
    assert seconds.to_next_rung(trained(0, 2.0, 2.0).snapshot()) == pytest.approx(2.0)
    assert seconds.to_next_rung(trained(0, *[2.0] * 4).snapshot()) == pytest.approx(5 * 2.0)
