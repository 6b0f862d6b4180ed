"""When a trial has hung, and when a sweep is failing: decisions with a reason."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.trial import Outcome, Phase

#: a trial that has reported has hung if it sends no report for this number of its rounds,
SILENT_ROUNDS = 5.0
#: and for this number of seconds
SILENT_S = 60.0
#: a trial that has not reported has hung if it uses no CPU for this number of seconds
IDLE_S = 900.0
#: seconds within which the first report must come, if a trial of this sweep has reported before
KNOWN_START_S = 900.0
#: the same if none has, for an LSTM on a corpus
START_S = 3_600.0
#: the same if none has, for a template, which may never report
UNKNOWN_START_S = 86_400.0
#: the limits before a first report are at least this multiple of the longest time to a first report
#: in this sweep
FIRST_REPORT_FACTOR = 10.0
#: characters of the reason that is shown for one kind of failure
REASON_LENGTH = 160


@dataclass
class Start:
    """A trial that has not reported yet; times in seconds of the driver's clock."""

    began: float
    #: when its worker was last seen to use the CPU
    computed: float


@dataclass
class Reports:
    """When a trial has reported; seconds of the driver's clock."""

    last: float
    #: when the first `Progressed` came, and the share of the round that it named
    first_progress: tuple[float, float] | None = None


def hung_at_start(
    start: Start, now: float, longest_s: float | None, *, may_never_report: bool
) -> str:
    """Why a trial without a report has hung; "" if it has not.

    `longest_s` is the longest time to a first report in this sweep; None if there was no report.
    """
    usual = FIRST_REPORT_FACTOR * (longest_s or 0.0)
    idle, limit = now - start.computed, max(IDLE_S, usual)
    if idle > limit:
        return f"no report, and nothing computed for {idle:.0f} s, expected less than {limit:.0f} s"
    least = UNKNOWN_START_S if may_never_report else START_S
    least = least if longest_s is None else KNOWN_START_S
    took, limit = now - start.began, max(least, usual)
    if took > limit:
        return f"no first report for {took:.0f} s, expected one within {limit:.0f} s"
    return ""


def hung(progress: TrialProgress, reports: Reports, now: float, least_s: float = SILENT_S) -> str:
    """Why a trial that has reported has hung; "" if it has not."""
    silent = now - reports.last
    # a template sends no report after its last epoch
    if progress.last and progress.trial.objective.returned:
        limit = max(UNKNOWN_START_S, FIRST_REPORT_FACTOR * (reports.last - progress.stretch_began))
        if silent <= limit:
            return ""
        return f"no result for {silent:.0f} s after its last epoch, expected within {limit:.0f} s"
    limit = max(SILENT_ROUNDS * _round_seconds(progress, reports), least_s)
    if silent <= limit:
        return ""
    return (
        f"no report for {silent:.0f} s, expected one within {limit:.0f} s "
        f"({SILENT_ROUNDS:g} of its rounds, {least_s:.0f} s at the least)"
    )


def _round_seconds(progress: TrialProgress, reports: Reports) -> float:
    """The longest round; before its end, the predicted time of the first, or that of the start."""
    if progress.round_seconds:
        return max(progress.round_seconds)
    if progress.latest and reports.first_progress:
        since, share = reports.first_progress
        if progress.latest.share > share:
            return (reports.last - since) / (progress.latest.share - share)
    return reports.last - progress.stretch_began


def failing(
    finished: Sequence[TrialProgress], limit: int, under_way: Iterable[TrialProgress] = ()
) -> str:
    """Why a sweep is failing; "" if it is not. `finished` is in order of the ends of trials.

    It is if the last `limit` trials have failed, unless each has another outcome: unrelated
    failures do not mean that all trials fail. A trial of the ladder that diverges has not failed,
    and one `under_way` that has a loss and began since the first failure has not, either.
    """
    failed: list[TrialProgress] = []
    for progress in reversed(finished):
        assert progress.ended
        outcome = progress.ended.outcome
        if outcome is Outcome.DIVERGED and progress.trial.phase is Phase.LADDER:
            continue
        if outcome.ranks:
            break
        failed.append(progress)
    since = min((progress.began for progress in failed), default=math.inf)
    if any(one.best_loss is not None and one.began >= since for one in under_way):
        return ""
    outcomes = {progress.ended.outcome for progress in failed if progress.ended}
    if len(failed) < limit or len(outcomes) == len(failed) > 1:
        return ""
    kinds = Counter(map(_kind, failed))
    shown = {_kind(progress): progress for progress in failed}
    reasons = "; ".join(
        f"{count} {_text(shown[kind])[:REASON_LENGTH]}" for kind, count in kinds.most_common()
    )
    return f"{len(failed)} trials in a row have failed: {reasons}"


def _text(progress: TrialProgress) -> str:
    assert progress.ended
    return f"{progress.ended.outcome} ({progress.ended.reason or 'no reason given'})"


def _kind(progress: TrialProgress) -> str:
    """The text of a failure without its numbers, by which failures are counted."""
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", _text(progress))
