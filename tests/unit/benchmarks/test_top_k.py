"""The best of each group go on from the first rung."""

from __future__ import annotations

from pathlib import Path

from benchmarks.replay import Replay
from benchmarks.top_k import TopK, TopKPolicy
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.trial import Ended, Outcome, Paused, RoundDone, Slot
from tests.unit.benchmarks.recordings import curve, write

SLOT = Slot(0)
CURVES = [
    curve(rate, size, [3 - 10 * rate * size / 32] * 9)
    for rate in (0.001, 0.01, 0.1)
    for size in (16, 32)
]


def policy_of(folder: Path, rule: TopK) -> TopKPolicy:
    replay = Replay(write(folder / "r.jsonl", CURVES))
    return TopKPolicy(rule, replay.problem, replay.curves, sweep="s")


def to_the_rung(policy: TopKPolicy, loss: float | None = None) -> int:
    """Train the next trial until it waits, or let it fail without a `loss`; its number."""
    trial = policy.next(0.0)
    assert trial
    progress = TrialProgress(trial, "", SLOT, None)
    policy.begin(progress)
    if loss is None:
        policy.end(progress.with_end(Ended(Outcome.DIVERGED), 1.0))
        return trial.number
    verdict = None
    for number in range(1, trial.rounds + 1):
        progress = progress.with_round(RoundDone(number, {"val_loss": loss, "round_seconds": 1.0}))
        if verdict := policy.judge(progress):
            break
    assert isinstance(verdict, Paused)
    policy.pause(progress.with_pause(verdict, 1.0))
    return trial.number


def test_the_best_of_a_group_go_on_and_then_the_next_group_begins(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, TopK(group=3, keep=2))
    assert [to_the_rung(policy, loss) for loss in (2.0, 1.0, 3.0)] == [0, 1, 2]
    going_on = [policy.next(0.0), policy.next(0.0), policy.next(0.0)]
    assert [trial.number for trial in going_on if trial] == [1, 0, 3]


def test_a_trial_that_has_failed_counts_for_its_group_and_does_not_go_on(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, TopK(group=2, keep=2))
    to_the_rung(policy)
    to_the_rung(policy, 2.0)
    going_on = [policy.next(0.0), policy.next(0.0)]
    assert [trial.number for trial in going_on if trial] == [1, 2]


def test_a_last_group_may_be_smaller(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, TopK(group=4, keep=1))
    for loss in (3.0, 2.0, 1.0, 4.0):
        to_the_rung(policy, loss)
    assert (first := policy.next(0.0)) and first.number == 2
    for loss in (6.0, 5.0):
        to_the_rung(policy, loss)
    assert (second := policy.next(0.0)) and second.number == 5
    assert policy.next(0.0) is None


def test_configs_are_tried_once_each_in_an_order_that_the_seed_gives(tmp_path: Path) -> None:
    def tried(seed: int) -> list[object]:
        policy = policy_of(tmp_path, TopK(group=100, seed=seed))
        for _ in CURVES:
            to_the_rung(policy, 2.0)
        return [one.trial.config for one in policy.trials.values()]

    assert set(tried(0)) == {one.config for one in CURVES}
    assert tried(0) == tried(0) != tried(1)
