"""Finds running trials that hang, in a sweep or a rerun."""

from __future__ import annotations

from collections.abc import Iterable

from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.sweep import health
from lstm_sweep.search.sweep.health import Reports, Start
from lstm_sweep.search.trial import Computing, Ended, Message, Outcome, Paused, Progressed

#: if `look` was not called for so many seconds, messages may have been waiting: no trial hangs then
PAUSE_S = 5.0


class Watch:
    """Remembers when trials have sent messages; times are seconds of the driver's clock."""

    def __init__(self, now: float, least_s: float = health.SILENT_S) -> None:
        self._least_s = least_s
        self._looked = now
        #: when trials began and computed, by their run
        self._starts: dict[str, Start] = {}
        #: when trials have reported, by their run; those that have not are missing
        self._reports: dict[str, Reports] = {}
        #: the longest time that a trial took to its first report; None before any was seen
        self._longest_start: float | None = None

    def receive(self, progress: TrialProgress, message: Message, now: float) -> None:
        """Note that a trial has sent a message."""
        start = self._start_of(progress)
        if isinstance(message, Computing):
            start.computed = now
            return
        failed = isinstance(message, Ended) and message.outcome is not Outcome.COMPLETE
        reports = self._reports.get(progress.run_id)
        if reports is None:
            reports = self._reports[progress.run_id] = Reports(now)
            if not failed:
                self._longest_start = max(self._longest_start or 0.0, now - start.began)
        reports.last = now
        if isinstance(message, Progressed) and not reports.first_progress:
            reports.first_progress = now, message.share
        if isinstance(message, Ended | Paused):  # what this trial sends later is of another worker
            self._reports.pop(progress.run_id)
            self._starts.pop(progress.run_id)

    def look(
        self, all_progress: Iterable[TrialProgress], now: float
    ) -> list[tuple[TrialProgress, Ended]]:
        """The running trials that hang, each with the end that it is to get."""
        all_progress = list(all_progress)
        self._starts = {progress.run_id: self._start_of(progress) for progress in all_progress}
        self._reports = {run: found for run, found in self._reports.items() if run in self._starts}
        pause, self._looked = now - self._looked, now
        if pause > PAUSE_S:
            for run_id in self._starts:
                self._shift_times(run_id, pause, now)
            return []
        hanging = ((progress, self._hung(progress, now)) for progress in all_progress)
        return [(progress, Ended(Outcome.HUNG, why)) for progress, why in hanging if why]

    def _start_of(self, progress: TrialProgress) -> Start:
        start = Start(progress.stretch_began, progress.stretch_began)
        return self._starts.setdefault(progress.run_id, start)

    def _shift_times(self, run_id: str, seconds: float, now: float) -> None:
        """Do not count `seconds`, in which no messages were received, as silence of a trial."""
        if reports := self._reports.get(run_id):
            reports.last = min(now, reports.last + seconds)
        start = self._starts[run_id]
        start.began = min(now, start.began + seconds)
        start.computed = min(now, start.computed + seconds)

    def _hung(self, progress: TrialProgress, now: float) -> str:
        if reports := self._reports.get(progress.run_id):
            return health.hung(progress, reports, now, self._least_s)
        returns = progress.trial.objective.returned
        return health.hung_at_start(
            self._start_of(progress), now, self._longest_start, may_never_report=returns
        )
