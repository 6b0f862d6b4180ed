"""When a trial has hung, and when a sweep is failing: decisions with a reason."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lstm_sweep.search.values.trial import (
    Attempt,
    Computing,
    Ended,
    Message,
    Outcome,
    Paused,
    Phase,
    Trial,
)

#: a trial has hung if it neither reports nor computes for this number of seconds: before its first
#: report, when it may wait for a file system, and later
IDLE_S, SILENT_S = 900.0, 60.0
#: a trial that computes has hung if it reports nothing for this number of seconds,
COMPUTING_S = 3_600.0
#: or this number if it runs code of the user, which may report nothing before its end
OWN_CODE_S = 86_400.0
#: all these limits are at least this multiple of the longest time between two of its reports, or of
#: that to a first report in this sweep if it has not reported
SILENT_FACTOR = 5.0
#: characters of the reason that is shown for one kind of failure
REASON_LENGTH = 160


@dataclass
class Reports:
    """What was heard of a trial on its slot; seconds of the driver's clock."""

    #: when it began, or reported last
    last: float
    #: when its worker was last seen to use the CPU
    computed: float
    #: whether it has reported
    begun: bool = False
    #: the longest time between two reports
    longest_s: float = 0.0


def hung(progress: Trial, reports: Reports, now: float, longest_start_s: float = 0.0) -> str:
    """Why a trial has hung; "" if it has not.

    `longest_start_s` is the longest time to a first report in this sweep.
    """
    idle, silent = now - max(reports.last, reports.computed), now - reports.last
    usual = SILENT_FACTOR * (reports.longest_s if reports.begun else longest_start_s)
    own_code = progress.objective.returned
    over = own_code and progress.last  # of what it does then nothing is heard
    trained = SILENT_FACTOR * (reports.last - progress.stretch_began) if over else 0.0
    most = max(OWN_CODE_S if own_code else COMPUTING_S, usual, trained)
    if silent > most:
        return f"no report for {silent:.0f} s, expected one within {most:.0f} s"
    if over:
        return ""
    limit = max(SILENT_S if reports.begun else IDLE_S, usual)
    if idle <= limit:
        return ""
    return f"no report, and nothing computed for {idle:.0f} s, expected less than {limit:.0f} s"


def failing(finished: Sequence[Trial], limit: int, under_way: Iterable[Trial] = ()) -> str:
    """Why a sweep is failing; "" if it is not. `finished` is in order of the ends of trials.

    It is if the last `limit` trials have failed, unless each has another outcome: unrelated
    failures do not mean that all trials fail. A trial of the ladder that diverges has not failed,
    and one `under_way` that has a loss and began since the first failure has not, either.
    """
    failed: list[Trial] = []
    for progress in reversed(finished):
        assert progress.ended
        outcome = progress.ended.outcome
        if outcome is Outcome.DIVERGED and progress.phase is Phase.LADDER:
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


def _text(progress: Trial) -> str:
    assert progress.ended
    return f"{progress.ended.outcome} ({progress.ended.reason or 'no reason given'})"


def _kind(progress: Trial) -> str:
    """The text of a failure without its numbers, by which failures are counted."""
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", _text(progress))


#: if `look` was not called for so many seconds, messages may have been waiting: no trial hangs then
PAUSE_S = 5.0


class Watch:
    """Remembers when trials have sent messages; times are seconds of the driver's clock."""

    def __init__(self, now: float) -> None:
        self._looked = now
        #: what was heard of trials on their slots
        self._reports: dict[Attempt, Reports] = {}
        #: the longest time that a trial took to its first report
        self._longest_start = 0.0

    def receive(self, progress: Trial, message: Message, now: float) -> None:
        reports = self._reports_of(progress)
        if isinstance(message, Computing):
            reports.computed = now
            return
        failed = isinstance(message, Ended) and message.outcome is not Outcome.COMPLETE
        silent = now - reports.last
        if reports.begun:
            reports.longest_s = max(reports.longest_s, silent)
        elif not failed:
            self._longest_start = max(self._longest_start, silent)
        reports.begun, reports.last = True, now
        if isinstance(message, Ended | Paused):  # what this trial sends later is of another worker
            self._reports.pop(progress.key)

    def look(self, all_progress: Iterable[Trial], now: float) -> list[tuple[Trial, Ended]]:
        """The running trials that hang, each with the end that it is to get."""
        all_progress = list(all_progress)
        self._reports = {one.key: self._reports_of(one) for one in all_progress}
        pause, self._looked = now - self._looked, now
        if pause > PAUSE_S:
            for reports in self._reports.values():
                reports.last = min(now, reports.last + pause)
                reports.computed = min(now, reports.computed + pause)
            return []
        hanging = (
            (one, hung(one, self._reports_of(one), now, self._longest_start))
            for one in all_progress
        )
        return [(progress, Ended(Outcome.HUNG, why)) for progress, why in hanging if why]

    def _reports_of(self, progress: Trial) -> Reports:
        began = progress.stretch_began
        return self._reports.setdefault(progress.key, Reports(began, began))
