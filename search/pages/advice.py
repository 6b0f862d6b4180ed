"""What to try next, by what a sweep has found. Pure; each piece of advice has its reason."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from lstm_sweep.models.config import Limit
from lstm_sweep.search.pages.findings import Findings, TrialFinding
from lstm_sweep.search.pages.parallel import Axis
from lstm_sweep.search.pages.scales import short
from lstm_sweep.search.trial import Outcome, Phase

#: configs that are looked at, the best ones, and how many of them have to touch a bound
LOOKED_AT, TOUCHING = 5, 3
#: share of a range that counts as its bound
NEAR = 0.03
#: trials for each hyperparameter that varies without which a space is hardly searched
TRIALS_EACH = 8
#: share of the trials at the end in which nothing should be found any more
LATE = 0.2
#: share of the trials from which on failures are worth a word
FAILING = 0.1
#: share of the entropy within which little is left to gain
CLOSE = 0.02


@dataclass(frozen=True)
class Advice:
    """What to try, why, and the command for it if there is one."""

    text: str
    command: str = ""


def advice(found: Findings) -> list[Advice]:
    """What to try next, what matters most first."""
    if not found.is_over:
        return [Advice("The sweep is under way.", f"lstm-sweep status {found.sweep} --follow")]
    parts = (_going_on, _nothing, _weak, _bounds, _epochs, _budget, _seeds, _failures, _close)
    return [one for part in parts for one in part(found)]


def _going_on(found: Findings) -> Iterator[Advice]:
    if found.goes_on:
        why = f" ({found.why})" if found.why else ""
        yield Advice(
            f"The sweep is {found.state}{why}; trials that were under way go on where they were.",
            f"lstm-sweep resume {found.sweep}",
        )


def _nothing(found: Findings) -> Iterator[Advice]:
    if found.best is None and found.trials:
        yield Advice(
            "No trial has a result: look at why they failed below, and at the log of one.",
            f"lstm-sweep show {found.trials[0].id}",
        )


def _weak(found: Findings) -> Iterator[Advice]:
    best = found.best
    lowest = min(found.baselines.values(), default=math.inf)
    if best and best.loss is not None and best.loss >= lowest:
        more = "trials more epochs, or the search" if found.takes_epochs else "the search"
        yield Advice(
            f"A baseline is better than the best trial: give {more} more trials, or more data."
        )


def _bounds(found: Findings) -> Iterator[Advice]:
    for axis in found.axes:
        for end in _touched(axis, found):
            value = axis.high if end == "upper" else axis.low
            limit = found.limits.get(axis.name)
            yield Advice(
                f"The best configs touch the {end} bound of {axis.name}, {short(value)}: the best "
                f"value may lie beyond it. Let it vary further"
                + (" in a new sweep, with:" if limit else f" {found.space_place}."),
                f"--set {axis.name}={_further(axis, end, limit)}" if limit else "",
            )


def best_configs(found: Findings) -> list[TrialFinding]:
    """The best trials with different configs."""
    seen, kept = set[str](), list[TrialFinding]()
    for one in found.ranked:
        if (key := repr(sorted(one.config.items()))) not in seen:
            seen.add(key)
            kept.append(one)
    return kept[:LOOKED_AT]


def _touched(axis: Axis, found: Findings) -> Iterator[str]:
    """The bounds of a hyperparameter that the best configs touch."""
    best = best_configs(found)
    values = [one.config.get(axis.name) for one in best]
    shares = [place for value in values if (place := axis.place(value, 0.0, 1.0)) is not None]
    if axis.words or axis.low >= axis.high or len(shares) < TOUCHING:
        return
    near = {
        "lower": [share <= NEAR for share in shares],
        "upper": [share >= 1 - NEAR for share in shares],
    }
    for end, hits in near.items():
        if (
            hits[0]
            and sum(hits) >= TOUCHING
            and not _is_hard(axis, end, found.limits.get(axis.name))
        ):
            yield end


def _is_hard(axis: Axis, end: str, limit: Limit | None) -> bool:
    """Whether no value is allowed beyond a bound, such as a dropout below 0."""
    if limit is None:
        return end == "lower" and axis.low == 0
    return axis.low <= limit.low if end == "lower" else axis.high >= limit.high


def _further(axis: Axis, end: str, limit: Limit) -> str:
    """The range of an axis with more beyond one of its bounds, as `--set` takes it."""
    more = (axis.high - axis.low) / 2
    if axis.is_whole:
        more = max(1.0, math.ceil(more))
    low, high = axis.low, axis.high
    if end == "lower":
        low = max(axis.low / 2 if axis.log else axis.low - more, limit.low)
    else:
        high = min(axis.high * 2 if axis.log else axis.high + more, limit.high)
    if axis.is_whole:
        return f"{max(1, math.ceil(low))}..{math.floor(high)}"
    return f"{low:.4g}..{high:.4g}"


def _epochs(found: Findings) -> Iterator[Advice]:
    best = found.best
    if best is None or best.outcome != Outcome.COMPLETE or best.phase == Phase.LADDER:
        return
    planned, at = best.planned_epochs, best.best_epoch
    if planned and at and at >= planned and found.takes_epochs:
        yield Advice(
            f"The loss of {best.id} was lowest after its last epoch, {at:g}, so it still fell: "
            f"give trials more epochs in a new sweep, with:",
            f"--epochs {math.ceil(2 * planned)}",
        )


def _budget(found: Findings) -> Iterator[Advice]:
    tried = [one for one in found.trials if one.phase != Phase.CONFIRM]
    best, fields = found.best, len(found.axes)
    if best is None or not tried:
        return
    twice = 2 * max(len(tried), found.trials_wanted or 0)
    more = f"lstm-sweep resume {found.sweep} --trials {twice}"
    if found.minutes is not None:
        more += f" --minutes {2 * found.minutes:g}"
    late = tried[-max(1, math.ceil(LATE * len(tried))) :]
    first = next(iter(best_configs(found)))
    if len(tried) >= 5 and first.number in [one.number for one in late]:
        yield Advice("The best config came in the last fifth of the trials: try more.", more)
    elif fields and len(tried) < TRIALS_EACH * fields:
        yield Advice(
            f"{len(tried)} trials are few for {fields} hyperparameters that vary; "
            f"{TRIALS_EACH * fields} or more show which matter.",
            more,
        )


def _seeds(found: Findings) -> Iterator[Advice]:
    if found.best is None:
        return
    if not found.confirmed:
        yield Advice(
            "Train the best configs again with further seeds, to know how sure the result is: in "
            "this one if it gets more time, or in a new one with:",
            "--confirm-configs 3 --confirm-seeds 3",
        )
    elif as_good := [one.trial for one in found.confirmed if one.verdict == "as good"]:
        yield Advice(
            f"As good as the best trial's config: {', '.join(as_good)}. Take the smallest or the "
            "fastest of them, or compare them over more seeds in a new sweep, with:",
            f"--confirm-seeds {2 * max(2, len(found.confirmed[0].losses))}",
        )


#: what to do about an outcome that many trials have
REMEDIES = {
    Outcome.OUT_OF_MEMORY: "smaller batches or networks, or fewer trials at once (--workers)",
    Outcome.DIVERGED: "lower learning rates",
    Outcome.HUNG: "fewer trials at once (--workers)",
    Outcome.ERROR: "a look at the log of one, which is among the files of its run",
    Outcome.LOST: "a look at the memory of the machine, or of its nodes",
}


def _failures(found: Findings) -> Iterator[Advice]:
    failed = Counter(one.outcome for one in found.attempts if one.failed)
    for outcome, count in failed.most_common():
        if count >= max(2, FAILING * len(found.attempts)):
            words = outcome.replace("_", " ")
            yield Advice(f"{count} attempts ended as {words}: {REMEDIES[Outcome(outcome)]}.")


def _close(found: Findings) -> Iterator[Advice]:
    best = found.best
    near = -math.inf if found.entropy is None else found.entropy * (1 + CLOSE)
    if best and best.loss is not None and best.loss <= near:
        yield Advice(
            "The best loss is close to the entropy of the data: there is little left to gain."
        )
