"""Finds running trials that hang, in a sweep or a rerun."""

from __future__ import annotations

from collections.abc import Iterable

from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.sweep import health
from lstm_sweep.search.sweep.health import Reports
from lstm_sweep.search.trial import Computing, Ended, Message, Outcome, Paused, Progressed

#: if `look` was not called for so many seconds, messages may have been waiting: no trial hangs then
PAUSE_S = 5.0


class Watch:
    """Remembers when trials have sent messages; times are seconds of the driver's clock."""

    def __init__(self, now: float, least_s: float = health.SILENT_S) -> None:
        self._least_s = least_s
        self._looked = now
        #: what was heard of trials on their slots, by their run
        self._reports: dict[str, Reports] = {}
        #: the longest time that a trial took to its first report; None before any was seen
        self._longest_start: float | None = None

    def receive(self, progress: TrialProgress, message: Message, now: float) -> None:
        """Note that a trial has sent a message."""
        reports = self._reports_of(progress)
        if isinstance(message, Computing):
            reports.computed = now
            return
        failed = isinstance(message, Ended) and message.outcome is not Outcome.COMPLETE
        silent = now - reports.last
        if not (reports.begun or failed):
            self._longest_start = max(self._longest_start or 0.0, silent)
        reports.begun, reports.last = True, now
        reports.longest_s = max(reports.longest_s, silent)
        if isinstance(message, Progressed) and not reports.first_progress:
            reports.first_progress = now, message.share
        if isinstance(message, Ended | Paused):  # what this trial sends later is of another worker
            self._reports.pop(progress.run_id)

    def look(
        self, all_progress: Iterable[TrialProgress], now: float
    ) -> list[tuple[TrialProgress, Ended]]:
        """The running trials that hang, each with the end that it is to get."""
        all_progress = list(all_progress)
        self._reports = {one.run_id: self._reports_of(one) for one in all_progress}
        pause, self._looked = now - self._looked, now
        if pause > PAUSE_S:
            for reports in self._reports.values():
                reports.last = min(now, reports.last + pause)
                reports.computed = min(now, reports.computed + pause)
            return []
        hanging = ((progress, self._hung(progress, now)) for progress in all_progress)
        return [(progress, Ended(Outcome.HUNG, why)) for progress, why in hanging if why]

    def _reports_of(self, progress: TrialProgress) -> Reports:
        began = progress.stretch_began
        return self._reports.setdefault(progress.run_id, Reports(began, began))

    def _hung(self, progress: TrialProgress, now: float) -> str:
        reports = self._reports_of(progress)
        return health.hung(progress, reports, now, self._longest_start, self._least_s)
