"""How long a sweep still takes: at the pace of its trials so far, and no longer than it may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lstm_sweep.search.policy.confirmation import Reserve, makespan
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.trial import Phase

if TYPE_CHECKING:
    from lstm_sweep.search.policy.policy import Policy


def seconds_left(
    gone: float,
    *,
    limit: float | None,
    done: float,
    to_come: float,
    least: float = 0.0,
    further: float = 0.0,
) -> float | None:
    """Seconds to the end of a sweep that has gone on for `gone`; None if nobody can tell.

    The trials `to_come` take what those `done` took, and `least` seconds in all; further runs of
    the best configs come after them. It ends at its `limit` in seconds, if it has one.
    """
    ends = [] if limit is None else [limit - gone]
    if done:
        ends.append(max(gone * to_come / done, least) + further)
    return max(0.0, min(ends)) if ends else None


def expected_left(policy: Policy, gone: float) -> float | None:
    """Seconds to the end of a sweep, by what its policy knows; None if that is too little."""
    plan, again, slots = policy.plan, policy.confirmation, policy.slots.count
    limit, trials = plan.seconds, policy.trials
    kept = Reserve(0) if policy.stop else again.reserve(None if limit is None else limit - gone)
    best = again.best_so_far(plan.confirm_configs)
    needs = {one.trial.config: again.seconds_of(one) for one in best}
    begun = sum(one.trial.phase is Phase.CONFIRM for one in trials)
    runs = [needs[config] for config in again.order(list(needs), kept.trials, begun)]
    running = [one for one in trials if not one.ended and not one.paused]

    def rest(one: TrialProgress) -> float:
        whole = needs.get(one.trial.config) or again.seconds_of(one)
        return max(0.0, whole - sum(one.round_seconds))

    if policy.confirms or policy.stop:
        further = makespan([*map(rest, running), *runs], slots)
        return seconds_left(gone, limit=limit, done=1, to_come=0, further=further)
    search = [one for one in trials if one.trial.phase is Phase.SEARCH]
    known = any(one.ended or one.paused for one in search)
    done = len(trials) - len(running) / 2 if known else 0.0
    return seconds_left(
        gone,
        limit=limit,
        done=done,
        to_come=max(0.0, plan.trials - kept.trials - done),
        least=max((rest(one) for one in best[:1] if not one.ended), default=0.0),
        further=makespan(runs, slots),
    )
